//! RFC 6455, section 4: the opening handshake of HTTP/1.1 over real sockets.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::server::Server;
use support::{CLOSE, Client, PING, PONG, TEXT, UPGRADE, close, close_payload, frame, header};

//= rfc6455#4.2.1-3 rfc6455#4.2.1-6 rfc6455#4.2.1-7 rfc6455#4.2.1-8 rfc6455#4.2.2-6 test
//= rfc6455#4.2.2-8 rfc6455#4.2.2-9 rfc6455#4.2.2-10 test
#[test]
fn each_valid_form_of_a_request_gets_the_101() {
    const HOST: &str = "Host: a";
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const SAMPLE: &str = "s3pplmbitxaq9kygzzhzrbk+xoo=";
    // In lower case, as the test client returns heads; transport's `requests.rs` checks the exact
    // values.
    #[rustfmt::skip]
    let table = [
        ("1.3", "the sample nonce", HOST, HOST, SAMPLE),
        ("4.2.2", "another key", KEY, "x3JJHMbDL1EzLkh9GBhXDw==", "hsmrc0smlyukagmm5oppg2hagwk="),
        ("4.1", "the example key", KEY, "AQIDBAUGBwgJCgsMDQ4PEC==", "ofs0wdat5noxf2gqm7zj2ytetzm="),
        ("4.1", "a key of zeros", KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "icx+yqv66kxgm0fcwalwlflwtai="),
        ("4.1", "a key of ones", KEY, "/////////////////////w==", "xxpj4jyzlm2yue0c7tigmwtqh2g="),
        ("4.2.1", "a key with space around", KEY, " \tdGhlIHNhbXBsZSBub25jZQ== \t", SAMPLE),
        ("4.2.1", "a query", "/ws/status", "/ws/status?a=b", SAMPLE),
        ("4.2.1", "an absolute target", "/ws/status", "http://a/ws/status", SAMPLE),
        ("4.2.1", "an absolute https target", "/ws/status", "https://a/ws/status", SAMPLE),
        ("4.2.1", "a host with a port", HOST, "Host: a:8080", SAMPLE),
        ("4.2.1", "a host in capitals", HOST, "HOST: A.EXAMPLE", SAMPLE),
        ("4.2.1", "an address as the host", HOST, "Host: [::1]:80", SAMPLE),
        ("4.2.1", "Upgrade in capitals", "websocket", "WEBSOCKET", SAMPLE),
        ("4.2.1", "Upgrade in mixed case", "websocket", "WebSocket", SAMPLE),
        ("4.2.1", "an Upgrade list", "websocket", "h2c, websocket", SAMPLE),
        ("4.2.1", "Connection in lower case", ": Upgrade", ": upgrade", SAMPLE),
        ("4.2.1", "Connection in capitals", ": Upgrade", ": UPGRADE", SAMPLE),
        ("4.2.1", "a Connection list", ": Upgrade", ": keep-alive, Upgrade", SAMPLE),
        ("4.2.1", "the list in reverse order", ": Upgrade", ": Upgrade,keep-alive", SAMPLE),
        ("4.2.1", "two Connection lines", HOST, "Host: a\r\nConnection: keep-alive", SAMPLE),
        ("4.2.1", "the version with space", "13", "  13  ", SAMPLE),
        ("4.2.1", "names in lower case", "Sec-WebSocket-", "sec-websocket-", SAMPLE),
        ("4.2.1", "names in capitals", "Sec-WebSocket-", "SEC-WEBSOCKET-", SAMPLE),
        ("4.2.1", "no space behind the name", "Upgrade: w", "Upgrade:w", SAMPLE),
        ("4.2.1", "an allowed origin", HOST, "Host: a\r\nOrigin: https://app.example", SAMPLE),
        ("4.2.1", "a cookie", HOST, "Host: a\r\nCookie: a=b", SAMPLE),
        ("4.2.1", "an unknown header", HOST, "Host: a\r\nX-Anything: at all", SAMPLE),
        ("4.2.1", "a protocol", HOST, "Host: a\r\nSec-WebSocket-Protocol: chat", SAMPLE),
        ("4.2.1", "protocols", HOST, "Host: a\r\nSec-WebSocket-Protocol: a, b, c", SAMPLE),
        ("9.1", "an extension", HOST, "Host: a\r\nSec-WebSocket-Extensions: x; y=1", SAMPLE),
        ("9.1", "deflate", HOST, "Host: a\r\nSec-WebSocket-Extensions: permessage-deflate", SAMPLE),
    ];
    let server = Server::start(&["--allowed-origins=https://app.example"]);
    for (section, what, from, to, accept) in table {
        let mut client = Client::connect(server.address);
        let (status, head, _) = client.request(&UPGRADE.replace(from, to));
        assert_eq!(status, 101, "RFC 6455 {section}, {what}: {head}");
        let value = |name| header(&head, name);
        assert_eq!(value("sec-websocket-accept"), Some(accept), "RFC 6455 {section}, {what}");
        assert_eq!(value("upgrade"), Some("websocket"), "RFC 6455 4.2.2, {what}");
        assert_eq!(value("connection"), Some("upgrade"), "RFC 6455 4.2.2, {what}");
        // Section 4.1: the client fails the connection on a header that it did not request.
        for absent in ["sec-websocket-protocol", "sec-websocket-extensions", "content-length"] {
            assert_eq!(value(absent), None, "RFC 6455 4.2.2, {what}");
        }
        client.send(&frame(PING, b"?"));
        assert_eq!(client.frame(), (PONG, b"?".to_vec()), "RFC 6455 4.2.2, {what}");
    }
}

