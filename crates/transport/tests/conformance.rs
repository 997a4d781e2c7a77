//! RFC 6455 over pipes, section by section: fragmentation, close codes, the closing handshake, and
//! input in any segments. `conformance_utf8.rs` has UTF-8; the crate `server` tests the opening
//! handshake, framing and masking.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::conformance::{Outcome, check, echoed, failed, fragments, rest, server_frame};
use support::{BINARY, CLOSE, Echo, PING, PONG, SIZES, TEXT, close, close_payload, frame, open};
use tokio::task::yield_now;
use tokio::time::Instant;
use transport::DrainOptions;
use transport::ws_core::Cause;

// Section 5.4: fragmentation.

//= rfc6455#5.4-2 rfc6455#5.4-5 rfc6455#5.4-6 rfc6455#6.2-3 rfc6455#6.2-5 test
#[tokio::test(start_paused = true)]
async fn a_message_is_the_same_however_it_is_fragmented() {
    let payload = b"fragments";
    for first in [TEXT, BINARY] {
        for a in 0..=payload.len() {
            for b in a..=payload.len() {
                let sent = fragments(first, &[&payload[..a], &payload[a..b], &payload[b..]]);
                check("5.4", &format!("{a}, {b}"), &[&sent], echoed(first, payload)).await;
            }
        }
        for length in [0, 1, 2, 125, 126, 127, 4095, 4096] {
            let payload = vec![b'f'; length];
            for size in [1, 100, 125, 126, 127, 4096].into_iter().filter(|it| length / it < 200) {
                let chunks: Vec<&[u8]> = payload.chunks(size).chain([&b""[..]]).collect();
                let what = format!("{length} in fragments of {size}");
                check("5.4", &what, &[&fragments(first, &chunks)], echoed(first, &payload)).await;
            }
        }
    }
}

//= rfc6455#5.4-4 rfc6455#5.5.1-4 rfc6455#5.5.2-1 rfc6455#5.5.2-2 rfc6455#5.5.3-1 rfc6455#6.2-2 test
#[tokio::test(start_paused = true)]
async fn control_frames_between_fragments_are_answered_at_once_and_change_nothing() {
    let controls = [
        ("a ping", frame(PING, b"p"), server_frame(PONG, b"p")),
        ("an empty ping", frame(PING, b""), server_frame(PONG, b"")),
        ("a long ping", frame(PING, &[1; 125]), server_frame(PONG, &[1; 125])),
        ("a pong", frame(PONG, b"unasked"), vec![]),
        ("two pings", [frame(PING, b"1"), frame(PING, b"2")].concat(), {
            [server_frame(PONG, b"1"), server_frame(PONG, b"2")].concat()
        }),
        (
            "a pong and a ping",
            [frame(PONG, b"1"), frame(PING, b"2")].concat(),
            server_frame(PONG, b"2"),
        ),
    ];
    for first in [TEXT, BINARY] {
        for (what, control, answer) in &controls {
            let [one, two, three] =
                [frame(first & 0x0f, b"o"), frame(0x00, b"n"), frame(0x80, b"e")];
            // One bit for each of the two gaps.
            for gaps in 1..=3_usize {
                let gap = |bit| if gaps & bit != 0 { &control[..] } else { &[] };
                let sent = [&one[..], gap(1), &two, gap(2), &three].concat();
                let times = usize::try_from(gaps.count_ones()).unwrap();
                let output = [answer.repeat(times), server_frame(first, b"one")].concat();
                let what = format!("{what} in gaps {gaps:02b} of {first:#x}");
                check("5.4", &what, &[&sent], Outcome::Open(output)).await;
            }
            let sent = [frame(first & 0x0f, b"begun"), control.clone(), close(1000, "")].concat();
            let output = [answer.clone(), server_frame(CLOSE, &close_payload(1000, ""))].concat();
            check("5.4", &format!("{what} and a close"), &[&sent], Outcome::Closed(output)).await;
        }
    }
}

