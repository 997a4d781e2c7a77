//! The client address policy: forwarding headers of trusted proxies.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use server::{
    ClientAddrPolicy, ForwardedHeader, ProxyHeader, ProxyProtocol, TrustedPeer, parse_proxy_header,
};
use support::server::Server;
use support::{Client, PING, PONG, UPGRADE, close, frame, header};
use transport::Peer;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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
fn a_proxy_header_is_recognized_as_early_as_possible() {
    let v1 = b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8080\r\n";
    let client: SocketAddr = "198.51.100.7:4711".parse().unwrap();
    let v2 =
        [V2, b"\x21\x11\0\x0c", &[198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90]].concat();
    let v6 =
        [V2, b"\x21\x21\0\x24", &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1], &[0; 16], b"\x12\x67\0\x50"]
            .concat();
    let local = [V2, b"\x20\0\0\0"].concat();
    for (bytes, expected) in [
        (&v1[..], Some(client)),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", Some("[2001:db8::1]:4711".parse().unwrap())),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN a b c\r\n", None),
        (&v2, Some(client)),
        (&v6, Some("[2001:db8::1]:4711".parse().unwrap())),
        (&local, None),
    ] {
        let whole = [bytes, b"GET /"].concat();
        let complete = ProxyHeader::Complete { client: expected, length: bytes.len() };
        assert_eq!(parse_proxy_header(&whole), complete);
        assert_eq!(parse_proxy_header(bytes), complete);
        for length in 0..bytes.len() {
            assert_eq!(parse_proxy_header(&bytes[..length]), ProxyHeader::Incomplete, "{length}");
        }
    }
    for bytes in [
        &b"GET /ws/status"[..],
        b"POST /",
        b"PUT /",
        b"PRI * HTTP/2.0",
        b"\r\n\r\nGET /",
        b"\x16\x03",
    ] {
        assert_eq!(parse_proxy_header(bytes), ProxyHeader::Absent, "{bytes:?}");
    }
    let too_long = [V2, b"\x21\x11\xff\xff", &[0; 3000]].concat();
    // With TLVs behind the addresses, which the parser does not wait for.
    let large = |extras: u16| {
        let length = (12 + extras).to_be_bytes();
        [V2, b"\x21\x11", &length, &[0; 12], &vec![0; extras.into()]].concat()
    };
    let zero = Some(([0; 4], 0).into());
    for length in [2049, 4096, 16 << 10] {
        let header = large(length - 28);
        let complete = ProxyHeader::Complete { client: zero, length: header.len() };
        assert_eq!(header.len(), usize::from(length));
        assert_eq!(parse_proxy_header(&header), complete);
        assert_eq!(parse_proxy_header(&header[..28]), complete);
        assert_eq!(parse_proxy_header(&header[..27]), ProxyHeader::Incomplete);
    }
    assert_eq!(parse_proxy_header(&large((16 << 10) - 27)[..15]), ProxyHeader::Incomplete);
    assert_eq!(
        parse_proxy_header(&large((16 << 10) - 27)[..16]),
        ProxyHeader::Invalid,
        "from its first 16 bytes"
    );
    // A LOCAL header is valid with any content, and a header for a Unix socket has no address.
    let local = [V2, b"\x20\x11\x01\0", &[7; 256]].concat();
    let unix = [V2, b"\x21\x31\x01\0", &[7; 256]].concat();
    for header in [local, unix] {
        assert_eq!(
            parse_proxy_header(&header),
            ProxyHeader::Complete { client: None, length: 16 + 256 }
        );
    }
    let endless = [&b"PROXY "[..], &[b'x'; 200]].concat();
    for bytes in [
        &b"PROXY TCP4 999.0.0.1 10.0.0.1 1 2\r\n"[..],
        b"PROXY UDP4 198.51.100.7 10.0.0.1 1 2\r\n",
        &too_long,
        &endless,
        &[V2, b"\x11\x11\0\x0c", &[0; 12]].concat(),
        &[V2, b"\x21\x11\0\x02", &[0; 40]].concat(),
        &[V2, b"\x21\x11\0\x02"].concat(),
        &[V2, b"\x21\x41\0\0"].concat(),
    ] {
        assert_eq!(parse_proxy_header(bytes), ProxyHeader::Invalid, "{bytes:?}");
    }
}