//= rfc7692#5-1 rfc7692#5-2 rfc7692#5-5 rfc7692#7.1.1.1-2 test
#[test]
fn an_offer_of_permessage_deflate_is_answered_if_compression_is_on() {
    let server = Server::start(&["--compression=shared"]);
    #[rustfmt::skip]
    let table = [
        ("RFC 7692 7.1", "permessage-deflate", Some("permessage-deflate; client_no_context_takeover")),
        ("RFC 7692 7.1.1.1", "permessage-deflate; server_no_context_takeover",
            Some("permessage-deflate; client_no_context_takeover; server_no_context_takeover")),
        ("RFC 7692 7.1.2.1", "permessage-deflate; server_max_window_bits=10", None),
        ("RFC 7692 5", "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some("permessage-deflate; client_no_context_takeover")),
        ("RFC 6455 9.1", "x; y=1", None),
        ("RFC 6455 9.1", "permessage-deflate,;", None),
    ];
    for (section, offer, expected) in table {
        let mut client = Client::connect(server.address);
        let line = format!("Host: a\r\nSec-WebSocket-Extensions: {offer}");
        let (status, head, _) = client.request(&UPGRADE.replace("Host: a", &line));
        assert_eq!(status, 101, "{section}: {head}");
        assert_eq!(header(&head, "sec-websocket-extensions"), expected, "{section}, {offer}");
        client.send(&frame(PING, b"?"));
        assert_eq!(client.frame(), (PONG, b"?".to_vec()), "{section}, {offer}");
    }
}

//= rfc6455#4.2.1-1 rfc6455#4.2.1-2 rfc6455#4.2.1-4 rfc6455#4.2.1-6 rfc6455#4.2.1-7 test
//= rfc6455#4.2.1-8 rfc6455#4.2.1-9 rfc6455#4.2.2-2 rfc6455#4.2.2-3 rfc6455#4.2.2-4 test
//= rfc6455#4.4-1 rfc6455#10.2-1 rfc6455#10.2-2 rfc6455#10.7-1 rfc6455#10.7-3 rfc6455#11.3.1-1 test
//= rfc6455#11.3.5-1 test
#[test]
fn each_invalid_request_is_refused_with_its_status() {
    const HOST: &str = "Host: a";
    const VERSION: &str = "Version: 13";
    const KEY: &str = "Key: dGhlIHNhbXBsZSBub25jZQ==";
    #[rustfmt::skip]
    let table = [
        ("4.2.1", "POST", "GET ", "POST ", 405),
        ("4.2.1", "PUT", "GET ", "PUT ", 405),
        ("4.2.1", "DELETE", "GET ", "DELETE ", 405),
        ("4.2.1", "get in lower case", "GET ", "get ", 405),
        ("4.2.1", "HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 505),
        ("4.2.1", "no host", "Host: a\r\n", "", 400),
        ("4.2.1", "two hosts", HOST, "Host: a\r\nHost: a", 400),
        ("4.2.1", "an empty host", HOST, "Host:", 400),
        ("4.2.1", "no Upgrade", "Upgrade: websocket\r\n", "", 426),
        ("4.2.1", "an empty Upgrade", "websocket", "", 426),
        ("4.2.1", "Upgrade to something else", "websocket", "h2c", 426),
        ("4.2.1", "Upgrade to something longer", "websocket", "websockets", 426),
        ("4.2.1", "no Connection", "Connection: Upgrade\r\n", "", 426),
        ("4.2.1", "an empty Connection", ": Upgrade", ":", 426),
        ("4.2.1", "another Connection", ": Upgrade", ": keep-alive", 426),
        ("4.2.1", "half a word of Connection", ": Upgrade", ": Upgra", 426),
        ("4.2.1", "no key", "Sec-WebSocket-Key", "X-Key", 400),
        ("4.2.1", "an empty key", KEY, "Key:", 400),
        ("4.2.1", "a key of 15 bytes", KEY, "Key: AAAAAAAAAAAAAAAAAAAA", 400),
        ("4.2.1", "a key of 17 bytes", KEY, "Key: AAAAAAAAAAAAAAAAAAAAAAA=", 400),
        ("4.2.1", "a key of 13 bytes", KEY, "Key: AAAAAAAAAAAAAAAAAA==", 400),
        ("4.2.1", "a key of 19 bytes", KEY, "Key: AAAAAAAAAAAAAAAAAAAAAAAAAA==", 400),
        ("4.2.1", "a key without padding", "==", "", 400),
        ("4.2.1", "a key that is no base64", KEY, "Key: dGhlIHNhbXBsZSBub25j!!==", 400),
        ("4.2.1", "a key of the URL's alphabet", KEY, "Key: -_hlIHNhbXBsZSBub25jZQ==", 400),
        ("11.3.1", "two keys", KEY, "Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x", 400),
        ("4.2.1", "another origin", HOST, "Host: a\r\nOrigin: https://other.example", 403),
        ("4.2.1", "the null origin", HOST, "Host: a\r\nOrigin: null", 403),
        ("4.2.2", "no such resource", "/ws/status", "/ws/other", 404),
        ("4.2.2", "no version", "Sec-WebSocket-Version", "X-Version", 426),
        ("4.2.2", "an empty version", VERSION, "Version:", 426),
        ("4.4", "version 0", VERSION, "Version: 0", 426),
        ("4.4", "version 8", VERSION, "Version: 8", 426),
        ("4.4", "version 12", VERSION, "Version: 12", 426),
        ("4.4", "version 14", VERSION, "Version: 14", 426),
        ("4.4", "version 25", VERSION, "Version: 25", 426),
        ("4.1", "version 013", VERSION, "Version: 013", 426),
        ("4.1", "version 256", VERSION, "Version: 256", 426),
        ("4.4", "a list of versions", VERSION, "Version: 13, 8", 426),
        ("11.3.5", "two versions", VERSION, "Version: 13\r\nSec-WebSocket-Version: 8", 426),
    ];
    let server = Server::start(&["--allowed-origins=https://app.example"]);
    for (section, what, from, to, expected) in table {
        let request = UPGRADE.replace(from, to);
        assert_ne!(request, UPGRADE, "{what}");
        let (status, head, _) = Client::connect(server.address).request(&request);
        assert_eq!(status, expected, "RFC 6455 {section}, {what}: {head}");
        assert_eq!(header(&head, "sec-websocket-accept"), None, "RFC 6455 4.2.2, {what}");
        if request.contains("Upgrade: websocket\r\nConnection: Upgrade\r\n") && status == 426 {
            let version = header(&head, "sec-websocket-version");
            assert_eq!(version, Some("13"), "RFC 6455 4.4, {what}");
        }
    }
}

#[test]
fn a_request_followed_by_frames_may_be_split_at_any_byte() {
    let server = Server::start(&["--allowed-origins=https://app.example"]);
    let frames = [frame(TEXT, b"hi"), frame(PING, b"?"), close(1000, "bye")].concat();
    let whole = [UPGRADE.as_bytes(), &frames].concat();
    for split in 1..whole.len() {
        let mut client = Client::connect(server.address);
        client.send(&whole[..split]);
        client.send(&whole[split..]);
        assert_eq!(client.head().0, 101, "RFC 6455 4.2.2, split at {split}");
        assert_eq!(client.frame(), (PONG, b"?".to_vec()), "split at {split}");
        assert_eq!(client.frame(), (CLOSE, close_payload(1000, "bye")), "split at {split}");
        client.expect_end();
    }
}