//= rfc6455#5.4-3 rfc6455#6.2-4 rfc6455#7.1.1-3 rfc6455#7.1.7-1 test
#[tokio::test(start_paused = true)]
async fn fragments_in_an_invalid_sequence_are_closed_with_1002() {
    // Input after which the session is between messages or within one, and the output so far.
    let between = [
        ("at the start", vec![], vec![]),
        ("behind a message", frame(TEXT, b"a"), server_frame(TEXT, b"a")),
        ("behind an empty message", frame(BINARY, b""), server_frame(BINARY, b"")),
        ("behind a fragmented message", fragments(TEXT, &[b"a", b"b"]), server_frame(TEXT, b"ab")),
        ("behind a ping", frame(PING, b""), server_frame(PONG, b"")),
        ("behind a pong", frame(PONG, b""), vec![]),
    ];
    let within = [
        ("in a text", frame(0x01, b"a"), vec![]),
        ("in bytes", frame(0x02, b"a"), vec![]),
        ("in an empty text", frame(0x01, b""), vec![]),
        ("in a text of two fragments", [frame(0x01, b"a"), frame(0x00, b"b")].concat(), vec![]),
        (
            "behind a ping in bytes",
            [frame(0x02, b""), frame(PING, b"")].concat(),
            server_frame(PONG, b""),
        ),
    ];
    let continuations = [0x00, 0x80].as_slice();
    let starts = [0x01, 0x02, TEXT, BINARY].as_slice();
    let cases = between.iter().map(|it| (it, continuations));
    for ((what, before, output), firsts) in cases.chain(within.iter().map(|it| (it, starts))) {
        for first in firsts {
            for payload in [&b""[..], b"x"] {
                let sent = [before.clone(), frame(*first, payload)].concat();
                let Outcome::Failed(close) = failed(1002) else { panic!() };
                let outcome = Outcome::Failed([output.clone(), close].concat());
                check("5.4", &format!("{first:#x} {what}"), &[&sent], outcome).await;
            }
        }
    }
    for most in [SIZES.max_message_bytes, SIZES.max_message_bytes - 1] {
        let sent = fragments(BINARY, &[&vec![0; most], b"", b"xy"]);
        check("7.4.1", "fragments that are too long together", &[&sent], failed(1009)).await;
    }
}

// Section 7.4: close codes.

//= rfc6455#7.4.1-1 rfc6455#7.4.1-2 rfc6455#7.4.1-3 rfc6455#7.4.2-1 test
#[tokio::test(start_paused = true)]
async fn a_close_code_is_echoed_if_it_may_be_sent_and_answered_with_1002_otherwise() {
    for code in (0..=5000).chain((5001..=65_535).step_by(97)).chain([u16::MAX]) {
        let sent = close(code, "why");
        let outcome = match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => {
                Outcome::Closed(server_frame(CLOSE, &close_payload(code, "why")))
            }
            _ => failed(1002),
        };
        check("7.4", &format!("{code}"), &[&sent], outcome).await;
    }
}

// Sections 7.1 and 5.5.1: the closing handshake.

