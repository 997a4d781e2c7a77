//! Collects the sessions that freeze, until their records and descriptors are sent.

use std::any::Any;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{FrozenSession, Permit, SessionSink};

use super::record::SessionRecord;
use crate::limits::ConnectionPermits;
use crate::net::stream::Stream;
use crate::telemetry::Telemetry;

/// The sessions that are sent in one message.
pub(super) const CHUNK: usize = 128;

/// Sessions that are collected and not sent: each has a second descriptor in this process, and there may be
/// few left. More go on for a moment.
const MAX_UNSENT: usize = 2 * CHUNK;

/// Collects sessions while a batch is open.
#[derive(Debug)]
pub(super) struct Collector {
    telemetry: Arc<Telemetry>,
    /// The paths of the routes.
    paths: Vec<String>,
    state: Mutex<State>,
    collected: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// Sessions that are being frozen, are collected, or are being sent.
    unsent: usize,
    sessions: Vec<Collected>,
    /// The number of sessions that were collected so far.
    total: usize,
}

/// A session that is frozen.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) id: u64,
    pub(super) record: Vec<u8>,
    pub(super) descriptor: OwnedFd,
}

impl Collector {
    pub(super) fn new(telemetry: Arc<Telemetry>, paths: Vec<String>) -> Self {
        Self { telemetry, paths, state: Mutex::default(), collected: Notify::new() }
    }

    /// Collects sessions from now on.
    pub(super) fn open(&self) {
        self.state.lock().is_open = true;
    }

    /// Collects no more: each session goes on that is offered from now on.
    pub(super) fn close(&self) {
        self.state.lock().is_open = false;
    }

    /// Returns the number of sessions that were collected so far.
    pub(super) fn total(&self) -> usize {
        self.state.lock().total
    }

    /// Waits until at least `count` sessions are collected. Cancel safe.
    pub(super) async fn collected(&self, count: usize) {
        while self.state.lock().sessions.len() < count {
            self.collected.notified().await;
        }
    }

    /// Takes the collected sessions, at most a [`CHUNK`]. [`sent`](Self::sent) has to follow.
    pub(super) fn take(&self) -> Vec<Collected> {
        let sessions = &mut self.state.lock().sessions;
        let rest = sessions.split_off(sessions.len().min(CHUNK));
        mem::replace(sessions, rest)
    }

    /// Drops sessions that were sent, with their descriptors.
    pub(super) fn sent(&self, sessions: Vec<Collected>) {
        let count = sessions.len();
        drop(sessions);
        self.state.lock().unsent -= count;
    }

    /// Drops the sessions that were not sent: they go on.
    pub(super) fn discard(&self) {
        let sessions = mem::take(&mut self.state.lock().sessions);
        self.sent(sessions);
    }

    fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let has_room = state.is_open && state.unsent < MAX_UNSENT;
        state.unsent += usize::from(has_room);
        has_room
    }

    /// Returns whether the session is collected.
    fn end(&self, session: Option<Collected>) -> bool {
        let mut state = self.state.lock();
        // The batch may have been closed meanwhile.
        let session = session.filter(|_| state.is_open);
        let is_collected = session.is_some();
        if is_collected {
            state.sessions.extend(session);
            state.total += 1;
            self.collected.notify_one();
        } else {
            state.unsent -= 1;
        }
        is_collected
    }

    fn collect(
        &self,
        stream: &Stream,
        permit: &Permit,
        freeze: &dyn Fn() -> Option<FrozenSession>,
    ) -> Option<Collected> {
        let mut frozen = freeze()?;
        let (route, handler) = frozen.handler.split_first()?;
        let path = self.paths.get(usize::from(*route))?.clone();
        frozen.handler = frozen.handler.slice_ref(handler);
        let row = self.telemetry.table.as_ref().and_then(|table| table.row(frozen.id));
        let address = ConnectionPermits::address_of(permit);
        let id = frozen.id;
        let record = SessionRecord::new(frozen, path, address, row).encode();
        Some(Collected { id, record, descriptor: stream.duplicate_descriptor()? })
    }
}

impl SessionSink for Collector {
    fn offer(
        &self,
        stream: &dyn Any,
        permit: &Permit,
        freeze: &dyn Fn() -> Option<FrozenSession>,
    ) -> bool {
        let Some(stream) = stream.downcast_ref::<Stream>().filter(|it| it.can_be_handed_over())
        else {
            return false;
        };
        self.begin() && self.end(self.collect(stream, permit, freeze))
    }

    fn release(&self, stream: &mut dyn Any) {
        if let Some(stream) = stream.downcast_mut::<Stream>() {
            stream.disown();
        }
    }
}
