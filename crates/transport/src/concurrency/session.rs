//! The sessions of the models: the task of an endpoint, over a stream whose peer answers a Close frame.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread::{self, JoinHandle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ws_core::{Cause, CloseStatus, Limits, SessionConfig, Timing};

use super::executor::{Signal, block_on};
use crate::catch_panic::CatchPanic;
use crate::drain::DrainToken;
use crate::events::{EndpointEvent, Observer};
use crate::handler::Discard;
use crate::handover::{FrozenSession, SessionSink};
use crate::identity::Identity;
use crate::permit::Permit;
use crate::session::{Session, SessionTask, SizeLimits, WebSocket};
use crate::sync::Mutex;

/// What the models check about a session.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    ends: Vec<End>,
    code: Option<CloseStatus>,
    is_successors: bool,
    was_used_by_both: bool,
}

/// How a session ended in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed(Cause),
    HandedOver,
    Panicked,
}

impl Log {
    /// Returns how the session has ended.
    pub(super) fn ends(&self) -> Vec<End> {
        let entries = self.0.lock();
        assert!(!entries.was_used_by_both, "two processes have used the stream");
        entries.ends.clone()
    }

    /// Returns the code with which the session was closed.
    pub(super) fn code(&self) -> Option<CloseStatus> {
        self.0.lock().code
    }

    /// From now on this process must not use the stream.
    pub(super) fn give_to_successor(&self) {
        self.0.lock().is_successors = true;
    }

    fn use_stream(&self) {
        let mut entries = self.0.lock();
        entries.was_used_by_both |= entries.is_successors;
    }
}

impl Observer for Log {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let end = match event {
            EndpointEvent::Closed { record, .. } => {
                self.0.lock().code = Some(record.code);
                End::Closed(record.cause)
            }
            EndpointEvent::HandedOver { .. } => End::HandedOver,
            EndpointEvent::Panicked { .. } => End::Panicked,
            EndpointEvent::Opened { .. }
            | EndpointEvent::Refused { .. }
            | EndpointEvent::TakenOver { .. }
            | EndpointEvent::Traffic { .. } => return,
        };
        self.0.lock().ends.push(end);
    }
}

/// A stream on which nothing arrives until something was written. Then it ends, if the peer answers.
struct Stream {
    log: Arc<Log>,
    answers: bool,
    was_written: bool,
    reader: Waker,
}

/// A session before its first poll.
pub(super) struct NewSession {
    session: Session<Stream, Discard>,
    log: Arc<Log>,
}

impl NewSession {
    pub(super) fn new(token: DrainToken, log: &Arc<Log>) -> Self {
        Self::with_peer(token, log, true)
    }

    /// Like [`new`](Self::new), with a peer that never ends the stream.
    pub(super) fn with_silent_peer(token: DrainToken, log: &Arc<Log>) -> Self {
        Self::with_peer(token, log, false)
    }

    fn with_peer(token: DrainToken, log: &Arc<Log>, answers: bool) -> Self {
        let reader = Waker::noop().clone();
        let stream = Stream { log: Arc::clone(log), answers, was_written: false, reader };
        let sizes = SizeLimits { max_message_bytes: 99, max_queued_bytes: 99 };
        let timing = Timing {
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(3),
            max_age: None,
            reconnect_spread: Duration::ZERO,
        };
        let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
        let socket = WebSocket::new(stream, sizes);
        let session = Session::new(socket, config, CatchPanic::new(Discard), token, None);
        Self { session, log: Arc::clone(log) }
    }

    /// Runs it in a thread of its own.
    pub(super) fn spawn(self) -> JoinHandle<()> {
        thread::spawn(|| self.run())
    }

    /// Like [`spawn`](Self::spawn), but first enters it in the registry. Its admission began after `calls`
    /// calls of `disconnect`.
    pub(super) fn spawn_with_identity(self, identity: Identity, calls: u64) -> JoinHandle<()> {
        thread::spawn(move || {
            let sessions = self.session.token().sessions();
            sessions.insert(self.session.id(), identity, calls);
            self.run();
        })
    }

    fn run(self) {
        let Self { session, log } = self;
        block_on(SessionTask::observed(session, log, Permit::new(())));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.log.use_stream();
        if self.answers && self.was_written {
            return Poll::Ready(Ok(()));
        }
        self.reader = cx.waker().clone();
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.log.use_stream();
        self.was_written = true;
        self.reader.wake_by_ref();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Takes every session that is offered.
#[derive(Debug, Default)]
pub(super) struct Sink {
    taken: Mutex<Vec<u64>>,
    /// Set for each session.
    offered: Signal,
}

impl Sink {
    /// Returns the sessions that were taken since the last call.
    pub(super) fn drain(&self) -> Vec<u64> {
        self.taken.lock().split_off(0)
    }

    /// Waits until a session is taken, and returns it.
    pub(super) fn wait(&self) -> Vec<u64> {
        self.offered.wait();
        self.drain()
    }
}

impl SessionSink for Sink {
    fn offer(&self, _: &dyn Any, _: &Permit, freeze: &dyn Fn() -> Option<FrozenSession>) -> bool {
        let Some(frozen) = freeze() else { return false };
        self.taken.lock().push(frozen.id);
        self.offered.set();
        true
    }

    fn release(&self, _: &mut dyn Any) {}
}
