//! The PROXY protocol: parsing of headers, trusted peers, and limits per client.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use server::{ProxyHeader, parse_proxy_header};
use support::client_addr::{listed_peer, server, session};
use support::{Client, UPGRADE, header};

/// The signature of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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
}

#[test]
fn other_protocols_have_no_header() {
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
}

/// A header of version 2 for zero addresses, with TLVs of this length.
fn with_tlvs(bytes: u16) -> Vec<u8> {
    let length = (12 + bytes).to_be_bytes();
    [V2, b"\x21\x11", &length, &[0; 12], &vec![0; bytes.into()]].concat()
}

#[test]
fn a_header_is_complete_without_its_tlvs() {
    let zero = Some(([0; 4], 0).into());
    for length in [2049, 4096, 16 << 10] {
        let header = with_tlvs(length - 28);
        let complete = ProxyHeader::Complete { client: zero, length: header.len() };
        assert_eq!(header.len(), usize::from(length));
        assert_eq!(parse_proxy_header(&header), complete);
        assert_eq!(parse_proxy_header(&header[..28]), complete);
        assert_eq!(parse_proxy_header(&header[..27]), ProxyHeader::Incomplete);
    }
}

#[test]
fn a_header_above_16_kib_is_invalid() {
    let header = with_tlvs((16 << 10) - 27);
    assert_eq!(parse_proxy_header(&header[..15]), ProxyHeader::Incomplete);
    assert_eq!(parse_proxy_header(&header[..16]), ProxyHeader::Invalid, "from its first 16 bytes");
    let largest = [V2, b"\x21\x11\xff\xff", &[0; 3000]].concat();
    assert_eq!(parse_proxy_header(&largest), ProxyHeader::Invalid);
}

#[test]
fn a_local_header_has_no_client() {
    // It is valid with any content. A header for a Unix socket has no address, either.
    let local = [V2, b"\x20\x11\x01\0", &[7; 256]].concat();
    let unix = [V2, b"\x21\x31\x01\0", &[7; 256]].concat();
    for header in [local, unix] {
        assert_eq!(
            parse_proxy_header(&header),
            ProxyHeader::Complete { client: None, length: 16 + 256 }
        );
    }
}

#[test]
fn a_malformed_header_is_invalid() {
    let endless = [&b"PROXY "[..], &[b'x'; 200]].concat();
    for bytes in [
        &b"PROXY TCP4 999.0.0.1 10.0.0.1 1 2\r\n"[..],
        b"PROXY UDP4 198.51.100.7 10.0.0.1 1 2\r\n",
        &endless,
        &[V2, b"\x11\x11\0\x0c", &[0; 12]].concat(),
        &[V2, b"\x21\x11\0\x02", &[0; 40]].concat(),
        &[V2, b"\x21\x11\0\x02"].concat(),
        &[V2, b"\x21\x41\0\0"].concat(),
    ] {
        assert_eq!(parse_proxy_header(bytes), ProxyHeader::Invalid, "{bytes:?}");
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
