//! The client address policy: forwarding headers of trusted proxies.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use server::{ClientAddrPolicy, ForwardedHeader, ProxyProtocol, TrustedPeer};
use support::client_addr::{listed_peer, server, session};
use support::{Client, UPGRADE, header};
use transport::Peer;

fn policy(proxies: &str, forwarded_header: ForwardedHeader) -> ClientAddrPolicy {
    ClientAddrPolicy {
        proxies: proxies.split(' ').map(|text| text.parse().unwrap()).collect(),
        forwarded_header,
        proxy_protocol: ProxyProtocol::Off,
    }
}

fn peer(text: &str) -> Peer {
    match text {
        "unix" => Peer::Local,
        text => text.parse().map_or_else(|_| Peer::Host(text.parse().unwrap()), Peer::Address),
    }
}

fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
    let line = |text: &&str| {
        // Latin-1, so that a test can write bytes that are no UTF-8.
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let value = HeaderValue::from_bytes(&bytes).unwrap();
        (HeaderName::from_static(name), value)
    };
    lines.iter().map(line).collect()
}

#[test]
fn the_client_is_the_rightmost_address_that_is_no_proxy() {
    use ForwardedHeader::{Forwarded, XForwardedFor};
    for (from, lines, client) in [
        // One proxy, and two.
        ("10.0.0.1:5000", &["198.51.100.7"][..], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.7", "10.0.0.2,10.0.0.3"], "198.51.100.7"),
        ("unix", &["2001:db8::1"], "2001:db8::1"),
        // Entries left of the client may be forged.
        ("10.0.0.1:5000", &["127.0.0.1, 10.0.0.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1:5000", &["<script>, 198.51.100.7"], "198.51.100.7"),
        // Only proxies are trusted.
        ("192.0.2.1:5000", &["198.51.100.7"], "192.0.2.1:5000"),
        ("[2001:db8::9]:5000", &["10.0.0.2"], "[2001:db8::9]:5000"),
        // A request of a proxy itself, or of another proxy.
        ("10.0.0.1:5000", &[], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["10.0.0.2"], "10.0.0.2"),
        // At an entry that is no address, the last valid address counts.
        ("10.0.0.1:5000", &["198.51.100.7, unknown"], "10.0.0.1:5000"),
        // An empty element is no hop (RFC 9110, section 5.6.1.2).
        ("10.0.0.1:5000", &["198.51.100.7, , 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.7,", "", " \t,, "], "198.51.100.7"),
        ("10.0.0.1:5000", &[",198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1:5000", &[", ,"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["198.51.100.7, -,"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["198.51.100.7, \u{e9}"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["\u{e9}, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.256"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["\t198.51.100.7 \t"], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.7\u{c2}\u{a0}"], "10.0.0.1:5000"),
        // With a port, as some proxies append it.
        ("10.0.0.1:5000", &["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1:5000", &["198.51.100.7:99999"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["[2001:db8::1]:99999"], "10.0.0.1:5000"),
        ("10.0.0.1:5000", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1:5000", &["::ffff:198.51.100.7"], "198.51.100.7"),
    ] {
        let policy = policy("10.0.0.0/8 unix", XForwardedFor);
        let headers = headers("x-forwarded-for", lines);
        assert_eq!(policy.client(&headers, peer(from)), peer(client), "{from} {lines:?}");
        // The other header is ignored.
        let other = ClientAddrPolicy { forwarded_header: Forwarded, ..policy };
        assert_eq!(other.client(&headers, peer(from)), peer(from));
    }
}

#[test]
fn forwarded_is_parsed_by_rfc_7239() {
    for (lines, client) in [
        (&["for=198.51.100.7"][..], "198.51.100.7"),
        (&["For=\"198.51.100.7\""], "198.51.100.7"),
        (&["proto=https;for=198.51.100.7:4711;by=10.0.0.1"], "198.51.100.7"),
        (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
        (&["for=\"[2001:db8::1]:4711\""], "2001:db8::1"),
        (&["for=\"198.51.100.7:_made_up\""], "198.51.100.7"),
        (&["for=192.0.2.43, for=198.51.100.7, for=10.0.0.2"], "198.51.100.7"),
        (&["for=192.0.2.43", "for=198.51.100.7;host=a"], "198.51.100.7"),
        // Separators in quoted strings do not separate, so a value cannot inject an address.
        (&["for=198.51.100.7;host=\"a,for=10.0.0.9\""], "198.51.100.7"),
        (&["for=198.51.100.7;host=\"a\\\",for=10.0.0.9\""], "198.51.100.7"),
        (&["for=198.51.100.7;host=\"a;for=10.0.0.9\""], "198.51.100.7"),
        (&["for=198.51.100.7;host=\\\"a,for=10.0.0.9\""], "198.51.100.7"),
        (&["host=\"a;for=10.0.0.9\";for=198.51.100.7"], "198.51.100.7"),
        (&["host=\"a\\\";for=10.0.0.9\";for=198.51.100.7"], "198.51.100.7"),
        (&["host=\"a\\\\\";for=198.51.100.7"], "198.51.100.7"),
        (&["host=\\\"a;for=10.0.0.9\";for=198.51.100.7"], "198.51.100.7"),
        (&["host=a\\;for=198.51.100.7"], "198.51.100.7"),
        // An empty element is no hop (RFC 9110, section 5.6.1.2); one without a pair is.
        (&["for=198.51.100.7, , for=10.0.0.2 , "], "198.51.100.7"),
        (&["for=198.51.100.7,", "", " ,\t"], "198.51.100.7"),
        (&[",for=198.51.100.7"], "198.51.100.7"),
        (&["for=198.51.100.7, ;"], "10.0.0.1:5000"),
        (&["for=198.51.100.7, \"\""], "10.0.0.1:5000"),
        // An obfuscated hop ends the search.
        (&["for=198.51.100.7, for=unknown"], "10.0.0.1:5000"),
        (&["for=198.51.100.7, for=_hidden"], "10.0.0.1:5000"),
        (&["for=198.51.100.7, proto=https"], "10.0.0.1:5000"),
        (&["for=2001:db8::1"], "2001:db8::1"),
        (&["for=\"[198.51.100.7]\""], "10.0.0.1:5000"),
        (&["for=\"[2001:db8::1\""], "10.0.0.1:5000"),
        (&["for=\"198.51.100.7"], "10.0.0.1:5000"),
        (&["198.51.100.7"], "10.0.0.1:5000"),
    ] {
        let policy = policy("10.0.0.0/8", ForwardedHeader::Forwarded);
        let headers = headers("forwarded", lines);
        assert_eq!(policy.client(&headers, peer("10.0.0.1:5000")), peer(client), "{lines:?}");
    }
}

#[test]
fn no_client_input_hides_the_address_that_a_proxy_appended() {
    let proxy = peer("10.0.0.1:5000");
    for forged in [
        "",
        "x",
        "\"",
        "\"\"",
        "\\",
        "\\\"",
        "\"\\",
        "for=198.51.100.77;by=\"x",
        "for=\"x",
        "for=\"\\",
        "for=198.51.100.77;by=\"x\\\"",
        ";",
        ",",
        "=",
        "for",
        "\u{e9}",
        "\u{ff}\"",
        "\t\"\t",
    ] {
        for hop in [
            "203.0.113.7",
            "203.0.113.7:4711",
            "\"203.0.113.7\"",
            "\"203.0.113.7:80\";by=\"a,b\\\"c;d\"",
        ] {
            for separator in [",", ", ", " ,"] {
                let policy = policy("10.0.0.0/8", ForwardedHeader::Forwarded);
                let chain = [format!("{forged}{separator}for={hop}"), "for=10.0.0.2".to_owned()];
                let one_line = chain.join(", ");
                for lines in [&[&chain[0][..]][..], &[&chain[0], &chain[1]], &[&one_line]] {
                    let client = policy.client(&headers("forwarded", lines), proxy);
                    assert_eq!(client, peer("203.0.113.7"), "{lines:?}");
                }
            }
        }
        let policy = policy("10.0.0.0/8", ForwardedHeader::XForwardedFor);
        for hops in ["203.0.113.7", "203.0.113.7, 10.0.0.2", "203.0.113.7:4711"] {
            let line = format!("{forged}, {hops}");
            let client = policy.client(&headers("x-forwarded-for", &[&line]), proxy);
            assert_eq!(client, peer("203.0.113.7"), "{line}");
        }
    }
}

#[test]
fn trusted_peers_are_addresses_networks_without_host_bits_or_unix() {
    for text in ["10.0.0.0/8", "192.0.2.1", "::1", "2001:db8::/32", "0.0.0.0/0", "unix"] {
        assert!(text.parse::<TrustedPeer>().is_ok(), "{text}");
    }
    for text in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0",
        "localhost",
        "",
        "*",
        "unix:/run/a",
        "2001:db8::1/32",
    ] {
        let error = text.parse::<TrustedPeer>().unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/8"), "{text}: {error}");
    }
}

#[test]
fn only_a_trusted_proxy_sets_the_client_address_by_a_header() {
    let line = "\r\nX-Forwarded-For: 203.0.113.5, 198.51.100.7";
    let trusting = server(&["--trusted-proxies=127.0.0.1", "--forwarded-header=x-forwarded-for"]);
    let _session = session(&trusting, b"", line);
    assert_eq!(listed_peer(&trusting), "198.51.100.7");
    for flags in [
        &["--trusted-proxies=127.0.0.2", "--forwarded-header=x-forwarded-for"][..],
        &["--trusted-proxies=127.0.0.1", "--forwarded-header=forwarded"],
        &["--trusted-proxies=127.0.0.1"],
        &["--forwarded-header=x-forwarded-for"],
    ] {
        let server = server(flags);
        let session = session(&server, b"", line);
        assert_eq!(listed_peer(&server), session.0.local_addr().unwrap().to_string(), "{flags:?}");
    }
}

#[test]
fn each_request_on_a_proxy_connection_has_its_own_client_and_limit() {
    let server = server(&[
        "--trusted-proxies=127.0.0.1",
        "--forwarded-header=forwarded",
        "--max-connections-per-address=1",
    ]);
    let first = session(&server, b"", "\r\nForwarded: for=198.51.100.7");
    // The same client over the same proxy is refused. Another client is accepted.
    let mut proxy = Client::connect(server.address);
    let of =
        |client: &str| UPGRADE.replace("Host: a", &format!("Host: a\r\nForwarded: for={client}"));
    assert_eq!(
        proxy.request("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=198.51.100.7\r\n\r\n").0,
        404
    );
    let mut proxy = Client::connect(server.address);
    let (status, head, _) = proxy.request(&of("198.51.100.7"));
    assert_eq!((status, header(&head, "connection")), (429, Some("close")));
    proxy.expect_end();
    let mut proxy = Client::connect(server.address);
    assert_eq!(
        proxy.request("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=192.0.2.1\r\n\r\n").0,
        404
    );
    assert_eq!(proxy.request(&of("198.51.100.8")).0, 101);
    drop(first);
    let until = Instant::now() + Duration::from_secs(5);
    while Client::connect(server.address).request(&of("198.51.100.7")).0 != 101 {
        assert!(Instant::now() < until, "the permit is not released");
    }
}

#[test]
fn a_proxy_on_a_unix_socket_sets_the_client_address() {
    let folder = std::env::temp_dir().join(format!("ws-status-client-addr-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("public.sock");
    let listen = format!("--listen=unix:{},127.0.0.1:0", path.display());
    let server = server(&[&listen, "--trusted-proxies=unix", "--forwarded-header=x-forwarded-for"]);

    let connect = |line: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let request = UPGRADE.replace("Host: a", &format!("Host: a{line}"));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        stream
    };
    let proxied = connect("\r\nX-Forwarded-For: 198.51.100.7");
    assert_eq!(listed_peer(&server), "198.51.100.7");
    drop(proxied);
    drop(server);
    std::fs::remove_dir_all(&folder).unwrap();
}
