//! How a stream ended is told beside the closure record, which says why the session did.
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

use support::newest::Newest;
use support::{SIZES, close, config, in_time, kept_drain};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use transport::ws_core::{Cause, CloseRecord, Limits};
use transport::{StreamEnd, WebSocket, run};

/// What a broken stream says; the other direction waits for ever.
#[derive(Clone, Copy)]
enum Broken {
    Reading(fn() -> io::Result<()>),
    Writing(fn() -> io::Result<usize>),
}

impl AsyncRead for Broken {
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

impl AsyncWrite for Broken {
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

/// Runs a session that has something to say, to its end.
async fn ended(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (CloseRecord, Option<StreamEnd>) {
    let drain = kept_drain();
    let newest = Newest::default();
    newest.publish("a state");
    let socket = WebSocket::new(stream, SIZES);
    let mut session = run(socket, config(Limits::default()), newest, drain.token());
    let record = in_time(poll_fn(|cx| Future::poll(Pin::new(&mut session), cx))).await;
    (record, session.stream_end())
}

fn broken<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

#[tokio::test(start_paused = true)]
async fn each_way_in_which_a_stream_breaks_has_its_word_and_the_cause_is_the_same() {
    use Broken::{Reading, Writing};
    use StreamEnd::{Eof, ReadFailed, Reset, TimedOut, WriteFailed};
    use io::ErrorKind;
    for (stream, end) in [
        (Reading(|| Ok(())), Eof),
        (Reading(|| broken(ErrorKind::UnexpectedEof)), Eof),
        (Reading(|| broken(ErrorKind::ConnectionReset)), Reset),
        (Reading(|| broken(ErrorKind::TimedOut)), TimedOut),
        (Reading(|| broken(ErrorKind::HostUnreachable)), TimedOut),
        (Reading(|| broken(ErrorKind::InvalidData)), ReadFailed),
        (Reading(|| broken(ErrorKind::Other)), ReadFailed),
        (Writing(|| broken(ErrorKind::ConnectionReset)), Reset),
        (Writing(|| broken(ErrorKind::TimedOut)), TimedOut),
        (Writing(|| broken(ErrorKind::BrokenPipe)), WriteFailed),
        (Writing(|| Ok(0)), WriteFailed),
        (Writing(|| broken(ErrorKind::Other)), WriteFailed),
    ] {
        let (record, told) = ended(stream).await;
        assert_eq!((record.cause, told), (Cause::Disconnected, Some(end)));
    }
    let words: Vec<&str> = StreamEnd::ALL.iter().map(|end| end.as_str()).collect();
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lets_go_of_its_stream_itself_tells_no_end_of_it() {
    // The closing handshake, and a peer that is silent.
    let (near, mut far) = duplex(4096);
    far.write_all(&close(1000, "")).await.unwrap();
    let (record, end) = ended(near).await;
    assert_eq!((record.cause, record.clean, end), (Cause::PeerClosed, true, None));

    let (near, _far) = duplex(4096);
    let (record, end) = ended(near).await;
    assert_eq!((record.cause, end), (Cause::PongTimeout, None));
}
