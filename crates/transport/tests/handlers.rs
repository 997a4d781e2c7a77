//! Handlers: sending, closing, and panics of the handler or the stream.
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

use support::latest_message::LatestMessage;
use support::{BINARY, SIZES, TEXT, close, config, frame, open, open_over};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::sleep;
use transport::ws_core::{Cause, CloseCode, Initiator, Limits};
use transport::{Discard, Drain, Handler, Message, Next, WebSocket, run};

#[tokio::test(start_paused = true)]
async fn a_handler_may_answer_and_may_close() {
    struct Closes;
    impl Handler for Closes {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            let code = CloseCode::try_from(4000).unwrap();
            Poll::Ready(Next::Close(code, "that was all".into()))
        }
        fn receive(&mut self, _: Message) {}
    }
    let mut session = open(Closes, 1024);
    session.peer.expect_close(4000, "that was all").await;
    session.peer.send(&close(4000, "")).await;
    let record = session.end().await;
    assert_eq!(record.cause, Cause::HandlerClosed);
    assert_eq!(u16::from(record.code), 4000);
    assert!(record.clean);
}

#[tokio::test(start_paused = true)]
async fn a_pending_handler_is_polled_again_when_it_wakes_its_waker() {
    struct SendsLater(Option<tokio::sync::oneshot::Receiver<()>>);
    impl Handler for SendsLater {
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
            let Some(receiver) = &mut self.0 else { return Poll::Pending };
            std::task::ready!(std::pin::Pin::new(receiver).poll(cx)).unwrap();
            self.0 = None;
            Poll::Ready(Next::Send(Message::Binary(vec![1, 2, 3].into())))
        }
        fn receive(&mut self, _: Message) {}
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut session = open(SendsLater(Some(receiver)), 1024);
    sleep(Duration::from_secs(1)).await;
    sender.send(()).unwrap();
    assert_eq!(session.peer.frame().await, (BINARY, vec![1, 2, 3]));
}

/// A handler that panics at the first message and, if `in_drop` is set, when it is dropped.
struct PanicsInReceive {
    in_drop: bool,
}

impl Handler for PanicsInReceive {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        panic!("the handler panics");
    }
}

impl Drop for PanicsInReceive {
    fn drop(&mut self) {
        assert!(!self.in_drop || std::thread::panicking(), "the drop panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_session_with_1011_and_a_record() {
    let mut session = open(PanicsInReceive { in_drop: false }, 1024);
    session.peer.send(&frame(TEXT, b"panic")).await;
    session.peer.expect_close(1011, "panicked").await;
    session.peer.send(&close(1011, "")).await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
    assert_eq!(record.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_second_panic_loses_neither_the_close_record_nor_the_handshake() {
    let mut session = open(PanicsInReceive { in_drop: true }, 1024);
    session.peer.send(&frame(TEXT, b"panic")).await;
    session.peer.expect_close(1011, "panicked").await;
    session.peer.send(&close(1011, "")).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
}

#[tokio::test(start_paused = true)]
async fn input_behind_the_message_that_panicked_is_still_read() {
    let behind = frame(BINARY, &[0; 200]);
    for cut in 0..=behind.len() {
        let (begun, rest) = behind.split_at(cut);
        let mut session = open(PanicsInReceive { in_drop: false }, 1024);
        session.peer.send(&[&frame(TEXT, b"panic"), begun].concat()).await;
        session.peer.expect_close(1011, "panicked").await;
        session.peer.send(&[rest, &close(1011, "")].concat()).await;
        session.peer.expect_end().await;
        let record = session.end().await;
        assert_eq!((record.cause, record.clean), (Cause::Panicked, true), "cut at {cut}");
    }
}

/// A handler that panics when it is polled after its first message.
#[derive(Default)]
struct PanicsInPoll(bool);

impl Handler for PanicsInPoll {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        assert!(!self.0, "the poll panics");
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        self.0 = true;
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_behind_a_message_whose_answer_panics_is_still_read() {
    let mut session = open(PanicsInPoll::default(), 1024);
    session.peer.send(&[frame(TEXT, b"?"), close(1000, "")].concat()).await;
    session.peer.expect_close(1011, "panicked").await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, true));
    assert_eq!(record.initiator, Initiator::Local);
}

/// A stream whose first write panics.
struct FirstWritePanics(DuplexStream, bool);

impl AsyncRead for FirstWritePanics {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FirstWritePanics {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(mem::replace(&mut self.1, true), "the write panics");
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
async fn input_after_a_panic_of_the_stream_is_discarded_undecoded() {
    let latest = LatestMessage::default();
    latest.publish("it is flushed before the next message is decoded");
    let wrap = |stream| FirstWritePanics(stream, false);
    let mut session = open_over(wrap, Limits::default(), latest, 1024);
    let behind = frame(BINARY, &[0xff; 200]);
    let (begun, rest) = behind.split_at(100);
    session.peer.send(&[&frame(TEXT, b"?"), begun].concat()).await;
    assert_eq!(session.peer.frame().await.0, TEXT);
    session.peer.expect_close(1011, "panicked").await;
    // The output ends. Further input is discarded and is not a violation.
    session.peer.expect_end().await;
    session.peer.send(rest).await;
    sleep(Duration::from_secs(1)).await;
    session.peer.send(&close(1011, "")).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Panicked, false));
}

/// A stream without input whose shutdown panics.
struct ShutdownPanics;

impl AsyncRead for ShutdownPanics {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for ShutdownPanics {
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
        panic!("the shutdown panics");
    }
}

#[tokio::test]
async fn a_panic_in_the_shutdown_of_the_stream_does_not_lose_the_close_record() {
    let (drain, _) = Drain::new();
    let socket = WebSocket::new(ShutdownPanics, SIZES);
    let session = run(socket, config(Limits::default()), Discard, drain.token());
    drain.abort();
    let record = session.await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
}