/// Waits for the only session in the connection table and returns its peer.
fn listed_peer(server: &Server) -> String {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let request = "GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_, _, body) = Client::connect(server.admin.unwrap()).request(request);
        let table: Value = serde_json::from_str(&body).unwrap();
        match table["connections"].as_array().unwrap().as_slice() {
            [only] => return only["peer"].as_str().unwrap().to_owned(),
            [] => assert!(Instant::now() < until, "{table}"),
            [_, _, ..] => panic!("{table}"),
        }
    }
}

fn server(flags: &[&str]) -> Server {
    let table = ["--admin-listen=127.0.0.1:0", "--connection-table=on"];
    Server::start(&[&table, flags].concat())
}

/// Opens a session whose connection begins with these bytes, and waits until it runs.
fn session(server: &Server, beginning: &[u8], lines: &str) -> Client {
    let mut client = Client::connect(server.address);
    client.send(beginning);
    let (status, head, _) = client.request(&UPGRADE.replace("Host: a", &format!("Host: a{lines}")));
    assert_eq!(status, 101, "{head}");
    client.send(&frame(PING, b""));
    assert_eq!(client.frame(), (PONG, vec![]));
    client
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
fn a_trusted_proxy_sets_the_client_address_by_the_proxy_protocol() {
    let v1 = b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8080\r\n";
    let v2 =
        [V2, b"\x21\x11\0\x0c", &[198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90]].concat();
    for mode in ["--proxy-protocol=optional", "--proxy-protocol=required"] {
        for beginning in [&v1[..], &v2] {
            let server = server(&["--trusted-proxies=127.0.0.1", mode]);
            let _session = session(&server, beginning, "");
            assert_eq!(listed_peer(&server), "198.51.100.7:4711");
        }
    }
    // Where it is optional, a trusted proxy may leave it out.
    let optional = server(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=optional"]);
    let plain = session(&optional, b"", "");
    assert_eq!(listed_peer(&optional), plain.0.local_addr().unwrap().to_string());
    // In pieces, with a LOCAL header.
    let server = server(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=required"]);
    let mut client = Client::connect(server.address);
    for byte in [V2, b"\x20\0\0\0"].concat() {
        client.send(&[byte]);
    }
    assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 404);
}

#[test]
fn a_proxy_header_may_carry_16_kib_and_be_followed_at_once_by_the_request() {
    let server = server(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=required"]);
    for extras in [0, 1, 2037_u16, 4096, (16 << 10) - 28] {
        let length = (12 + extras).to_be_bytes();
        let addresses = [198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90];
        // Bytes that would break the request if any of them were left unread.
        let extras = vec![b'x'; extras.into()];
        let header = [V2, b"\x21\x11", &length, &addresses, &extras].concat();
        for pieces in [header.len(), 1000, 28, 7] {
            let mut client = Client::connect(server.address);
            let whole = [&header, UPGRADE.as_bytes()].concat();
            for piece in whole.chunks(pieces) {
                client.send(piece);
            }
            assert_eq!(client.response().0, 101, "{} in {pieces}", header.len());
        }
    }
    // A truncated header is no client.
    let mut client = Client::connect(server.address);
    client.send(&[V2, b"\x21\x11\x20\0", &[0; 5000]].concat());
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    client.expect_disconnect();
}

#[test]
fn the_proxy_protocol_is_accepted_from_trusted_peers_only() {
    let v1 = "PROXY TCP4 198.51.100.7 10.0.0.1 4711 8080\r\n";
    // From an untrusted peer, a header is invalid HTTP. If a header is required, untrusted peers are
    // disconnected.
    let optional = server(&["--trusted-proxies=192.0.2.0/24", "--proxy-protocol=optional"]);
    assert_eq!(Client::connect(optional.address).request(&format!("{v1}{UPGRADE}")).0, 400);
    let session = session(&optional, b"", "");
    assert_eq!(listed_peer(&optional), session.0.local_addr().unwrap().to_string());

    let required = server(&["--trusted-proxies=192.0.2.0/24", "--proxy-protocol=required"]);
    // At once, before any input.
    let begin = Instant::now();
    Client::connect(required.address).expect_disconnect();
    assert!(begin.elapsed() < Duration::from_secs(5));
    let mut untrusted = Client::connect(required.address);
    let _ = untrusted.0.write_all(format!("{v1}{UPGRADE}").as_bytes());
    untrusted.expect_disconnect();

    let strict = server(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=required"]);
    for bytes in
        [UPGRADE, "PROXY TCP4 non sen se here\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 99999 1\r\n"]
    {
        let mut client = Client::connect(strict.address);
        client.send(bytes.as_bytes());
        client.expect_disconnect();
    }
    let off = server(&["--trusted-proxies=127.0.0.1"]);
    assert_eq!(Client::connect(off.address).request(&format!("{v1}{UPGRADE}")).0, 400);
}

#[test]
fn the_limit_per_address_applies_to_the_client_of_the_proxy_header() {
    let server = server(&[
        "--trusted-proxies=127.0.0.1",
        "--proxy-protocol=required",
        "--max-connections-per-address=1",
    ]);
    let from =
        |host: u8| format!("PROXY TCP4 198.51.100.{host} 10.0.0.1 4711 8080\r\n").into_bytes();
    let _first = session(&server, &from(7), "");
    let mut second = Client::connect(server.address);
    second.send(&from(7));
    let (status, head, _) = second.request(UPGRADE);
    assert_eq!((status, header(&head, "retry-after")), (429, Some("5")));
    let _other = session(&server, &from(8), "");
}

#[test]
fn a_silent_client_beyond_the_limit_per_address_holds_a_permit_for_a_second() {
    let server = server(&[
        "--trusted-proxies=127.0.0.1",
        "--proxy-protocol=required",
        "--max-connections-per-address=1",
        "--max-connections=2",
    ]);
    let from = |host: u8| format!("PROXY TCP4 198.51.100.{host} 10.0.0.1 4711 8080\r\n");
    let _first = session(&server, from(7).as_bytes(), "");
    let begin = Instant::now();
    let mut silent = Client::connect(server.address);
    silent.send(from(7).as_bytes());
    // When this request is answered, the server has read the header above.
    assert_eq!(server.refused("connection_limit"), 0.0);
    let mut other = Client::connect(server.address);
    other.send(from(8).as_bytes());
    assert_eq!(other.request(UPGRADE).0, 503);

    silent.expect_disconnect();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let until = Instant::now() + Duration::from_secs(5);
    let status = || {
        let mut other = Client::connect(server.address);
        other.send(from(8).as_bytes());
        other.request(UPGRADE).0
    };
    while status() != 101 {
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

#[test]
fn a_session_over_a_unix_socket_is_drained() {
    let folder = std::env::temp_dir().join(format!("ws-status-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("public.sock");
    let listen = format!("--listen=unix:{}", path.display());
    let mut server = Server::start(&[&listen, "--listen-unix-mode=0600"]);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        head.extend(byte);
    }
    server.begin_shutdown();
    let mut close_frame = [0; 11];
    std::io::Read::read_exact(&mut stream, &mut close_frame).unwrap();
    assert_eq!(&close_frame, b"\x88\x09\x03\xe9drained");
    stream.write_all(&close(1001, "")).unwrap();
    assert_eq!(server.join().clean, 1);
    assert!(!path.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
