//! Scheduling: peers that always send do not starve other tasks, and a drain notifies all sessions
//! first.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use support::{CLOSE, PING, SIZES, close, config, frame, in_time, spawned_drain};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use transport::ws_core::Limits;
use transport::{Discard, DrainOptions, WebSocket, run};

/// A stream whose peer sends pings as fast as they are read, and reads everything.
struct EndlessPings {
    pings: Vec<u8>,
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for EndlessPings {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // As many whole frames as fit.
        let count = buffer.remaining().min(self.pings.len()) / 6 * 6;
        buffer.put_slice(&self.pings[..count]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EndlessPings {
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
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn peers_that_always_send_do_not_starve_other_tasks() {
    let drain = spawned_drain();
    let reads = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let pings = frame(PING, b"").repeat(4096);
        let socket = WebSocket::new(EndlessPings { pings, reads: Arc::clone(&reads) }, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
    }
    let (mut near, mut far) = UnixStream::pair().unwrap();
    for _ in 0..100 {
        let before = reads.load(Ordering::Relaxed);
        near.write_u8(1).await.unwrap();
        // Only the I/O driver wakes this read.
        far.read_u8().await.unwrap();
        let others = reads.load(Ordering::Relaxed) - before;
        assert!(others <= 3 * 4, "{others} reads of the three sessions came first");
    }
}

/// The events on all streams, in order.
#[derive(Default)]
struct EventLog(Mutex<Vec<StreamEvent>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum StreamEvent {
    CloseSent,
    AnswerRead,
}

/// A stream whose peer answers a Close frame just after the session's next read is pending.
struct AnswersClose {
    log: Arc<EventLog>,
    peer: Peer,
}

enum Peer {
    Idle,
    CloseReceived,
    Answered,
}

impl AsyncRead for AnswersClose {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.peer {
            Peer::Idle => Poll::Pending,
            Peer::CloseReceived => {
                self.peer = Peer::Answered;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Peer::Answered => {
                self.peer = Peer::Idle;
                buffer.put_slice(&close(1001, ""));
                self.log.0.lock().unwrap().push(StreamEvent::AnswerRead);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for AnswersClose {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert_eq!(bytes[0], CLOSE);
        self.peer = Peer::CloseReceived;
        self.log.0.lock().unwrap().push(StreamEvent::CloseSent);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_close_frame_of_a_drain_is_sent_before_the_first_answer_is_read() {
    const SESSIONS: usize = 2000;
    let drain = spawned_drain();
    let log = Arc::new(EventLog::default());
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let stream = AnswersClose { log: Arc::clone(&log), peer: Peer::Idle };
        let socket = WebSocket::new(stream, SIZES);
        sessions.spawn(run(socket, config(Limits::default()), Discard, drain.token()));
    }
    tokio::task::yield_now().await;
    drain.start(DrainOptions::default());
    while let Some(record) = in_time(sessions.join_next()).await {
        assert!(record.unwrap().clean);
    }
    let log = log.0.lock().unwrap();
    assert_eq!(log.len(), 2 * SESSIONS);
    assert!(log[..SESSIONS].iter().all(|it| *it == StreamEvent::CloseSent));
}
