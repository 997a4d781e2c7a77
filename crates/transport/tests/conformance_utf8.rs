//! RFC 6455, section 8.1: text messages and close reasons are UTF-8, in any fragments.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::conformance::{Outcome, check, echoed, failed, fragments, server_frame};
use support::{BINARY, CLOSE, Echo, TEXT, close_payload, frame, open};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Whether these bytes are one character, by the table of RFC 3629, section 4: independent of the
/// standard library, on which the codec relies.
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

/// Checks a text as one frame and in two fragments at each split.
async fn check_text(what: &str, text: &[u8], is_valid: bool) {
    let outcome = |valid| if is_valid { valid } else { failed(1007) };
    check("8.1", what, &[&frame(TEXT, text)], outcome(echoed(TEXT, text))).await;
    for split in 0..=text.len() {
        let (one, two) = text.split_at(split);
        let what = format!("{what}, {text:02x?} split at {split}");
        check("8.1", &what, &[&fragments(TEXT, &[one, two])], outcome(echoed(TEXT, text))).await;
    }
}

//= rfc6455#5.6-1 test
#[tokio::test(start_paused = true)]
async fn the_first_and_last_characters_of_each_length_are_accepted_in_any_fragments() {
    #[rustfmt::skip]
    let characters = [
        '\0', '\x7f', '\u{80}', '\u{7ff}', '\u{800}', '\u{d7ff}', '\u{e000}', '\u{fffd}',
        '\u{fffe}', '\u{ffff}', '\u{feff}', '\u{10000}', '\u{1ffff}', '\u{10fffe}', '\u{10ffff}',
    ];
    for character in characters {
        for text in [format!("{character}"), format!("a{character}b{character}")] {
            check_text(&format!("{character:?}"), text.as_bytes(), true).await;
            let payload = close_payload(1000, &text);
            let echo = Outcome::Closed(server_frame(CLOSE, &payload));
            check("5.5.1", "as a reason", &[&frame(CLOSE, &payload)], echo).await;
        }
    }
}

//= rfc6455#5.6-1 rfc6455#8.1-1 test
#[tokio::test(start_paused = true)]
async fn invalid_utf_8_is_closed_with_1007_at_any_position_and_in_any_fragments() {
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
    for (what, invalid) in table {
        for position in 0..=4 {
            let text = [&b"good"[..position], invalid, &b"good"[position..]].concat();
            check_text(what, &text, false).await;
            let close = [&1000_u16.to_be_bytes(), &text[..]].concat();
            check("5.5.1", what, &[&frame(CLOSE, &close)], failed(1007)).await;
            check("5.6", what, &[&frame(BINARY, &text)], echoed(BINARY, &text)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_single_byte_is_valid_or_invalid_at_each_position_of_a_text() {
    for byte in 0..=255 {
        for position in 0..5 {
            let mut text = *b"plain";
            text[position] = byte;
            let outcome = if byte < 0x80 { echoed(TEXT, &text) } else { failed(1007) };
            check("8.1", &format!("{text:02x?}"), &[&frame(TEXT, &text)], outcome).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_lead_byte_accepts_the_continuations_of_the_utf_8_table() {
    for lead in 0x80..=0xff {
        for second in [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff] {
            for tail in [&b""[..], b"\x80", b"\x80\xbf"] {
                let text = [&[lead, second], tail].concat();
                let is_valid = is_character(&text);
                let outcome = if is_valid { echoed(TEXT, &text) } else { failed(1007) };
                check("8.1", &format!("{text:02x?}"), &[&frame(TEXT, &text)], outcome).await;
            }
        }
    }
}

//= rfc6455#8.1-1 test
#[tokio::test(start_paused = true)]
async fn a_text_that_cannot_become_utf_8_is_refused_before_its_frame_ends() {
    for (what, begin, is_valid) in [
        ("a lone continuation", &b"good \x80"[..], false),
        ("a surrogate", b"\xed\xa0", false),
        ("the beginning of a character", b"good \xf0\x9f\x98", true),
    ] {
        for first in [TEXT, 0x01] {
            // Fifty bytes are announced, and these come, one at a time.
            let sent = frame(first, &[begin, &vec![b'x'; 50 - begin.len()]].concat());
            let mut session = open(Echo::default(), 1024);
            for byte in &sent[..6 + begin.len()] {
                session.peer.send(&[*byte]).await;
                yield_now().await;
            }
            let closing = timeout(Duration::from_secs(1), session.peer.frame()).await;
            let expected = (!is_valid).then(|| (CLOSE, close_payload(1007, "invalid_utf8")));
            assert_eq!(closing.ok(), expected, "RFC 6455 8.1, {what}");
        }
    }
}
