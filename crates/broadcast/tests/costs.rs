//! What a state costs: writes, allocations. These figures repeat, so they are asserted; times are the
//! benchmark's.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use broadcast::Publisher;
use support::{SIZES, config};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::ws_core::Limits;
use transport::{Drain, WebSocket, run};

/// What was written to a stream.
#[derive(Default)]
struct Wire {
    output: Vec<u8>,
    writes: usize,
    /// Where the bytes were that were written last.
    written_from: usize,
}

/// A stream in memory, on which nothing comes.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.lock().unwrap();
        wire.writes += 1;
        wire.written_from = bytes.as_ptr().addr();
        wire.output.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_state_is_written_by_each_session_at_once_and_from_the_same_bytes() {
    const COUNT: usize = 100;
    let publisher = Publisher::new();
    let (drain, _keeper) = Drain::new();
    let open = |stream: &Stream| {
        let socket = WebSocket::new(stream.clone(), SIZES);
        run(socket, config(Limits::default()), publisher.subscribe(), drain.token())
    };
    let streams: [Stream; COUNT] = std::array::from_fn(|_| Stream::default());
    let mut sessions = streams.each_ref().map(open);
    let mut cx = Context::from_waker(Waker::noop());
    for round in ["a first state", "another one"] {
        publisher.publish(round);
        let info = measure(|| {
            for session in &mut sessions {
                assert!(Pin::new(session).poll(&mut cx).is_pending());
            }
        });
        let wires = streams.each_ref().map(|stream| {
            let wire = &mut *stream.0.lock().unwrap();
            assert!(wire.output.ends_with(round.as_bytes()));
            wire.output.clear();
            (mem::take(&mut wire.writes), wire.written_from)
        });
        assert_eq!(wires, [(1, wires[0].1); COUNT]);
        // In the first round there are the places of those who wait, and the buffers of the streams.
        if round == "another one" {
            assert_eq!(info.count_total, 2, "for the thread, whose sessions count who uses it");
        }
    }
}
