//! The costs of a state that are the same in each run: writes and allocations. The benchmark measures
//! times.
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

/// The output of a stream.
#[derive(Default)]
struct Wire {
    output: Vec<u8>,
    writes: usize,
    /// The address of the buffer of the last write.
    buffer_address: usize,
}

/// A stream in memory that never has input.
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
        wire.buffer_address = bytes.as_ptr().addr();
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
fn each_session_writes_a_state_in_one_call_and_from_the_same_bytes() {
    const COUNT: usize = 100;
    let publisher = Publisher::new();
    let (drain, _timers) = Drain::new();
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
            (mem::take(&mut wire.writes), wire.buffer_address)
        });
        assert_eq!(wires, [(1, wires[0].1); COUNT]);
        // The first round also allocates the registrations of the wakers and the buffers of the streams.
        if round == "another one" {
            assert_eq!(info.count_total, 2, "for the reference count of this thread");
        }
    }
}
