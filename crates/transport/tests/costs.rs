//! What a session costs: calls of its stream, allocations, memory. These figures repeat, so they are
//! asserted; times are the benchmark's.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use support::{BINARY, CLOSE, PING, SIZES, close, frame, rules};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::ws_core::{Cause, Closure, Limits};
use transport::{Drain, Session, Silent, Socket, run};

/// A stream in memory, and what was asked of it.
#[derive(Default)]
struct Wire {
    input: Vec<u8>,
    output: Vec<u8>,
    calls: Calls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Calls {
    /// Reads that gave something. The others are not calls of the system: tokio knows by itself that
    /// there is nothing more when a read has not filled its buffer.
    reads: usize,
    writes: usize,
    shutdowns: usize,
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.lock().unwrap();
        if wire.input.is_empty() {
            return Poll::Pending;
        }
        wire.calls.reads += 1;
        let count = wire.input.len().min(buffer.remaining());
        buffer.put_slice(&wire.input[..count]);
        wire.input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.lock().unwrap();
        wire.calls.writes += 1;
        wire.output.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().calls.shutdowns += 1;
        Poll::Ready(Ok(()))
    }
}

/// A session that is polled by hand.
struct Story {
    session: Session<Stream, Silent>,
    stream: Stream,
    _drain: Drain,
}

impl Story {
    fn new() -> Self {
        let (drain, _) = Drain::new();
        let stream = Stream::default();
        let socket = Socket::new(stream.clone(), SIZES);
        let session = run(socket, rules(Limits::default()), Silent, drain.watch());
        let mut story = Self { session, stream, _drain: drain };
        assert!(story.wake().is_pending());
        // The thread's buffers are there from the first frame on.
        story.hear(&frame(PING, b"warm up"));
        story
    }

    fn wake(&mut self) -> Poll<Closure> {
        Pin::new(&mut self.session).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Lets the session wake up to these bytes, and gives the length of the answer and the calls.
    fn hear(&mut self, bytes: &[u8]) -> (usize, Calls) {
        self.stream.0.lock().unwrap().input.extend(bytes);
        assert!(self.wake().is_pending());
        let wire = &mut *self.stream.0.lock().unwrap();
        let length = wire.output.len();
        wire.output.clear();
        (length, mem::take(&mut wire.calls))
    }
}

#[test]
fn whatever_comes_at_once_costs_one_read_and_its_answers_one_write() {
    let mut story = Story::new();
    let once = Calls { reads: 1, writes: 1, shutdowns: 0 };
    for pings in [1, 16, 100] {
        let (answer, calls) = story.hear(&frame(PING, b"ping").repeat(pings));
        assert_eq!((answer, calls), (pings * 6, once), "{pings} pings");
    }
    let (answer, calls) = story.hear(&frame(BINARY, b"message").repeat(100));
    assert_eq!((answer, calls), (0, Calls { writes: 0, ..once }));
}

#[test]
fn a_closing_handshake_costs_a_read_a_write_and_a_shutdown() {
    let mut story = Story::new();
    story.stream.0.lock().unwrap().input.extend(close(1000, ""));
    let Poll::Ready(closure) = story.wake() else { panic!("it has answered") };
    assert_eq!((closure.cause, closure.clean), (Cause::PeerClosed, true));
    let wire = story.stream.0.lock().unwrap();
    assert_eq!(wire.calls, Calls { reads: 1, writes: 1, shutdowns: 1 });
    assert_eq!(wire.output[0], CLOSE);
}

#[test]
fn pings_and_dropped_messages_allocate_nothing() {
    let mut story = Story::new();
    for first in [PING, BINARY] {
        for at_once in [1, 1000] {
            let frames = frame(first, b"payload").repeat(at_once);
            story.hear(&frames);
            let info = measure(|| {
                for _ in 0..100 {
                    story.hear(&frames);
                }
            });
            assert_eq!(info.count_total, 0, "of {first:#x}, {at_once} at once");
        }
    }
}

#[test]
fn an_idle_session_takes_290_bytes_beside_its_stream() {
    const COUNT: usize = 1000;
    let (drain, _keeper) = Drain::new();
    let rules = rules(Limits::default());
    Story::new();
    let mut sessions = Vec::with_capacity(COUNT);
    let stream = Stream::default();
    let info = measure(|| {
        for _ in 0..COUNT {
            let socket = Socket::new(stream.clone(), SIZES);
            let mut session = Box::new(run(socket, Arc::clone(&rules), Silent, drain.watch()));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut session).poll(&mut cx).is_pending());
            sessions.push(session);
        }
    });
    let each = info.bytes_current / i64::try_from(COUNT).unwrap();
    // The machine, the driver, and a line in the roster.
    assert!((270..=290).contains(&each), "{each} bytes; if it is less, well done: change this");
}
