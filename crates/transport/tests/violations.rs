//! Protocol violations: the peer receives a Close frame with the code, even while it goes on sending.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::task::{Context, Poll};
use std::time::Duration;

use support::{BINARY, CLOSE, PING, TEXT, frame, head, open, open_discarding};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use transport::ws_core::{Cause, Initiator};
use transport::{Discard, DrainOptions, Handler, Message, Next};

//= rfc6455#10.4-1 rfc6455#10.4-2 test
#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_big_is_closed_from_its_frame_header_alone() {
    for length in [4097, 65_536, 1 << 31, 1 << 62] {
        let mut session = open_discarding();
        session.peer.send(&[head(TEXT, length), vec![1, 2, 3, 4]].concat()).await;
        session.peer.expect_close(1009, "too_big").await;
        session.peer.expect_end().await;
        session.peer.0.shutdown().await.unwrap();
        assert_eq!(session.end().await.cause, Cause::TooBig);
    }
}

//= rfc6455#10.4-2 test
#[tokio::test(start_paused = true)]
async fn fragments_that_exceed_the_limit_together_are_closed_with_1009() {
    let mut session = open_discarding();
    session.peer.send(&frame(0x01, &[b'a'; 4000])).await;
    session.peer.send(&frame(0x00, &[b'a'; 96])).await;
    session.peer.send(&frame(0x80, b"a")).await;
    session.peer.expect_close(1009, "too_big").await;
}

//= rfc6455#7.1.7-1 rfc6455#7.1.7-3 rfc6455#10.7-2 test
#[tokio::test(start_paused = true)]
async fn each_violation_is_closed_with_its_code() {
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
        ("a continuation without a message", frame(0x80, b"hi"), 1002, Cause::ProtocolError),
        (
            "a text within a text",
            [frame(0x01, b"a"), frame(TEXT, b"b")].concat(),
            1002,
            Cause::ProtocolError,
        ),
        ("a Close frame of one byte", frame(CLOSE, b"x"), 1002, Cause::ProtocolError),
        (
            "a Close frame that is not UTF-8",
            frame(CLOSE, b"\x03\xe8\xff"),
            1007,
            Cause::InvalidUtf8,
        ),
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
        let mut session = open_discarding();
        session.peer.send(&bytes).await;
        let closing =
            timeout(Duration::from_secs(1), session.peer.expect_close(code, cause.as_str()));
        assert!(closing.await.is_ok(), "{what}: no Close frame");
        session.peer.expect_end().await;
        session.peer.0.shutdown().await.unwrap();
        let record = session.end().await;
        assert_eq!((record.cause, u16::from(record.code)), (cause, code), "{what}");
        assert_eq!(record.initiator, Initiator::Local, "{what}");
        assert!(!record.clean, "{what}");
    }
}

//= rfc6455#7.1.1-1 test
#[tokio::test(start_paused = true)]
async fn input_after_a_violation_is_discarded_until_the_peer_shuts_down() {
    let mut session = open(Discard, 1024);
    session.peer.send(&frame(0x83, b"")).await;
    session.peer.send(&vec![0; 1 << 20]).await;
    session.peer.expect_close(1002, "protocol_error").await;
    session.peer.expect_end().await;
    let start = Instant::now();
    session.peer.0.shutdown().await.unwrap();
    let record = session.end().await;
    assert_eq!(record.cause, Cause::ProtocolError);
    assert_eq!(start.elapsed(), Duration::ZERO, "the session waits for the end of the stream only");
}

#[tokio::test(start_paused = true)]
async fn input_is_discarded_while_the_close_frame_of_a_violation_is_blocked() {
    /// Answers each message with more than the pipe holds.
    #[derive(Default)]
    struct LargeAnswers(bool);
    impl Handler for LargeAnswers {
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
    let mut session = open(LargeAnswers::default(), 1024);
    session.peer.send(&[frame(TEXT, b"?"), frame(0x83, b"")].concat()).await;
    // The peer sends more than the pipe holds before it reads.
    session.peer.send(&vec![0; 1 << 20]).await;
    assert_eq!(session.peer.frame().await, (BINARY, vec![0; 4000]));
    session.peer.expect_close(1002, "protocol_error").await;
}

#[tokio::test(start_paused = true)]
async fn a_violator_that_never_shuts_down_is_disconnected_after_the_close_timeout() {
    let mut session = open_discarding();
    let start = Instant::now();
    session.peer.send(&frame(0x83, b"")).await;
    let record = session.end().await;
    assert_eq!(record.cause, Cause::ProtocolError);
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_violation_during_the_closing_handshake_ends_the_session() {
    let mut session = open_discarding();
    session.drain.start(DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
    session.peer.send(&frame(0x83, b"")).await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
}
