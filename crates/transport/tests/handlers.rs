//! Stories of handlers: what they may do, and what becomes of a panic.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use support::newest::Newest;
use support::{BINARY, SIZES, TEXT, close, config, frame, open, open_over};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::sleep;
use transport::ws_core::{Cause, CloseCode, Initiator, Limits};
use transport::{Discard, Drain, Handler, Message, Next, WebSocket, run};

#[tokio::test(start_paused = true)]
async fn a_handler_may_answer_and_may_close() {
    struct Once;
    impl Handler for Once {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            let code = CloseCode::try_from(4000).unwrap();
            Poll::Ready(Next::Close(code, "that was all".into()))
        }
        fn receive(&mut self, _: Message) {}
    }
    let mut story = open(Once, 1024);
    story.peer.expect_close(4000, "that was all").await;
    story.peer.send(&close(4000, "")).await;
    let record = story.end().await;
    assert_eq!(record.cause, Cause::HandlerClosed);
    assert_eq!(u16::from(record.code), 4000);
    assert!(record.clean);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_handler_is_asked_again_when_it_says_so() {
    struct Later(Option<tokio::sync::oneshot::Receiver<()>>);
    impl Handler for Later {
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
            let Some(receiver) = &mut self.0 else { return Poll::Pending };
            std::task::ready!(std::pin::Pin::new(receiver).poll(cx)).unwrap();
            self.0 = None;
            Poll::Ready(Next::Send(Message::Binary(vec![1, 2, 3].into())))
        }
        fn receive(&mut self, _: Message) {}
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut story = open(Later(Some(receiver)), 1024);
    sleep(Duration::from_secs(1)).await;
    sender.send(()).unwrap();
    assert_eq!(story.peer.frame().await, (BINARY, vec![1, 2, 3]));
}

/// Panics at the first message, and in its drop if that is wanted.
struct Fragile {
    in_drop: bool,
}

impl Handler for Fragile {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        panic!("as it was told to");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.in_drop || std::thread::panicking(), "again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_session_with_1011_and_a_record() {
    let mut story = open(Fragile { in_drop: false }, 1024);
    story.peer.send(&frame(TEXT, b"panic")).await;
    story.peer.expect_close(1011, "panicked").await;
    story.peer.send(&close(1011, "")).await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
    assert_eq!(record.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_second_panic_takes_neither_the_record_away_nor_the_handshake() {
    let mut story = open(Fragile { in_drop: true }, 1024);
    story.peer.send(&frame(TEXT, b"panic")).await;
    story.peer.expect_close(1011, "panicked").await;
    story.peer.send(&close(1011, "")).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
}

#[tokio::test(start_paused = true)]
async fn what_lies_behind_the_message_of_a_panic_is_still_read() {
    let behind = frame(BINARY, &[0; 200]);
    for cut in 0..=behind.len() {
        let (begun, rest) = behind.split_at(cut);
        let mut story = open(Fragile { in_drop: false }, 1024);
        story.peer.send(&[&frame(TEXT, b"panic"), begun].concat()).await;
        story.peer.expect_close(1011, "panicked").await;
        story.peer.send(&[rest, &close(1011, "")].concat()).await;
        story.peer.expect_end().await;
        let record = story.end().await;
        assert_eq!((record.cause, record.clean), (Cause::Panicked, true), "cut at {cut}");
    }
}

/// Panics when it is asked after its first message.
#[derive(Default)]
struct Speechless(bool);

impl Handler for Speechless {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        assert!(!self.0, "it has no answer");
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        self.0 = true;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_panics_leaves_the_close_frame_behind_the_message_to_be_read() {
    let mut story = open(Speechless::default(), 1024);
    story.peer.send(&[frame(TEXT, b"?"), close(1000, "")].concat()).await;
    story.peer.expect_close(1011, "panicked").await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
    assert_eq!(record.initiator, Initiator::Local);
}

/// A stream whose first write panics.
struct FirstWriteFails(DuplexStream, bool);

impl AsyncRead for FirstWriteFails {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FirstWriteFails {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(mem::replace(&mut self.1, true), "the stream has a bug");
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_of_the_stream_what_comes_is_read_away_and_not_decoded() {
    let newest = Newest::default();
    newest.publish("it is flushed before the next message is decoded");
    let wrap = |stream| FirstWriteFails(stream, false);
    let mut story = open_over(wrap, Limits::default(), newest, 1024);
    let behind = frame(BINARY, &[0xff; 200]);
    let (begun, rest) = behind.split_at(100);
    story.peer.send(&[&frame(TEXT, b"?"), begun].concat()).await;
    assert_eq!(story.peer.frame().await.0, TEXT);
    story.peer.expect_close(1011, "panicked").await;
    // The stream ends, and what still comes holds up nobody and is no violation.
    story.peer.expect_end().await;
    story.peer.send(rest).await;
    sleep(Duration::from_secs(1)).await;
    story.peer.send(&close(1011, "")).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, false));
}

/// A stream on which nothing comes, and that panics where it should end.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("it has no end");
    }
}

#[tokio::test]
async fn a_panic_of_the_stream_at_the_end_does_not_take_the_record_away() {
    let (drain, _) = Drain::new();
    let socket = WebSocket::new(Endless, SIZES);
    let session = run(socket, config(Limits::default()), Discard, drain.token());
    drain.abort();
    let record = session.await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
}
