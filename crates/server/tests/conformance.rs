//! RFC 6455 over real sockets, section by section: the opening handshake of HTTP/1.1, and by each protocol in
//! which a client may come frames, masks, control frames and the end. What needs an answer with content,
//! or thousands of sessions, is in the file of the same name in `transport`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Read;

use support::protocols;
use support::server::Server;
use support::{
    BINARY, CLOSE, Client, PING, PONG, TEXT, UPGRADE, close, close_payload, frame, head, header,
};

/// The section, a description, the frames that the client sends, and the expected outcome.
type Case = (&'static str, String, Vec<u8>, Outcome);

#[derive(Clone)]
enum Outcome {
    /// The server sends this and the session stays open.
    Open(Vec<u8>),
    /// The server sends this and ends its side.
    Closed(Vec<u8>),
}

const MAX_MESSAGE_BYTES: usize = 70_000;

/// Starts a server without rate limits, whose close timeout is longer than the client's read timeout.
fn start() -> Server {
    let sizes = ["--max-message-bytes=70000", "--close-timeout-secs=60"];
    let rates = ["--messages-per-second=0", "--control-frames-per-second=0"];
    protocols::start(&[&sizes[..], &rates, &["--allowed-origins=https://app.example"]].concat())
}

/// Runs each case in its own session, over each protocol.
fn check(cases: impl IntoIterator<Item = Case>) {
    let server = start();
    let mut clients = protocols::open_all(&server);
    for (section, what, sent, outcome) in cases {
        for (protocol, client) in &mut clients {
            client.send(&sent);
            let expected = match &outcome {
                Outcome::Closed(output) => output.clone(),
                Outcome::Open(output) => {
                    client.send(&frame(PING, b"alive?"));
                    client.0.end();
                    [&output[..], &server_frame(PONG, b"alive?")].concat()
                }
            };
            let mut received = Vec::new();
            let end = client.0.read_to_end(&mut received);
            assert!(
                end.is_ok(),
                "RFC 6455 {section}, {what}, {protocol:?}: {end:?} after {received:02x?}"
            );
            assert_eq!(received, expected, "RFC 6455 {section}, {what}, {protocol:?}");
            if !client.0.reopen() {
                *client = protocol.open(&server);
            }
        }
    }
}

/// A server frame: not masked (section 5.1), with the minimal length encoding (section 5.2).
fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len());
    frame[1] &= 0x7f;
    frame.extend(payload);
    frame
}

fn nothing() -> Outcome {
    Outcome::Open(vec![])
}

fn closed(payload: &[u8]) -> Outcome {
    Outcome::Closed(server_frame(CLOSE, payload))
}

fn failed(code: u16) -> Outcome {
    let reason = match code {
        1002 => "protocol_error",
        1007 => "invalid_utf8",
        1009 => "too_big",
        other => panic!("{other}"),
    };
    closed(&close_payload(code, reason))
}

fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let masked: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
    [head(first, payload.len()), mask.to_vec(), masked].concat()
}

/// A frame whose length is encoded in two or eight bytes, minimal or not.
fn with_length_bytes(first: u8, length_bytes: usize, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap().to_be_bytes();
    let second = if length_bytes == 2 { 0xfe } else { 0xff };
    // With a zero mask, the payload is unchanged.
    [&[first, second], &length[8 - length_bytes..], &[0; 4], payload].concat()
}

// Sections 4.1 and 4.2: the opening handshake.

