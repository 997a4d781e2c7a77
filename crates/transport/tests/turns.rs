//! Who has a turn when: a peer that always has something to say, and a drain of many sessions.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use support::{CLOSE, PING, SIZES, close, config, frame, in_time, kept_drain};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use transport::ws_core::Limits;
use transport::{Discard, DrainOptions, WebSocket, run};

/// A stream whose peer sends pings as fast as they are read, and takes everything.
struct Endless {
    pings: Vec<u8>,
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Whole frames, as many as there is room for.
        let count = buffer.remaining().min(self.pings.len()) / 6 * 6;
        buffer.put_slice(&self.pings[..count]);
        Poll::Ready(Ok(()))
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
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn peers_that_always_have_something_to_say_leave_everybody_else_a_turn() {
    let drain = kept_drain();
    let reads = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let pings = frame(PING, b"").repeat(4096);
        let socket = WebSocket::new(Endless { pings, reads: Arc::clone(&reads) }, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
    }
    let (mut near, mut far) = UnixStream::pair().unwrap();
    for _ in 0..100 {
        let before = reads.load(Ordering::Relaxed);
        near.write_u8(1).await.unwrap();
        // It takes the network to wake this up.
        far.read_u8().await.unwrap();
        let others = reads.load(Ordering::Relaxed) - before;
        assert!(others <= 3 * 4, "{others} reads of three others came first");
    }
}

/// What happened on all streams, in order.
#[derive(Default)]
struct Order(Mutex<Vec<Happened>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Happened {
    CloseSent,
    AnswerRead,
}

/// A stream whose peer answers a Close frame while the session looks for the answer in vain.
struct Prompt {
    order: Arc<Order>,
    peer: Peer,
}

enum Peer {
    Discard,
    Told,
    Answered,
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.peer {
            Peer::Discard => Poll::Pending,
            Peer::Told => {
                self.peer = Peer::Answered;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Peer::Answered => {
                self.peer = Peer::Discard;
                buffer.put_slice(&close(1001, ""));
                self.order.0.lock().unwrap().push(Happened::AnswerRead);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert_eq!(bytes[0], CLOSE);
        self.peer = Peer::Told;
        self.order.0.lock().unwrap().push(Happened::CloseSent);
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
async fn the_last_close_frame_of_a_drain_goes_out_before_the_first_answer_is_read() {
    const SESSIONS: usize = 2000;
    let drain = kept_drain();
    let order = Arc::new(Order::default());
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let stream = Prompt { order: Arc::clone(&order), peer: Peer::Discard };
        let socket = WebSocket::new(stream, SIZES);
        sessions.spawn(run(socket, config(Limits::default()), Discard, drain.token()));
    }
    tokio::task::yield_now().await;
    drain.start(DrainOptions::default());
    while let Some(record) = in_time(sessions.join_next()).await {
        assert!(record.unwrap().clean);
    }
    let order = order.0.lock().unwrap();
    assert_eq!(order.len(), 2 * SESSIONS);
    assert!(order[..SESSIONS].iter().all(|it| *it == Happened::CloseSent));
}
