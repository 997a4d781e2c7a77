//! The handover of sessions to another process: they freeze here, and continue there.
//!
//! A session freezes in its own task, at the end of a poll that leaves nothing of it in this process: no
//! incomplete input, no unsent output. A frozen session does not access its stream, so it can be resumed
//! as if nothing had been, or end without a word once another process has it. This module does not know
//! how a session gets there: that is the task of a [`SessionSink`].

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ws_core::Snapshot;

use crate::catch_panic::catch_panic;
use crate::compression::Compression;
use crate::identity::Identity;
use crate::permit::Permit;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::timer::TimerInstant;

/// What continues a session in another process, beside its stream. [`Drain::freeze`](crate::Drain::freeze)
/// says where it comes from, and [`Endpoint::thaw`](crate::Endpoint::thaw) continues it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenSession {
    /// Its number, which it keeps.
    pub id: u64,
    /// The time since it opened. The time until it continues has to be added.
    pub age: Duration,
    /// Whose session it is.
    pub identity: Option<Identity>,
    /// How its messages are compressed.
    pub compression: Option<Compression>,
    /// Its state machine.
    pub snapshot: Snapshot,
    /// What its handler returned from [`Handler::freeze`](crate::Handler::freeze).
    pub handler: Bytes,
}

/// Takes sessions to another process. It is called in the tasks of the sessions, so it must not block.
///
/// A session whose offer panics is not taken.
pub trait SessionSink: Send + Sync + 'static {
    /// Takes a session that is at rest, and returns whether it did. If not, the session goes on, and is
    /// offered again at the end of a later poll.
    ///
    /// `stream` is the stream of the session, as it was given to the endpoint. `freeze` returns `None` if the
    /// session cannot be taken, because of its handler.
    fn offer(
        &self,
        stream: &dyn Any,
        permit: &Permit,
        freeze: &dyn Fn() -> Option<FrozenSession>,
    ) -> bool;

    /// Prepares the stream of a session that another process has now to be dropped here: that must not
    /// affect the connection.
    fn release(&self, stream: &mut dyn Any);
}

/// The sessions of a drain that are frozen.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Whether sessions are offered. It changes under the lock only.
    is_freezing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sink: Option<Arc<dyn SessionSink>>,
    frozen: HashMap<u64, Frozen>,
    /// Sessions that the other process has refused. They are not offered again.
    refused: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Frozen {
    since: TimerInstant,
    verdict: Option<Verdict>,
}

/// What happens to a frozen session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another process has it.
    HandedOver,
    /// It goes on here. It was frozen since this instant.
    Resumed(TimerInstant),
}

impl Handover {
    /// Begins to offer sessions to `sink`.
    pub(crate) fn freeze(&self, sink: Arc<dyn SessionSink>) {
        let previous = {
            let mut state = self.state.lock();
            self.is_freezing.store(true, Ordering::Release);
            state.sink.replace(sink)
        };
        drop(previous); // Without the lock: a drop may run any code.
    }

    /// Offers no more sessions. One that is being offered may still be taken.
    pub(crate) fn seal(&self) {
        let _state = self.state.lock();
        self.is_freezing.store(false, Ordering::Release);
    }

    /// Ends the sessions in `taken`, and resumes those in `refused`. Others stay as they are: one that is being
    /// offered at this moment may get into the next batch.
    pub(crate) fn commit(
        &self,
        taken: impl IntoIterator<Item = u64>,
        refused: impl IntoIterator<Item = u64>,
    ) {
        let mut state = self.state.lock();
        let State { frozen, refused: all_refused, .. } = &mut *state;
        for id in taken {
            if let Some(frozen) = frozen.get_mut(&id) {
                frozen.verdict = Some(Verdict::HandedOver);
            }
        }
        for id in refused {
            all_refused.insert(id);
            if let Some(frozen) = frozen.get_mut(&id) {
                frozen.verdict = Some(Verdict::Resumed(frozen.since));
            }
        }
    }

    /// Offers no more sessions, and resumes the frozen ones.
    pub(crate) fn resume(&self) {
        let mut state = self.state.lock();
        self.is_freezing.store(false, Ordering::Release);
        for frozen in state.frozen.values_mut() {
            frozen.verdict.get_or_insert(Verdict::Resumed(frozen.since));
        }
    }

    /// Returns whether sessions are offered. Each session asks at the end of each poll.
    pub(crate) fn is_freezing(&self) -> bool {
        self.is_freezing.load(Ordering::Acquire)
    }

    /// Offers a session to the sink, and returns whether it is frozen now.
    ///
    /// It is entered before: once the sink has it, a verdict must find it. The lock is not held while the sink
    /// and the handler run.
    pub(crate) fn try_freeze(
        &self,
        id: u64,
        now: TimerInstant,
        offer: impl FnOnce(&dyn SessionSink) -> bool,
    ) -> bool {
        let sink = {
            let mut state = self.state.lock();
            if !self.is_freezing() || state.refused.contains(&id) {
                return false;
            }
            let Some(sink) = state.sink.clone() else { return false };
            state.frozen.insert(id, Frozen { since: now, verdict: None });
            sink
        };
        let is_frozen = catch_panic(|| offer(&*sink)).unwrap_or(false);
        if !is_frozen {
            self.state.lock().frozen.remove(&id);
        }
        is_frozen
    }

    /// Returns what happens to a frozen session, once; `None` if that is not decided.
    pub(crate) fn take_verdict(&self, id: u64) -> Option<Verdict> {
        let mut state = self.state.lock();
        let verdict = state.frozen.get(&id)?.verdict?;
        state.frozen.remove(&id);
        Some(verdict)
    }

    /// Prepares the stream of a session that was handed over to be dropped.
    pub(crate) fn release(&self, stream: &mut dyn Any) {
        let sink = self.state.lock().sink.clone();
        if let Some(sink) = sink {
            let _ = catch_panic(|| sink.release(stream));
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frozen, refused, .. } = self;
        f.debug_struct("State").field("frozen", frozen).field("refused", refused).finish()
    }
}
