//! Headers of frames (RFC 6455, section 5.2): a violation is one at the byte that shows it, whatever
//! follows, and whatever never comes.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{BINARY, CLOSE, PING, PONG, SIZES, TEXT, frame, head, open};
use tokio::task::yield_now;
use tokio::time::timeout;
use transport::{Discard, DrainOptions};

/// What the beginning of a header means, written down a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Violation(u16),
}

/// Judges the first bytes of a frame.
fn verdict(bytes: &[u8], is_in_message: bool) -> Verdict {
    let (opcode, is_final) = (bytes[0] & 0x0f, bytes[0] & 0x80 != 0);
    let is_control = opcode >= 8;
    let is_known = matches!(opcode, 0..=2 | 8..=10);
    let is_in_place = if is_control { is_final } else { (opcode == 0) == is_in_message };
    if !is_known || !is_in_place || bytes[0] & 0x70 != 0 {
        return Verdict::Violation(1002);
    }
    let Some(second) = bytes.get(1) else { return Verdict::Fine };
    let length = second & 0x7f;
    if second & 0x80 == 0 || (is_control && length > 125) {
        return Verdict::Violation(1002);
    }
    let (length_bytes, least) = match length {
        126 => (2, 126),
        127 => (8, 65_536),
        _ => return Verdict::Fine,
    };
    let Some(length) = bytes.get(2..2 + length_bytes) else { return Verdict::Fine };
    let length = length.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    if length < least || length >> 63 == 1 {
        return Verdict::Violation(1002);
    }
    let most = SIZES.max_message_bytes - if is_in_message { 5 } else { 0 };
    if length > u64::try_from(most).unwrap() { Verdict::Violation(1009) } else { Verdict::Fine }
}

async fn check(is_in_message: bool, header: &[u8]) {
    for shown in 1..=header.len() {
        let bytes = &header[..shown];
        let mut session = open(Discard, 1024);
        if is_in_message {
            session.peer.send(&frame(0x01, b"begun")).await;
        }
        // Byte by byte, so that each is judged before the next arrives.
        for byte in bytes {
            session.peer.send(&[*byte]).await;
            yield_now().await;
        }
        match verdict(bytes, is_in_message) {
            Verdict::Violation(code) => {
                let reason = if code == 1002 { "protocol_error" } else { "too_big" };
                session.peer.expect_close(code, reason).await;
                return;
            }
            Verdict::Fine => {
                // A session that is open closes because of the drain, and not of the header.
                session.drain.start(DrainOptions::default());
                session.peer.expect_close(1001, "drained").await;
            }
        }
    }
}

//= rfc6455#5.1-1 rfc6455#5.2-1 rfc6455#5.2-2 rfc6455#5.4-1 rfc6455#5.4-3 rfc6455#5.5-1 test
#[tokio::test(start_paused = true)]
async fn every_pair_of_first_bytes_is_judged_as_soon_as_it_is_there() {
    for is_in_message in [false, true] {
        for first in 0..=u8::MAX {
            for second in [0x00, 0x01, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0xfd, 0xfe, 0xff] {
                check(is_in_message, &[first, second]).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_length_is_judged_at_its_last_byte() {
    let max = u64::try_from(SIZES.max_message_bytes).unwrap();
    let shorts = [0, 1, 125, 126, 127, max - 6, max - 5, max - 4, max, max + 1, 65_535];
    let longs = [65_536, 65_537, 1 << 31, 1 << 32, 1 << 62, 1 << 63, 1 << 63 | 126, u64::MAX];
    for (first, is_in_message) in
        [(TEXT, false), (BINARY, false), (0x01, false), (0x00, true), (0x80, true)]
    {
        for length in shorts {
            let length = u16::try_from(length).unwrap().to_be_bytes();
            check(is_in_message, &[&[first, 0xfe], &length[..]].concat()).await;
        }
        for length in shorts.into_iter().chain(longs) {
            check(is_in_message, &[&[first, 0xff], &length.to_be_bytes()[..]].concat()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_announced_and_never_sent_is_refused_if_it_would_be() {
    for (what, header) in [
        ("a ping of 126 bytes", head(PING, 126)),
        ("a pong of 65,536 bytes", head(PONG, 65_536)),
        ("a Close frame of 126 bytes", head(CLOSE, 126)),
        ("RSV1", head(0xc1, 4)),
        ("RSV2 of a ping", head(0xa9, 4)),
        ("RSV3 of a Close frame", head(0x98, 2)),
    ] {
        for mask in [&b""[..], &[1, 2, 3, 4]] {
            let mut session = open(Discard, 1024);
            session.peer.send(&[&header, mask].concat()).await;
            let closing =
                timeout(Duration::from_secs(1), session.peer.expect_close(1002, "protocol_error"));
            assert!(closing.await.is_ok(), "{what}: no Close frame");
        }
    }
}

//= rfc6455#10.4-1 test
#[tokio::test(start_paused = true)]
async fn a_message_has_at_most_one_frame_for_64_bytes_of_the_limit_and_256_more() {
    let most = SIZES.max_message_bytes / 64 + 256;
    for payload in [&b""[..], b"x"] {
        let begin = [frame(0x02, payload), frame(0x00, payload).repeat(most - 2)].concat();
        let mut session = open(support::Echo::default(), 64 * 1024);
        // Twice, because the frames of one message do not count for the next.
        for _ in 0..2 {
            session.peer.send(&begin).await;
            session.peer.send(&frame(0x80, payload)).await;
            assert_eq!(session.peer.frame().await, (BINARY, payload.repeat(most)));
        }
        session.peer.send(&begin).await;
        session.peer.send(&frame(0x00, payload)).await;
        session.peer.send(&[0x80, 0x80, 0, 0, 0, 0]).await;
        session.peer.expect_close(1009, "too_big").await;
    }
}
