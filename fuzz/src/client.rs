//! The client address: parses PROXY headers, and evaluates forwarding headers, compared with a naive
//! implementation.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use server::{
    ClientAddrPolicy, ForwardedHeader, ProxyHeader, ProxyProtocol, TrustedPeer, parse_proxy_header,
};
use transport::Peer;

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => check_proxy_header(data),
        1 => check_forwarding(ForwardedHeader::XForwardedFor, "x-forwarded-for", data),
        _ => check_forwarding(ForwardedHeader::Forwarded, "forwarded", data),
    }
}

fn check_proxy_header(data: &[u8]) {
    match parse_proxy_header(data) {
        ProxyHeader::Complete { client, length } => {
            assert!(0 < length && length <= 16 << 10);
            // Bytes after the addresses do not matter, and every prefix before their end is incomplete.
            let header = ProxyHeader::Complete { client, length };
            let minimum =
                (0..=data.len()).find(|end| parse_proxy_header(&data[..*end]) == header).unwrap();
            assert!(minimum <= length.min(232));
            for prefix in [0, minimum / 2, minimum - 1] {
                assert_eq!(parse_proxy_header(&data[..prefix]), ProxyHeader::Incomplete);
            }
        }
        ProxyHeader::Incomplete => assert!(data.len() < 232, "an incomplete header is bounded"),
        ProxyHeader::Absent => assert!(!data.starts_with(b"PROXY ")),
        ProxyHeader::Invalid => {}
    }
}

/// Checks that an address appended by a trusted proxy wins over any preceding text of the client.
fn check_appended(policy: &ClientAddrPolicy, name: &'static str, data: &[u8], proxy: Peer) {
    let hop: &[u8] =
        if name == "forwarded" { b"for=203.0.113.7;by=\"a,b\"" } else { b"203.0.113.7" };
    let line = [data, b", ", hop].concat();
    let Ok(value) = HeaderValue::from_bytes(&line) else { return };
    let mut headers = HeaderMap::new();
    headers.append(HeaderName::from_static(name), value);
    let expected = Peer::Host("203.0.113.7".parse().expect("good"));
    assert_eq!(policy.client(&headers, proxy), expected, "on the same line");
}

fn check_forwarding(forwarded_header: ForwardedHeader, name: &'static str, data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(HeaderName::from_static(name), value);
    }
    let proxies: Vec<TrustedPeer> =
        ["10.0.0.0/8", "2001:db8::/32"].iter().map(|text| text.parse().expect("good")).collect();
    let policy = ClientAddrPolicy { proxies, forwarded_header, proxy_protocol: ProxyProtocol::Off };

    let untrusted = Peer::Address("192.0.2.1:1".parse().expect("good"));
    assert_eq!(
        policy.client(&headers, untrusted),
        untrusted,
        "the headers of an untrusted peer are ignored"
    );

    let proxy = Peer::Address("10.0.0.1:1".parse().expect("good"));
    check_appended(&policy, name, data, proxy);
    let client = policy.client(&headers, proxy);
    if forwarded_header == ForwardedHeader::XForwardedFor {
        assert_eq!(client, naive_client(&headers, proxy));
    }
    // The address occurs in the header.
    if let Peer::Host(address) = client {
        let text = String::from_utf8_lossy(data).into_owned();
        let is_there = |word: &str| {
            let word = word.trim_matches(['"', '[', ']']);
            word.parse::<IpAddr>().is_ok_and(|it| it.to_canonical() == address)
        };
        let separators = [',', ';', '=', '\n', ' ', '\t', '"', '[', ']'];
        let with_port = |word: &str| word.rsplit_once(':').is_some_and(|(it, _)| is_there(it));
        assert!(text.split(separators).any(|word| is_there(word) || with_port(word)), "{client}");
    } else {
        assert_eq!(client, proxy);
    }
}

/// Evaluates `X-Forwarded-For` from the right, and skips trusted proxies and empty elements.
fn naive_client(headers: &HeaderMap, proxy: Peer) -> Peer {
    let mut client = proxy;
    let lines: Vec<String> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    for hop in lines.join(",").split(',').rev() {
        let hop = hop.trim_matches(|c: char| c.is_ascii_whitespace());
        // Empty elements do not count (RFC 9110, section 5.6.1.2).
        if hop.is_empty() {
            continue;
        }
        let alone = hop.parse::<IpAddr>().ok();
        let with_port = || {
            let (address, port) = hop.rsplit_once(':')?;
            let is_obfuscated = port.strip_prefix('_').is_some_and(|name| {
                name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            });
            if port.parse::<u16>().is_err() && !is_obfuscated {
                return None;
            }
            match address.strip_prefix('[') {
                Some(address) => address.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
                None => address.parse().ok().map(IpAddr::V4),
            }
        };
        let bracketed = || {
            let address = hop.strip_prefix('[')?.strip_suffix(']')?;
            address.parse().ok().map(IpAddr::V6)
        };
        let Some(address) = alone.or_else(bracketed).or_else(with_port) else { return client };
        let address = address.to_canonical();
        client = Peer::Host(address);
        let is_proxy = match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
        };
        if !is_proxy {
            return client;
        }
    }
    client
}
