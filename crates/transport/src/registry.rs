//! The registry of the sessions that have an identity, through which they can be ended from outside.
//!
//! A session without an identity is not in it, and costs nothing here: a session learns of a request by
//! one load of a counter, which is zero unless requests are waiting.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;
use ws_core::CloseFrame;

use crate::identity::Identity;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The open sessions that have an identity. Clones are the same registry.
///
/// A [`Drain`](crate::Drain) has one; its sessions are entered when they open. No two drains may have the
/// same: sessions are told apart by their ids, which are unique in a drain.
///
/// ```
/// use transport::ws_core::{CloseCode, CloseFrame};
/// use transport::{Drain, SessionRegistry};
///
/// let sessions = SessionRegistry::default();
/// let (drain, timer_task) = Drain::with_sessions(sessions.clone());
/// // Later, when a user logs out:
/// let frame = CloseFrame { code: CloseCode::UNAUTHORIZED, reason: "logout".into() };
/// assert_eq!(sessions.disconnect("user-7", &frame), 0, "no session of this user is open");
/// # drop((drain, timer_task));
/// ```
#[derive(Clone, Debug, Default)]
pub struct SessionRegistry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The number of requests that no session has taken yet. It changes under the lock only.
    pending: AtomicUsize,
    /// The number of sessions. It changes under the lock only.
    len: AtomicUsize,
    /// The number of calls of `disconnect`. It changes under the lock only.
    calls: AtomicU64,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<u64, Entry>,
    by_identity: BTreeSet<(Identity, u64)>,
    /// The close that was requested of a session, by its id. Each is also in `by_id`.
    requests: HashMap<u64, CloseFrame>,
    /// The latest calls of `disconnect`, the oldest first.
    recent: VecDeque<Call>,
}

/// A call of `disconnect`, for sessions that were being admitted when it was made.
#[derive(Debug)]
struct Call {
    number: u64,
    at: Instant,
    identity: Identity,
    frame: CloseFrame,
}

/// How long a call is remembered: longer than any server lets a handshake take.
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Entry {
    identity: Identity,
    /// Wakes the task of the session, from its first poll on.
    waker: Waker,
}

impl SessionRegistry {
    /// Asks all sessions of an identity to close with this frame, and returns how many they are.
    ///
    /// Each sends the frame at its next poll, which follows at once, with the cause
    /// [`DisconnectRequested`](ws_core::Cause::DisconnectRequested); one that is closing already does not.
    /// A session whose admission has begun and that is not open yet will be closed the same way when it
    /// opens, unless that takes more than a minute; it is not counted. A handshake that begins later is not
    /// affected, so revoke the permission first.
    ///
    /// A session that is frozen for another process at this moment is counted, and closes if it goes on here. If
    /// that process continues it, the request is lost: ask that one as well.
    pub fn disconnect(&self, identity: &str, frame: &CloseFrame) -> usize {
        let wakers: Vec<Waker> = {
            let mut sessions = self.0.sessions.lock();
            let Sessions { by_id, by_identity, requests, recent } = &mut *sessions;
            let Ok(first) = Identity::try_from(identity) else { return 0 };
            let (at, number) = (Instant::now(), self.calls() + 1);
            while recent.front().is_some_and(|call| at - call.at > REMEMBERED) {
                recent.pop_front();
            }
            recent.push_back(Call { number, at, identity: first.clone(), frame: frame.clone() });
            self.0.calls.store(number, Ordering::Release);
            let ids = by_identity.range((first, 0)..).take_while(|(it, _)| it.as_str() == identity);
            let wakers = ids.filter_map(|(_, id)| {
                requests.insert(*id, frame.clone());
                by_id.get(id).map(|entry| entry.waker.clone())
            });
            let wakers = wakers.collect();
            self.0.pending.store(requests.len(), Ordering::Release);
            wakers
        };
        let count = wakers.len();
        // Without the lock: a waker may run any code.
        wakers.into_iter().for_each(Waker::wake);
        count
    }

    /// Returns the number of open sessions that have an identity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    /// Returns whether no open session has an identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of calls of `disconnect` so far.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Acquire)
    }

    /// Enters a session that opens. There were `calls` when its admission began; a later one for its identity
    /// is a request to this session.
    pub(crate) fn insert(&self, id: u64, identity: Identity, calls: u64) {
        let mut sessions = self.0.sessions.lock();
        let missed = sessions.recent.iter().rev().take_while(|call| call.number > calls);
        let missed =
            missed.map(|call| (&call.identity, &call.frame)).find(|(it, _)| **it == identity);
        if let Some(frame) = missed.map(|(_, frame)| frame.clone()) {
            sessions.requests.insert(id, frame);
            self.0.pending.store(sessions.requests.len(), Ordering::Release);
        }
        sessions.by_identity.insert((identity.clone(), id));
        sessions.by_id.insert(id, Entry { identity, waker: Waker::noop().clone() });
        self.0.len.store(sessions.by_id.len(), Ordering::Relaxed);
    }

    /// Sets the waker of a session, before its first poll looks for a request.
    pub(crate) fn set_waker(&self, id: u64, waker: &Waker) {
        if self.is_empty() {
            return;
        }
        if let Some(entry) = self.0.sessions.lock().by_id.get_mut(&id) {
            entry.waker = waker.clone();
        }
    }

    /// Returns the identity of a session.
    pub(crate) fn identity(&self, id: u64) -> Option<Identity> {
        if self.is_empty() {
            return None;
        }
        self.0.sessions.lock().by_id.get(&id).map(|entry| entry.identity.clone())
    }

    /// Removes a session that has ended, and returns its identity.
    pub(crate) fn remove(&self, id: u64) -> Option<Identity> {
        // The session itself was entered before, so a zero means that it has no entry.
        if self.is_empty() {
            return None;
        }
        let Entry { identity, waker } = {
            let mut sessions = self.0.sessions.lock();
            let entry = sessions.by_id.remove(&id)?;
            sessions.by_identity.remove(&(entry.identity.clone(), id));
            sessions.requests.remove(&id);
            self.0.len.store(sessions.by_id.len(), Ordering::Relaxed);
            self.0.pending.store(sessions.requests.len(), Ordering::Release);
            entry
        };
        // Without the lock: it may drop a task.
        drop(waker);
        Some(identity)
    }

    /// Returns whether a close was requested of a session that it has not taken yet.
    pub(crate) fn has_request(&self, id: u64) -> bool {
        self.0.pending.load(Ordering::Acquire) > 0
            && self.0.sessions.lock().requests.contains_key(&id)
    }

    /// Returns the close that was requested of a session, once.
    pub(crate) fn take_request(&self, id: u64) -> Option<CloseFrame> {
        // A request that this load misses wakes the session after it was stored.
        if self.0.pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut sessions = self.0.sessions.lock();
        let frame = sessions.requests.remove(&id);
        self.0.pending.store(sessions.requests.len(), Ordering::Release);
        frame
    }
}
