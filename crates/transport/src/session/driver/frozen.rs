//! A session that is frozen, and one that continues.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{Lifecycle, SessionConfig};

use super::Session;
use crate::catch_panic::{CatchPanic, catch_panic};
use crate::drain::{DrainToken, Phase};
use crate::handler::Handler;
use crate::handover::{FrozenSession, Verdict};
use crate::session::websocket::WebSocket;
use crate::timer::{TimerHandle, TimerInstant};

impl<S, H> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    /// Returns what continues this session in another process, unless something of it is in this one: input
    /// or output, a close that was requested, or a handler that has to stay.
    pub(crate) fn freeze(&self, now: TimerInstant) -> Option<FrozenSession> {
        let sessions = self.token().sessions();
        if sessions.has_request(self.id()) {
            return None; // It would be lost with the entry of this process.
        }
        let compression = self.socket.at_rest().filter(|_| !self.is_blocked)?;
        let snapshot = self.lifecycle.snapshot()?;
        let handler = self.handler.get()?;
        let handler = catch_panic(|| handler.freeze()).ok()??;
        Some(FrozenSession {
            id: self.id(),
            age: now.since(self.opened),
            identity: sessions.identity(self.id()),
            compression,
            snapshot,
            handler,
        })
    }

    /// Returns whether another process may have this session. It is not polled then.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    pub(crate) fn set_frozen(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Returns what happens to this session, which is frozen. The task is woken when that is decided.
    pub(crate) fn poll_verdict(&self) -> Poll<Verdict> {
        match self.token().handover().take_verdict(self.id()) {
            Some(verdict) => Poll::Ready(verdict),
            None => Poll::Pending,
        }
    }

    pub(crate) fn now(&self) -> TimerInstant {
        self.timer.now()
    }

    /// Prepares the stream to be dropped while another process has the connection.
    pub(crate) fn release_stream(&mut self)
    where
        S: 'static,
    {
        self.timer.owner().handover().release(self.socket.stream_mut());
    }

    pub(crate) fn stream(&self) -> &S {
        self.socket.stream()
    }

    /// Continues a session that was frozen for the time `pause`. `socket` is a new one, over the same
    /// connection.
    pub(crate) fn thaw(
        frozen: &FrozenSession,
        pause: Duration,
        socket: WebSocket<S>,
        config: Arc<SessionConfig>,
        handler: CatchPanic<H>,
        token: DrainToken,
    ) -> Self {
        let (mut timer, now) = TimerHandle::with_id(token, frozen.id);
        timer.count_stall(pause);
        Self {
            socket: socket.with_compression(frozen.compression),
            lifecycle: Lifecycle::restore(config, &frozen.snapshot),
            handler,
            phase: Phase::Serving,
            is_blocked: false,
            is_frozen: false,
            stream_end: None,
            opened: now - frozen.age - pause,
            timer,
        }
    }

    /// Goes on here. The time since this session was frozen counts as a stall: what has arrived meanwhile
    /// counts against the rates as if it had been read when it came.
    pub(crate) fn resume(&mut self, frozen_since: TimerInstant) {
        let pause = self.timer.now().since(frozen_since);
        self.timer.count_stall(pause);
        self.is_frozen = false;
    }
}
