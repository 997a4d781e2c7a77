//! The stream end, which a session reports besides the cause in its close record.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use support::latest_message::LatestMessage;
use support::{SIZES, close, config, in_time, spawned_drain};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use transport::ws_core::{Cause, CloseRecord, Limits};
use transport::{StreamEnd, WebSocket, run};

/// A stream that fails in one direction and is pending in the other.
#[derive(Clone, Copy)]
enum FailingStream {
    Reading(fn() -> io::Result<()>),
    Writing(fn() -> io::Result<usize>),
}

impl AsyncRead for FailingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match *self {
            Self::Reading(result) => Poll::Ready(result()),
            Self::Writing(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for FailingStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match *self {
            Self::Reading(_) => Poll::Ready(Ok(bytes.len())),
            Self::Writing(result) => Poll::Ready(result()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a session with a message to send, to its end.
async fn run_to_end(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (CloseRecord, Option<StreamEnd>) {
    let drain = spawned_drain();
    let latest = LatestMessage::default();
    latest.publish("a message");
    let socket = WebSocket::new(stream, SIZES);
    let mut session = run(socket, config(Limits::default()), latest, drain.token());
    let record = in_time(poll_fn(|cx| Future::poll(Pin::new(&mut session), cx))).await;
    (record, session.stream_end())
}

fn failure<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

#[tokio::test(start_paused = true)]
async fn each_stream_error_has_its_word_and_the_cause_is_disconnected() {
    use FailingStream::{Reading, Writing};
    use StreamEnd::{Eof, ReadFailed, Reset, TimedOut, WriteFailed};
    use io::ErrorKind;
    for (stream, end) in [
        (Reading(|| Ok(())), Eof),
        (Reading(|| failure(ErrorKind::UnexpectedEof)), Eof),
        (Reading(|| failure(ErrorKind::ConnectionReset)), Reset),
        (Reading(|| failure(ErrorKind::TimedOut)), TimedOut),
        (Reading(|| failure(ErrorKind::HostUnreachable)), TimedOut),
        (Reading(|| failure(ErrorKind::InvalidData)), ReadFailed),
        (Reading(|| failure(ErrorKind::Other)), ReadFailed),
        (Writing(|| failure(ErrorKind::ConnectionReset)), Reset),
        (Writing(|| failure(ErrorKind::TimedOut)), TimedOut),
        (Writing(|| failure(ErrorKind::BrokenPipe)), WriteFailed),
        (Writing(|| Ok(0)), WriteFailed),
        (Writing(|| failure(ErrorKind::Other)), WriteFailed),
    ] {
        let (record, stream_end) = run_to_end(stream).await;
        assert_eq!((record.cause, stream_end), (Cause::Disconnected, Some(end)));
    }
    let words: Vec<&str> = StreamEnd::ALL.iter().map(|end| end.as_str()).collect();
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_its_stream_itself_has_no_stream_end() {
    // After a closing handshake, and after a pong timeout.
    let (near, mut far) = duplex(4096);
    far.write_all(&close(1000, "")).await.unwrap();
    let (record, end) = run_to_end(near).await;
    assert_eq!((record.cause, record.clean, end), (Cause::PeerClosed, true, None));

    let (near, _far) = duplex(4096);
    let (record, end) = run_to_end(near).await;
    assert_eq!((record.cause, end), (Cause::PongTimeout, None));
}
