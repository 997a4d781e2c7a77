//! A session over an in-memory pipe, and a peer that sends raw bytes.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::ws_core::{CloseRecord, Limits, SessionConfig, Timing};
use transport::{Discard, Drain, Handler, Message, Next, SizeLimits, WebSocket, run};

pub(crate) mod buffered;
pub(crate) mod conformance;
mod frames;
pub(crate) mod latest_message;

pub(crate) use frames::*;

pub(crate) const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    pong_timeout: Duration::from_secs(10),
    close_timeout: Duration::from_secs(3),
    max_age: None,
    reconnect_spread: Duration::ZERO,
};

pub(crate) const SIZES: SizeLimits =
    SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 };

/// A session configuration with these limits.
pub(crate) fn config(limits: Limits) -> Arc<SessionConfig> {
    Arc::new(SessionConfig { timing: TIMING, limits })
}

/// A drain whose timer service runs in a task.
pub(crate) fn spawned_drain() -> Drain {
    let (drain, timers) = Drain::new();
    tokio::spawn(timers);
    drain
}

/// A session, its drain and its peer.
pub(crate) struct TestSession {
    pub(crate) peer: Peer,
    pub(crate) drain: Drain,
    pub(crate) session: JoinHandle<CloseRecord>,
}

/// Opens a session over a pipe that holds `pipe_bytes` in each direction.
pub(crate) fn open(handler: impl Handler, pipe_bytes: usize) -> TestSession {
    open_with(Limits::default(), handler, pipe_bytes)
}

/// Opens a session with limits.
pub(crate) fn open_with(limits: Limits, handler: impl Handler, pipe_bytes: usize) -> TestSession {
    open_over(|stream| stream, limits, handler, pipe_bytes)
}

/// Opens a session over the stream that `wrap` makes of its end of the pipe.
pub(crate) fn open_over<S>(
    wrap: impl FnOnce(DuplexStream) -> S,
    limits: Limits,
    handler: impl Handler,
    pipe_bytes: usize,
) -> TestSession
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (near, far) = duplex(pipe_bytes);
    let drain = spawned_drain();
    let socket = WebSocket::new(wrap(near), SIZES);
    let session = tokio::spawn(run(socket, config(limits), handler, drain.token()));
    TestSession { peer: Peer(far), drain, session }
}

impl TestSession {
    /// Waits for the end of the session and returns its close record. The peer reads nothing meanwhile.
    pub(crate) async fn end(self) -> CloseRecord {
        let Self { peer, drain, session } = self;
        let record = in_time(session).await.expect("a session never panics");
        drop((peer, drain));
        record
    }
}

/// Waits at most an hour. With the clock paused, an hour passes at once when all tasks are idle.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), future).await.expect("it completes within an hour")
}

/// The client's end of the pipe.
pub(crate) struct Peer(pub(crate) DuplexStream);

impl Peer {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        in_time(self.0.write_all(bytes)).await.expect("the session reads");
    }

    /// Reads exactly `count` bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        in_time(self.0.read_exact(&mut bytes)).await.expect("there is more");
        bytes
    }

    /// Reads a frame: its first byte and its payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2).await;
        let length = match head[1] {
            126 => self.bytes(2).await,
            127 => self.bytes(8).await,
            short => vec![short],
        };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        (head[0], self.bytes(length).await)
    }

    /// Expects a Close frame with this code and reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16, reason: &str) -> impl Future<Output = ()> {
        let expected = close_payload(code, reason);
        async move { assert_eq!(self.frame().await, (CLOSE, expected)) }
    }

    /// Expects the end of the stream, with no bytes before it.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        in_time(self.0.read_to_end(&mut rest)).await.expect("the stream ends");
        assert_eq!(rest, b"", "no bytes before the end of the stream");
    }
}

/// Echoes each message.
#[derive(Default)]
pub(crate) struct Echo(VecDeque<Message>);

impl Handler for Echo {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.pop_front().map_or(Poll::Pending, |message| Poll::Ready(Next::Send(message)))
    }

    fn receive(&mut self, message: Message) {
        self.0.push_back(message);
    }
}

/// Always has a message to send. Counts its polls.
#[derive(Clone, Default)]
pub(crate) struct FloodingHandler(pub(crate) Arc<AtomicUsize>);

impl Handler for FloodingHandler {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Next::Send(Message::Text("chatter".into())))
    }

    fn receive(&mut self, _: Message) {}
}

/// Opens a session that discards messages, over a pipe of 64 KiB.
pub(crate) fn open_discarding() -> TestSession {
    open(Discard, 64 * 1024)
}
