//! RFC 6455 over pipes, section by section: fragments, UTF-8, close codes, the end, and bytes that
//! come in any pieces. The handshake, frames and masks are in `server`'s file of the same name.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{
    BINARY, CLOSE, Echo, PING, PONG, SIZES, Story, TEXT, close, close_payload, frame, head,
    in_time, open,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::Instant;
use transport::DrainOptions;
use transport::ws_core::Cause;

/// What comes of a session with [`Echo`] behind it: all that it says, and how that leaves it.
#[derive(Clone)]
enum Outcome {
    /// It goes on.
    Open(Vec<u8>),
    /// It ends after a whole closing handshake.
    Closed(Vec<u8>),
    /// It ends without waiting for anything, and not clean.
    Refused(Vec<u8>),
}

/// Tries one case, whose bytes come in these pieces, each of which is looked at before the next.
async fn check(section: &str, what: &str, pieces: &[&[u8]], outcome: Outcome) {
    let mut story = open(Echo::default(), 64 * 1024);
    let start = Instant::now();
    for piece in pieces {
        story.peer.send(piece).await;
        yield_now().await;
    }
    // A session that goes on answers this, a failing one reads it away, and an ended one is deaf.
    let _ = in_time(story.peer.0.write_all(&frame(PING, b"alive?"))).await;
    let (expected, clean) = match outcome {
        Outcome::Closed(said) => (said, true),
        Outcome::Refused(said) => (said, false),
        Outcome::Open(told) => {
            story.peer.0.shutdown().await.unwrap();
            ([told, said(PONG, b"alive?")].concat(), false)
        }
    };
    assert_eq!(rest(&mut story).await, expected, "RFC 6455 {section}, {what}");
    assert_eq!(start.elapsed(), Duration::ZERO, "RFC 6455 {section}, {what}");
    story.peer.0.shutdown().await.unwrap();
    assert_eq!(story.end().await.clean, clean, "RFC 6455 {section}, {what}");
}

/// All that the session still says.
async fn rest(story: &mut Story) -> Vec<u8> {
    let mut heard = Vec::new();
    in_time(story.peer.0.read_to_end(&mut heard)).await.unwrap();
    heard
}

/// A server's frame: not masked (section 5.1), and with the shortest length (section 5.2).
fn said(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut said = head(first, payload.len());
    said[1] &= 0x7f;
    said.extend(payload);
    said
}

/// A message in parts.
fn parts(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let frames = parts.iter().enumerate().map(|(number, part)| {
        let first = if number == 0 { first & 0x0f } else { 0 };
        frame(if number + 1 == parts.len() { 0x80 | first } else { first }, part)
    });
    frames.collect::<Vec<_>>().concat()
}

fn echoed(first: u8, payload: &[u8]) -> Outcome {
    Outcome::Open(said(first, payload))
}

fn refused(code: u16) -> Outcome {
    let reason = match code {
        1002 => Cause::ProtocolError,
        1007 => Cause::InvalidUtf8,
        1009 => Cause::TooBig,
        other => panic!("{other}"),
    };
    Outcome::Refused(said(CLOSE, &close_payload(code, reason.as_str())))
}

// Section 5.4: fragments.