#[test]
fn each_valid_form_of_a_request_gets_the_101() {
    const HOST: &str = "Host: a";
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const SAMPLE: &str = "s3pplmbitxaq9kygzzhzrbk+xoo=";
    // In lower case, as the test client returns heads; transport's `requests.rs` checks the exact values.
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
    let server = start();
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
    let server = start();
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
    let server = start();
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

// Section 5.2: framing.

#[test]
fn each_first_byte_of_a_frame_is_valid_or_closed_with_1002() {
    // The bytes of the close code 3073 are valid UTF-8, so only the first byte can be invalid.
    let payloads = [&b""[..], &[0x0c, 0x01]].into_iter();
    let states = payloads.flat_map(|payload| [(payload, false), (payload, true)]);
    check(states.flat_map(|(payload, within)| {
        (0..=255).map(move |first: u8| {
            let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
            let outcome = match opcode {
                _ if reserved != 0 => failed(1002),
                0x0 if within => nothing(),
                0x1 | 0x2 if !within => nothing(),
                0x8 if is_final => closed(payload),
                0x9 if is_final => Outcome::Open(server_frame(PONG, payload)),
                0xa if is_final => nothing(),
                _ => failed(1002),
            };
            let begun = if within { frame(0x01, b"begun") } else { vec![] };
            let what = format!("{first:#04x} of {payload:?}, within a message: {within}");
            ("5.2", what, [begun, frame(first, payload)].concat(), outcome)
        })
    }));
}

#[test]
fn each_length_encoding_is_decoded() {
    let lengths = [0, 1, 2, 124, 125, 126, 127, 128, 254, 255, 256, 257, 65_534, 65_535, 65_536];
    let largest = [65_537, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1];
    check(lengths.into_iter().chain(largest).flat_map(|length| {
        let outcome = if length > MAX_MESSAGE_BYTES { failed(1009) } else { nothing() };
        // The payload consists of frames that must not be decoded.
        let payload: Vec<u8> = frame(PING, b"x").into_iter().cycle().take(length).collect();
        let (half, text) = (length / 2, vec![b'a'; length]);
        [
            ("5.2", format!("a text of {length}"), frame(TEXT, &text), outcome.clone()),
            ("5.2", format!("{length} bytes"), masked(BINARY, [0; 4], &payload), outcome.clone()),
            (
                "5.4",
                format!("{length} bytes in two fragments"),
                [frame(0x02, &payload[..half]), frame(0x80, &payload[half..])].concat(),
                outcome,
            ),
        ]
    }));
}

#[test]
fn a_length_with_its_first_bit_set_is_closed_from_the_frame_header_alone() {
    let lengths = [1 << 63, 1 << 63 | 1, 1 << 63 | 125, u64::MAX];
    check(lengths.map(|length: u64| {
        let sent = [&[BINARY, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
        ("5.2", format!("{length:#x}"), sent, failed(1009))
    }));
}

/// Not conformance but leniency: section 5.2 requires the minimal encoding from the sender, and the codec
/// does not check it. The server itself sends minimal encodings.
#[test]
fn a_length_that_is_not_minimal_is_accepted() {
    let shorts = [0, 1, 2, 124, 125].into_iter().flat_map(|length| [(2, length), (8, length)]);
    let longs = [126, 127, 65_534, 65_535].map(|length| (8, length));
    let pings = shorts.clone().map(|(bytes, length)| {
        let payload = vec![b'p'; length];
        let outcome = Outcome::Open(server_frame(PONG, &payload));
        ("5.2", format!("a ping of {length}"), with_length_bytes(PING, bytes, &payload), outcome)
    });
    let data = shorts.chain(longs).flat_map(|(bytes, length)| {
        [TEXT, BINARY].map(|first| {
            let sent = with_length_bytes(first, bytes, &vec![b'd'; length]);
            ("5.2", format!("{first:#x} of {length} in {bytes} bytes"), sent, nothing())
        })
    });
    let closes = [2, 8].map(|bytes| {
        let payload = close_payload(1000, "not minimal");
        let sent = with_length_bytes(CLOSE, bytes, &payload);
        ("5.2", format!("a close in {bytes} bytes"), sent, closed(&payload))
    });
    check(pings.chain(data).chain(closes));
}

// Sections 5.1 and 5.3: masking.

#[test]
fn every_unmasked_frame_is_closed_with_1002() {
    let whole = (0x80..=0x8f).flat_map(|first: u8| {
        [&b""[..], &[0x0c, 0x01], &[b'x'; 125], &[b'x'; 126]].map(|payload| {
            let what = format!("{first:#x} of {}", payload.len());
            ("5.1", what, server_frame(first, payload), failed(1002))
        })
    });
    let first_fragment = [0x00, 0x01, 0x02].map(|first| {
        ("5.1", format!("a first fragment, {first:#x}"), server_frame(first, b"x"), failed(1002))
    });
    let later_fragment = [0x00, 0x80].map(|first| {
        let sent = [frame(0x01, b"masked"), server_frame(first, b"not")].concat();
        ("5.1", format!("a later fragment, {first:#x}"), sent, failed(1002))
    });
    check(whole.chain(first_fragment).chain(later_fragment));
}

#[test]
fn each_byte_is_unmasked_with_its_own_byte_of_the_mask() {
    let masks = [[0; 4], [0xff; 4], [1, 2, 3, 4], [0x80, 0, 0, 1], [0, 0xff, 0, 0xff]];
    check(masks.into_iter().flat_map(|mask| {
        (0..=17).chain([31, 32, 33, 63, 64, 65, 124, 125]).map(move |length: u8| {
            let payload: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            let sent = masked(PING, mask, &payload);
            (
                "5.3",
                format!("{mask:?}, {length}"),
                sent,
                Outcome::Open(server_frame(PONG, &payload)),
            )
        })
    }));
}

// Section 5.5: control frames.

#[test]
fn a_control_frame_has_at_most_125_bytes() {
    let pings = (0..=125).map(|length| {
        let payload = vec![0xfe; length];
        let outcome = Outcome::Open(server_frame(PONG, &payload));
        ("5.5.2", format!("a ping of {length}"), frame(PING, &payload), outcome)
    });
    let pongs = (0..=125).map(|length| {
        ("5.5.3", format!("a pong of {length}"), frame(PONG, &vec![0xfe; length]), nothing())
    });
    let closes = (0..=123).map(|length| {
        let payload = close_payload(1000, &"r".repeat(length));
        ("5.5.1", format!("a reason of {length}"), frame(CLOSE, &payload), closed(&payload))
    });
    let long = [CLOSE, PING, PONG].into_iter().flat_map(|first| {
        [126, 127, 128, 255, 256, 65_535, 65_536].map(|length| {
            let payload = close_payload(1000, &"r".repeat(length - 2));
            ("5.5", format!("{first:#x} of {length}"), frame(first, &payload), failed(1002))
        })
    });
    check(pings.chain(pongs).chain(closes).chain(long));
}

#[test]
fn a_control_frame_cannot_be_fragmented() {
    check([0x08, 0x09, 0x0a].into_iter().flat_map(|first| {
        let alone = frame(first, b"");
        let continued = [frame(first, b""), frame(0x80, b"")].concat();
        let within = [frame(0x01, b"a"), frame(first, b""), frame(0x80, b"b")].concat();
        [("alone", alone), ("continued", continued), ("within a message", within)]
            .map(|(what, sent)| ("5.5", format!("{first:#x} {what}"), sent, failed(1002)))
    }));
}

// Sections 7.1 and 5.5.1: the closing handshake.

#[test]
fn a_close_frame_is_echoed_once_and_later_input_is_not_answered() {
    let normal = close(1000, "");
    let echo = closed(&close_payload(1000, ""));
    let behind = |more: &[u8]| [&normal[..], more].concat();
    let before = |first: &[u8]| [first, &normal].concat();
    #[rustfmt::skip]
    let table = [
        ("5.5.1", "no body", frame(CLOSE, b""), closed(b"")),
        ("5.5.1", "a code", behind(b""), echo.clone()),
        ("5.5.1", "a reason", close(1001, "größer"), closed(&close_payload(1001, "größer"))),
        ("5.5.1", "a body of one byte", frame(CLOSE, b"x"), failed(1002)),
        ("5.5.1", "a reason that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), failed(1007)),
        ("5.5.1", "twice", behind(&close(1001, "")), echo.clone()),
        ("5.5.1", "a ping behind", behind(&frame(PING, b"")), echo.clone()),
        ("5.5.1", "a text behind", behind(&frame(TEXT, b"")), echo.clone()),
        ("5.5.1", "nonsense behind", behind(&[0xff; 9]), echo.clone()),
        ("5.4", "within a message", before(&frame(0x01, b"a")), echo),
        ("7.1.7", "behind a violation", before(&frame(0x83, b"")), failed(1002)),
    ];
    check(table.map(|(section, what, sent, outcome)| (section, what.to_owned(), sent, outcome)));
}

#[test]
fn the_servers_own_close_ends_with_any_answer_to_it() {
    let answers = [&b""[..], b"\x03\xe8", b"\x03\xe9", b"\x03\xe9drained", b"\x0f\xa0other"];
    let mut server = start();
    let clients = answers.map(|answer| (answer, protocols::open_all(&server)));
    server.begin_shutdown();
    for (answer, clients) in clients {
        for (protocol, mut client) in clients {
            let drained = (CLOSE, close_payload(1001, "drained"));
            assert_eq!(client.frame(), drained, "RFC 6455 7.4.1, {protocol:?}");
            // Section 5.5.1: after its Close frame, the server need not answer a ping.
            client.send(&[frame(PING, b"late"), frame(CLOSE, answer)].concat());
            client.expect_end();
        }
    }
    let summary = server.join();
    assert_eq!((summary.clean, summary.timed_out, summary.aborted), (20, 0, 0));
}
