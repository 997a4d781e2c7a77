//! Stories of peers that break the rules: each is told so, and really gets to read it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::task::{Context, Poll};
use std::time::Duration;

use support::{BINARY, CLOSE, PING, TEXT, frame, head, open, silent};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use transport::ws_core::{Cause, Initiator};
use transport::{Discard, DrainOptions, Handler, Message, Next};

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_big_is_refused_from_its_head_alone() {
    for length in [4097, 65_536, 1 << 31, 1 << 62] {
        let mut story = silent();
        story.peer.send(&[head(TEXT, length), vec![1, 2, 3, 4]].concat()).await;
        story.peer.expect_close(1009, "too_big").await;
        story.peer.expect_end().await;
        story.peer.0.shutdown().await.unwrap();
        assert_eq!(story.end().await.cause, Cause::TooBig);
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_that_add_up_to_too_much_are_refused() {
    let mut story = silent();
    story.peer.send(&frame(0x01, &[b'a'; 4000])).await;
    story.peer.send(&frame(0x00, &[b'a'; 96])).await;
    story.peer.send(&frame(0x80, b"a")).await;
    story.peer.expect_close(1009, "too_big").await;
}

#[tokio::test(start_paused = true)]
async fn each_violation_is_told_with_its_code() {
    let unmasked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    };
    let long_ping = [head(PING, 126), vec![0; 4 + 126]].concat();
    let cases: [(&str, Vec<u8>, u16, Cause); 17] = [
        ("unmasked text", unmasked(TEXT, b"hi"), 1002, Cause::ProtocolError),
        ("unmasked ping", unmasked(PING, b""), 1002, Cause::ProtocolError),
        ("RSV1", frame(0xc1, b"hi"), 1002, Cause::ProtocolError),
        ("RSV2", frame(0xa1, b"hi"), 1002, Cause::ProtocolError),
        ("RSV3", frame(0x91, b"hi"), 1002, Cause::ProtocolError),
        ("opcode 3", frame(0x83, b"hi"), 1002, Cause::ProtocolError),
        ("opcode 11", frame(0x8b, b"hi"), 1002, Cause::ProtocolError),
        ("a fragmented ping", frame(0x09, b""), 1002, Cause::ProtocolError),
        ("a ping of 126 bytes", long_ping, 1002, Cause::ProtocolError),
        ("a continuation of nothing", frame(0x80, b"hi"), 1002, Cause::ProtocolError),
        (
            "a text within a text",
            [frame(0x01, b"a"), frame(TEXT, b"b")].concat(),
            1002,
            Cause::ProtocolError,
        ),
        ("a close of one byte", frame(CLOSE, b"x"), 1002, Cause::ProtocolError),
        ("a close that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007, Cause::InvalidUtf8),
        ("a text that is not UTF-8", frame(TEXT, b"\xc3\x28"), 1007, Cause::InvalidUtf8),
        ("a text with a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007, Cause::InvalidUtf8),
        (
            "a text that ends in mid-character",
            [frame(0x01, b"a"), frame(0x80, b"\xe2\x82")].concat(),
            1007,
            Cause::InvalidUtf8,
        ),
        ("a text that is too long", frame(TEXT, &[b'a'; 5000]), 1009, Cause::TooBig),
    ];
    for (what, bytes, code, cause) in cases {
        let mut story = silent();
        story.peer.send(&bytes).await;
        let told = timeout(Duration::from_secs(1), story.peer.expect_close(code, cause.as_str()));
        assert!(told.await.is_ok(), "{what}: nothing was said");
        story.peer.expect_end().await;
        story.peer.0.shutdown().await.unwrap();
        let record = story.end().await;
        assert_eq!((record.cause, u16::from(record.code)), (cause, code), "{what}");
        assert_eq!(record.initiator, Initiator::Local, "{what}");
        assert!(!record.clean, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_violation_what_still_comes_is_read_away_until_the_peer_hangs_up() {
    let mut story = open(Discard, 1024);
    story.peer.send(&frame(0x83, b"")).await;
    story.peer.send(&vec![0; 1 << 20]).await;
    story.peer.expect_close(1002, "protocol_error").await;
    story.peer.expect_end().await;
    let start = Instant::now();
    story.peer.0.shutdown().await.unwrap();
    let record = story.end().await;
    assert_eq!(record.cause, Cause::ProtocolError);
    assert_eq!(start.elapsed(), Duration::ZERO, "the end of the stream is all it waits for");
}

#[tokio::test(start_paused = true)]
async fn a_violator_whose_close_is_stuck_is_read_until_it_gets_it() {
    /// Answers each message with more than the pipe holds.
    #[derive(Default)]
    struct Verbose(bool);
    impl Handler for Verbose {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            match std::mem::take(&mut self.0) {
                true => Poll::Ready(Next::Send(Message::Binary(vec![0; 4000].into()))),
                false => Poll::Pending,
            }
        }
        fn receive(&mut self, _: Message) {
            self.0 = true;
        }
    }
    let mut story = open(Verbose::default(), 1024);
    story.peer.send(&[frame(TEXT, b"?"), frame(0x83, b"")].concat()).await;
    // It reads nothing before it has sent all this, which the pipe cannot hold.
    story.peer.send(&vec![0; 1 << 20]).await;
    assert_eq!(story.peer.frame().await, (BINARY, vec![0; 4000]));
    story.peer.expect_close(1002, "protocol_error").await;
}

#[tokio::test(start_paused = true)]
async fn a_violator_that_never_hangs_up_is_let_go_after_the_close_timeout() {
    let mut story = silent();
    let start = Instant::now();
    story.peer.send(&frame(0x83, b"")).await;
    let record = story.end().await;
    assert_eq!(record.cause, Cause::ProtocolError);
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_violation_during_our_close_ends_the_session() {
    let mut story = silent();
    story.drain.start(DrainOptions::default());
    story.peer.expect_close(1001, "drained").await;
    story.peer.send(&frame(0x83, b"")).await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
}