#[tokio::test(start_paused = true)]
async fn a_message_is_the_same_in_whatever_parts_it_comes() {
    let payload = b"fragments";
    for first in [TEXT, BINARY] {
        for a in 0..=payload.len() {
            for b in a..=payload.len() {
                let sent = parts(first, &[&payload[..a], &payload[a..b], &payload[b..]]);
                check("5.4", &format!("{a}, {b}"), &[&sent], echoed(first, payload)).await;
            }
        }
        for length in [0, 1, 2, 125, 126, 127, 4095, 4096] {
            let payload = vec![b'f'; length];
            for size in [1, 100, 125, 126, 127, 4096].into_iter().filter(|it| length / it < 200) {
                let chunks: Vec<&[u8]> = payload.chunks(size).chain([&b""[..]]).collect();
                let what = format!("{length} in parts of {size}");
                check("5.4", &what, &[&parts(first, &chunks)], echoed(first, &payload)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_between_parts_are_answered_at_once_and_change_nothing() {
    let controls = [
        ("a ping", frame(PING, b"p"), said(PONG, b"p")),
        ("an empty ping", frame(PING, b""), said(PONG, b"")),
        ("a long ping", frame(PING, &[1; 125]), said(PONG, &[1; 125])),
        ("a pong", frame(PONG, b"unasked"), vec![]),
        ("two pings", [frame(PING, b"1"), frame(PING, b"2")].concat(), {
            [said(PONG, b"1"), said(PONG, b"2")].concat()
        }),
        ("a pong and a ping", [frame(PONG, b"1"), frame(PING, b"2")].concat(), said(PONG, b"2")),
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
                let told = [answer.repeat(times), said(first, b"one")].concat();
                let what = format!("{what} in gaps {gaps:02b} of {first:#x}");
                check("5.4", &what, &[&sent], Outcome::Open(told)).await;
            }
            let sent = [frame(first & 0x0f, b"begun"), control.clone(), close(1000, "")].concat();
            let told = [answer.clone(), said(CLOSE, &close_payload(1000, ""))].concat();
            check("5.4", &format!("{what} and a close"), &[&sent], Outcome::Closed(told)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parts_that_do_not_fit_together_are_refused_with_1002() {
    // What the session has said, in each of the ways to be between messages or within one.
    let between = [
        ("at the start", vec![], vec![]),
        ("behind a message", frame(TEXT, b"a"), said(TEXT, b"a")),
        ("behind an empty message", frame(BINARY, b""), said(BINARY, b"")),
        ("behind a message in parts", parts(TEXT, &[b"a", b"b"]), said(TEXT, b"ab")),
        ("behind a ping", frame(PING, b""), said(PONG, b"")),
        ("behind a pong", frame(PONG, b""), vec![]),
    ];
    let within = [
        ("in a text", frame(0x01, b"a"), vec![]),
        ("in bytes", frame(0x02, b"a"), vec![]),
        ("in an empty text", frame(0x01, b""), vec![]),
        ("in a text of two parts", [frame(0x01, b"a"), frame(0x00, b"b")].concat(), vec![]),
        ("behind a ping in bytes", [frame(0x02, b""), frame(PING, b"")].concat(), said(PONG, b"")),
    ];
    let continuations = [0x00, 0x80].as_slice();
    let starts = [0x01, 0x02, TEXT, BINARY].as_slice();
    let wrong = between.iter().map(|it| (it, continuations));
    for ((what, before, told), firsts) in wrong.chain(within.iter().map(|it| (it, starts))) {
        for first in firsts {
            for payload in [&b""[..], b"x"] {
                let sent = [before.clone(), frame(*first, payload)].concat();
                let Outcome::Refused(close) = refused(1002) else { panic!() };
                let outcome = Outcome::Refused([told.clone(), close].concat());
                check("5.4", &format!("{first:#x} {what}"), &[&sent], outcome).await;
            }
        }
    }
    for most in [SIZES.max_message_bytes, SIZES.max_message_bytes - 1] {
        let sent = parts(BINARY, &[&vec![0; most], b"", b"xy"]);
        check("7.4.1", "parts that are too long together", &[&sent], refused(1009)).await;
    }
}

// Section 8.1: UTF-8.

/// Whether these bytes are one character: the table of RFC 3629, section 4, and not what the
/// standard library thinks, on which the codec relies.
fn is_character(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x00..=0x7f]
            | [0xc2..=0xdf, 0x80..=0xbf]
            | [0xe0, 0xa0..=0xbf, 0x80..=0xbf]
            | [0xe1..=0xec | 0xee..=0xef, 0x80..=0xbf, 0x80..=0xbf]
            | [0xed, 0x80..=0x9f, 0x80..=0xbf]
            | [0xf0, 0x90..=0xbf, 0x80..=0xbf, 0x80..=0xbf]
            | [0xf1..=0xf3, 0x80..=0xbf, 0x80..=0xbf, 0x80..=0xbf]
            | [0xf4, 0x80..=0x8f, 0x80..=0xbf, 0x80..=0xbf]
    )
}

/// Tries a text whole and in two parts, wherever it is cut.
async fn check_text(what: &str, text: &[u8], is_good: bool) {
    let outcome = |good| if is_good { good } else { refused(1007) };
    check("8.1", what, &[&frame(TEXT, text)], outcome(echoed(TEXT, text))).await;
    for cut in 0..=text.len() {
        let (one, two) = text.split_at(cut);
        let what = format!("{what}, {text:02x?} cut at {cut}");
        check("8.1", &what, &[&parts(TEXT, &[one, two])], outcome(echoed(TEXT, text))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_and_last_characters_of_each_length_are_taken_wherever_they_are_cut() {
    #[rustfmt::skip]
    let characters = [
        '\0', '\x7f', '\u{80}', '\u{7ff}', '\u{800}', '\u{d7ff}', '\u{e000}', '\u{fffd}',
        '\u{fffe}', '\u{ffff}', '\u{feff}', '\u{10000}', '\u{1ffff}', '\u{10fffe}', '\u{10ffff}',
    ];
    for character in characters {
        for text in [format!("{character}"), format!("a{character}b{character}")] {
            check_text(&format!("{character:?}"), text.as_bytes(), true).await;
            let payload = close_payload(1000, &text);
            let echo = Outcome::Closed(said(CLOSE, &payload));
            check("5.5.1", "as a reason", &[&frame(CLOSE, &payload)], echo).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_character_is_refused_with_1007_wherever_it_stands_and_is_cut() {
    #[rustfmt::skip]
    let table: [(&str, &[u8]); 27] = [
        ("a lone continuation", b"\x80"), ("the last lone continuation", b"\xbf"),
        ("two continuations", b"\x80\xbf"), ("a lead of two alone", b"\xc2"),
        ("a lead of three alone", b"\xe0"), ("a lead of four alone", b"\xf0"),
        ("two of three bytes", b"\xe2\x82"), ("three of four bytes", b"\xf0\x9f\x98"),
        ("U+0000 in two bytes", b"\xc0\x80"), ("U+002F in two bytes", b"\xc0\xaf"),
        ("U+007F in two bytes", b"\xc1\xbf"), ("U+0000 in three bytes", b"\xe0\x80\x80"),
        ("U+07FF in three bytes", b"\xe0\x9f\xbf"), ("U+0000 in four bytes", b"\xf0\x80\x80\x80"),
        ("U+FFFF in four bytes", b"\xf0\x8f\xbf\xbf"), ("U+D800", b"\xed\xa0\x80"),
        ("U+DB7F", b"\xed\xad\xbf"), ("U+DC00", b"\xed\xb0\x80"), ("U+DFFF", b"\xed\xbf\xbf"),
        ("a surrogate pair", b"\xed\xa0\xbd\xed\xb8\x80"), ("U+110000", b"\xf4\x90\x80\x80"),
        ("U+13FFFF", b"\xf4\xbf\xbf\xbf"), ("U+140000", b"\xf5\x80\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"), ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
        ("FE", b"\xfe"), ("FF", b"\xff"),
    ];
    for (what, bad) in table {
        for place in 0..=4 {
            let text = [&b"good"[..place], bad, &b"good"[place..]].concat();
            check_text(what, &text, false).await;
            let close = [&1000_u16.to_be_bytes(), &text[..]].concat();
            check("5.5.1", what, &[&frame(CLOSE, &close)], refused(1007)).await;
            check("5.6", what, &[&frame(BINARY, &text)], echoed(BINARY, &text)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_byte_is_good_or_bad_at_each_place_of_a_text() {
    for byte in 0..=255 {
        for place in 0..5 {
            let mut text = *b"plain";
            text[place] = byte;
            let outcome = if byte < 0x80 { echoed(TEXT, &text) } else { refused(1007) };
            check("8.1", &format!("{text:02x?}"), &[&frame(TEXT, &text)], outcome).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_lead_is_followed_by_what_the_table_of_utf_8_says() {
    for lead in 0x80..=0xff {
        for second in [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff] {
            for tail in [&b""[..], b"\x80", b"\x80\xbf"] {
                let text = [&[lead, second], tail].concat();
                let is_good = is_character(&text);
                let outcome = if is_good { echoed(TEXT, &text) } else { refused(1007) };
                check("8.1", &format!("{text:02x?}"), &[&frame(TEXT, &text)], outcome).await;
            }
        }
    }
}

// Section 7.4: close codes.

#[tokio::test(start_paused = true)]
async fn each_close_code_is_echoed_if_it_may_be_sent_and_answered_with_1002_if_not() {
    for code in (0..=5000).chain((5001..=65_535).step_by(97)).chain([u16::MAX]) {
        let sent = close(code, "why");
        let outcome = match code {
            // 1014 is registered, and the codec does not know it (the guide, section 3).
            1000..=1003 | 1007..=1013 | 3000..=4999 => {
                Outcome::Closed(said(CLOSE, &close_payload(code, "why")))
            }
            // The codec's words.
            _ => Outcome::Refused(said(CLOSE, &close_payload(1002, "Protocol violation"))),
        };
        check("7.4", &format!("{code}"), &[&sent], outcome).await;
    }
}

// Sections 7.1 and 5.5.1: the end.

#[tokio::test(start_paused = true)]
async fn our_own_close_ends_with_the_peers_answer_or_without_one_in_time() {
    let [text, ping] = [frame(TEXT, b"unread"), frame(PING, b"late")];
    #[rustfmt::skip]
    let table = [
        ("the same code", close(1001, ""), true),
        ("the same words", close(1001, "drained"), true),
        ("another code", close(4000, "mine"), true),
        ("no body", frame(CLOSE, b""), true),
        ("twice", [close(1001, ""), close(1000, "")].concat(), true),
        ("behind a message", [text.clone(), close(1001, "")].concat(), true),
        ("behind a ping", [ping.clone(), close(1001, "")].concat(), true),
        ("within a message", [frame(0x01, b"begun"), close(1001, "")].concat(), true),
        ("before a ping", [close(1001, ""), ping.clone()].concat(), true),
        ("a violation", frame(0x83, b""), false),
        ("a close of one byte", frame(CLOSE, b"x"), false),
        ("a close that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), false),
    ];
    for (what, answer, clean) in table {
        let mut story = open(Echo::default(), 1024);
        story.drain.start(DrainOptions::default());
        story.peer.expect_close(1001, "drained").await;
        let told = Instant::now();
        story.peer.send(&answer).await;
        assert_eq!(rest(&mut story).await, b"", "RFC 6455 5.5.1, {what}");
        let record = story.end().await;
        assert_eq!((record.cause, record.clean), (Cause::Drained, clean), "{what}");
        assert_eq!(told.elapsed(), Duration::ZERO, "RFC 6455 7.1.1, {what}");
    }
    for (what, ignoring) in [("nothing", vec![]), ("a message", text), ("a ping", ping)] {
        let mut story = open(Echo::default(), 1024);
        story.drain.start(DrainOptions::default());
        story.peer.expect_close(1001, "drained").await;
        let told = Instant::now();
        story.peer.send(&ignoring).await;
        assert_eq!(rest(&mut story).await, b"", "RFC 6455 5.5.1, {what}");
        let waited = told.elapsed().as_secs_f64();
        assert!((3.0..3.1).contains(&waited), "RFC 6455 7.1.1, {what}: {waited}");
        assert!(!story.end().await.clean, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_closes_that_cross_are_a_whole_closing_handshake() {
    for answer in [close(1000, "mine"), close(1001, "drained"), frame(CLOSE, b"")] {
        let mut story = open(Echo::default(), 1024);
        yield_now().await;
        // The session sees both at its next wake-up, and must not answer a close with a second one.
        story.drain.start(DrainOptions::default());
        story.peer.send(&answer).await;
        let ours = said(CLOSE, &close_payload(1001, "drained"));
        assert_eq!(rest(&mut story).await, ours, "RFC 6455 5.5.1");
        assert!(story.end().await.clean);
    }
    let mut story = open(Echo::default(), 1024);
    story.peer.send(&close(1000, "first")).await;
    yield_now().await;
    story.drain.start(DrainOptions::default());
    assert_eq!(rest(&mut story).await, said(CLOSE, &close_payload(1000, "first")));
    assert_eq!(story.end().await.cause, Cause::PeerClosed);
}

// Section 5.2: a frame is a sequence of bytes, and not of reads.

#[tokio::test(start_paused = true)]
async fn a_conversation_is_the_same_in_whatever_pieces_it_comes() {
    let turns = [
        (frame(TEXT, "größer".as_bytes()), said(TEXT, "größer".as_bytes())),
        (frame(PING, b"ping"), said(PONG, b"ping")),
        (frame(0x01, b"\xe2\x82"), vec![]),
        (frame(PING, b""), said(PONG, b"")),
        (frame(0x80, b"\xac"), said(TEXT, "€".as_bytes())),
        (frame(BINARY, &[7; 126]), said(BINARY, &[7; 126])),
        (frame(PONG, b"unasked"), vec![]),
        (parts(BINARY, &[b"", b"\xff", b""]), said(BINARY, b"\xff")),
        (close(3000, "done"), said(CLOSE, &close_payload(3000, "done"))),
    ];
    let (sent, told): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
    let (sent, outcome) = (sent.concat(), Outcome::Closed(told.concat()));
    for size in 1..=sent.len() {
        let pieces: Vec<&[u8]> = sent.chunks(size).collect();
        check("5.2", &format!("pieces of {size}"), &pieces, outcome.clone()).await;
        let (one, two) = sent.split_at(size);
        check("5.2", &format!("cut at {size}"), &[one, two], outcome.clone()).await;
    }
    for seed in 0..200 {
        // Knuth's constants; the upper bits are the good ones.
        let mut state: u64 = seed;
        let (mut pieces, mut left) = (vec![], &sent[..]);
        while !left.is_empty() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let most = if seed % 2 == 0 { 8 } else { 64 };
            let length = (usize::try_from(state >> 33).unwrap() % most + 1).min(left.len());
            let (piece, behind) = left.split_at(length);
            pieces.push(piece);
            left = behind;
        }
        check("5.2", &format!("seed {seed}"), &pieces, outcome.clone()).await;
    }
}
