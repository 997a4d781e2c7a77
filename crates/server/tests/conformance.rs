//! RFC 6455 over real sockets, section by section and over each protocol: framing, masking, control
//! frames and the closing handshake. `conformance_handshake.rs` has the opening handshake; the crate
//! `transport` has the cases that need a handler or thousands of sessions.
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
use support::{BINARY, CLOSE, PING, PONG, TEXT, close, close_payload, frame, head};

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
    protocols::start(&[&sizes[..], &rates].concat())
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

// Section 5.2: framing.

//= rfc6455#5.2-1 rfc6455#5.2-2 rfc6455#5.4-1 rfc6455#5.4-3 rfc6455#10.7-1 test
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

//= rfc6455#5.2-3 test
#[test]
fn a_length_with_its_first_bit_set_is_closed_from_the_frame_header_alone() {
    let lengths = [1 << 63, 1 << 63 | 1, 1 << 63 | 125, u64::MAX];
    check(lengths.map(|length: u64| {
        let sent = [&[BINARY, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
        ("5.2", format!("{length:#x}"), sent, failed(1002))
    }));
}

//= rfc6455#5.2-4 test
#[test]
fn a_length_that_is_not_minimal_is_closed_from_the_frame_header_alone() {
    let shorts = [0, 1, 2, 124, 125].into_iter().flat_map(|length| [(2, length), (8, length)]);
    let longs = [126, 127, 65_534, 65_535].map(|length| (8, length));
    check(shorts.chain(longs).flat_map(|(bytes, length)| {
        [TEXT, BINARY, CLOSE, PING, PONG].map(|first| {
            let sent = with_length_bytes(first, bytes, &vec![b'd'; length]);
            ("5.2", format!("{first:#x} of {length} in {bytes} bytes"), sent, failed(1002))
        })
    }));
}

// Sections 5.1 and 5.3: masking.

//= rfc6455#5.1-1 test
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

//= rfc6455#5.1-2 rfc6455#5.5.3-1 test
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

//= rfc6455#5.5-1 rfc6455#5.5.2-1 test
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

//= rfc6455#5.4-1 test
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

//= rfc6455#5.5.1-1 rfc6455#5.5.1-3 rfc6455#5.5.1-5 rfc6455#7.1.2-2 rfc6455#7.1.7-4 test
//= rfc6455#8.1-1 test
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

//= rfc6455#5.5.2-3 test
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
            // After its Close frame, the server does not answer a ping.
            client.send(&[frame(PING, b"late"), frame(CLOSE, answer)].concat());
            client.expect_end();
        }
    }
    let summary = server.join();
    assert_eq!((summary.clean, summary.timed_out, summary.aborted), (20, 0, 0));
}