//= rfc6455#5.5.1-2 rfc6455#5.5.1-5 rfc6455#5.5.2-3 rfc6455#6.1-1 rfc6455#7.1.1-2 test
//= rfc6455#7.1.1-3 rfc6455#7.1.2-2 rfc6455#7.1.4-1 test
#[tokio::test(start_paused = true)]
async fn a_close_of_the_session_ends_with_the_answer_of_the_peer_or_at_the_timeout() {
    let [text, ping] = [frame(TEXT, b"unread"), frame(PING, b"late")];
    #[rustfmt::skip]
    let table = [
        ("the same code", close(1001, ""), true),
        ("the same reason", close(1001, "drained"), true),
        ("another code", close(4000, "mine"), true),
        ("no body", frame(CLOSE, b""), true),
        ("twice", [close(1001, ""), close(1000, "")].concat(), true),
        ("behind a message", [text.clone(), close(1001, "")].concat(), true),
        ("behind a ping", [ping.clone(), close(1001, "")].concat(), true),
        ("within a message", [frame(0x01, b"begun"), close(1001, "")].concat(), true),
        ("before a ping", [close(1001, ""), ping.clone()].concat(), true),
        ("a violation", frame(0x83, b""), false),
        ("a Close frame of one byte", frame(CLOSE, b"x"), false),
        ("a Close frame that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), false),
    ];
    for (what, answer, clean) in table {
        let mut session = open(Echo::default(), 1024);
        session.drain.start(DrainOptions::default());
        session.peer.expect_close(1001, "drained").await;
        let closed = Instant::now();
        session.peer.send(&answer).await;
        assert_eq!(rest(&mut session).await, b"", "RFC 6455 5.5.1, {what}");
        let record = session.end().await;
        assert_eq!((record.cause, record.clean), (Cause::Drained, clean), "{what}");
        assert_eq!(closed.elapsed(), Duration::ZERO, "RFC 6455 7.1.1, {what}");
    }
    for (what, answer) in [("nothing", vec![]), ("a message", text), ("a ping", ping)] {
        let mut session = open(Echo::default(), 1024);
        session.drain.start(DrainOptions::default());
        session.peer.expect_close(1001, "drained").await;
        let closed = Instant::now();
        session.peer.send(&answer).await;
        assert_eq!(rest(&mut session).await, b"", "RFC 6455 5.5.1, {what}");
        let waited = closed.elapsed().as_secs_f64();
        assert!((3.0..3.1).contains(&waited), "RFC 6455 7.1.1, {what}: {waited}");
        assert!(!session.end().await.clean, "{what}");
    }
}

//= rfc6455#5.5.1-3 test
#[tokio::test(start_paused = true)]
async fn two_close_frames_that_cross_complete_the_closing_handshake() {
    for answer in [close(1000, "mine"), close(1001, "drained"), frame(CLOSE, b"")] {
        let mut session = open(Echo::default(), 1024);
        yield_now().await;
        // The session sees both in its next poll, and must not send a second Close frame.
        session.drain.start(DrainOptions::default());
        session.peer.send(&answer).await;
        let ours = server_frame(CLOSE, &close_payload(1001, "drained"));
        assert_eq!(rest(&mut session).await, ours, "RFC 6455 5.5.1");
        assert!(session.end().await.clean);
    }
    let mut session = open(Echo::default(), 1024);
    session.peer.send(&close(1000, "first")).await;
    yield_now().await;
    session.drain.start(DrainOptions::default());
    assert_eq!(rest(&mut session).await, server_frame(CLOSE, &close_payload(1000, "first")));
    assert_eq!(session.end().await.cause, Cause::PeerClosed);
}

// Section 5.2: framing is independent of how the bytes are segmented.

//= rfc6455#6.2-1 test
#[tokio::test(start_paused = true)]
async fn the_output_is_the_same_however_the_input_is_segmented() {
    let exchanges = [
        (frame(TEXT, "größer".as_bytes()), server_frame(TEXT, "größer".as_bytes())),
        (frame(PING, b"ping"), server_frame(PONG, b"ping")),
        (frame(0x01, b"\xe2\x82"), vec![]),
        (frame(PING, b""), server_frame(PONG, b"")),
        (frame(0x80, b"\xac"), server_frame(TEXT, "€".as_bytes())),
        (frame(BINARY, &[7; 126]), server_frame(BINARY, &[7; 126])),
        (frame(PONG, b"unasked"), vec![]),
        (fragments(BINARY, &[b"", b"\xff", b""]), server_frame(BINARY, b"\xff")),
        (close(3000, "done"), server_frame(CLOSE, &close_payload(3000, "done"))),
    ];
    let (sent, output): (Vec<_>, Vec<_>) = exchanges.into_iter().unzip();
    let (sent, outcome) = (sent.concat(), Outcome::Closed(output.concat()));
    for size in 1..=sent.len() {
        let segments: Vec<&[u8]> = sent.chunks(size).collect();
        check("5.2", &format!("segments of {size}"), &segments, outcome.clone()).await;
        let (one, two) = sent.split_at(size);
        check("5.2", &format!("split at {size}"), &[one, two], outcome.clone()).await;
    }
    for seed in 0..200 {
        // A linear congruential generator with Knuth's constants. Its upper bits are the more random.
        let mut state: u64 = seed;
        let (mut segments, mut left) = (vec![], &sent[..]);
        while !left.is_empty() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let most = if seed % 2 == 0 { 8 } else { 64 };
            let length = (usize::try_from(state >> 33).unwrap() % most + 1).min(left.len());
            let (segment, rest) = left.split_at(length);
            segments.push(segment);
            left = rest;
        }
        check("5.2", &format!("seed {seed}"), &segments, outcome.clone()).await;
    }
}
