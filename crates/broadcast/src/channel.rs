//! The newest state of a publisher or of a topic.

use std::array;
use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use transport::PreparedMessage;

use crate::wakers::Wakers;

/// The newest state, and the sessions that wait for a newer one.
///
/// A channel keeps one state alive. Those that it replaced live only in the output of sessions, except for
/// the payload of the one before, which the newest is compressed with
/// ([`PreparedMessage::following`]).
///
/// With more than 64 sessions, delivering a state writes to no memory that threads share: a session
/// loads the revision, and takes the state from the copy of its thread. A thread locks `newest` once for
/// each state. With fewer sessions the copies would take more memory than they save time.
///
/// `newest` is the innermost lock of this crate: it is taken while a copy or a map of topics is locked, not
/// vice versa. A prepared message locks its link for a moment within.
#[derive(Debug)]
pub(crate) struct Channel<V> {
    /// The number of states published, which is the revision of the newest one.
    revision: AtomicU64,
    newest: Mutex<Option<State<V>>>,
    copies: OnceLock<Box<[ThreadCopy<V>; COPIES]>>,
    pub(crate) wakers: Wakers,
}

#[derive(Clone, Debug)]
pub(crate) struct State<V> {
    pub(crate) revision: u64,
    pub(crate) message: PreparedMessage,
    pub(crate) value: V,
}

/// A state whose message has a reference count of its own, for one thread or a few. Copies are in
/// different cache lines, so their locks are not contended for unless there are more threads than copies.
#[derive(Debug)]
#[repr(align(64))]
struct ThreadCopy<V>(Mutex<Option<State<V>>>);

const COPIES: usize = 16;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The copy that this thread uses in each channel.
    static COPY: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % COPIES;
}

impl<V> Channel<V> {
    pub(crate) fn new() -> Self {
        Self {
            revision: AtomicU64::new(0),
            newest: Mutex::new(None),
            copies: OnceLock::new(),
            wakers: Wakers::new(),
        }
    }

    /// Makes this the newest state, and returns the one that it replaces, to be dropped without a lock.
    /// [`notify`](Self::notify) has to follow.
    #[must_use]
    pub(crate) fn store(&self, message: PreparedMessage, value: V) -> Option<State<V>> {
        let mut newest = self.newest.lock();
        let message = match &*newest {
            Some(state) => message.following(&state.message),
            None => message,
        };
        let revision = self.revision.load(Ordering::Relaxed) + 1;
        let replaced = newest.replace(State { revision, message, value });
        self.revision.store(revision, Ordering::Release);
        replaced
    }

    /// Makes the newest state newer than it is, and returns whether there is one.
    /// [`notify`](Self::notify) has to follow.
    #[must_use]
    pub(crate) fn renew(&self) -> bool {
        let mut newest = self.newest.lock();
        let Some(state) = &mut *newest else { return false };
        state.revision = self.revision.load(Ordering::Relaxed) + 1;
        self.revision.store(state.revision, Ordering::Release);
        true
    }

    /// Drops the copies of the state that was replaced, and wakes all sessions.
    pub(crate) fn notify(&self) {
        self.drop_copies();
        self.wakers.wake_all();
    }

    /// Removes the state and returns it, to be dropped without a lock.
    /// [`drop_copies`](Self::drop_copies) has to follow.
    #[must_use]
    pub(crate) fn take(&self) -> Option<State<V>> {
        self.newest.lock().take()
    }

    pub(crate) fn drop_copies(&self) {
        for copy in self.copies.get().into_iter().flat_map(|copies| copies.iter()) {
            let stale = copy.0.lock().take();
            drop(stale); // Without the lock: the drop of a value may run any code.
        }
    }

    pub(crate) fn has_state(&self) -> bool {
        self.newest.lock().is_some()
    }
}

impl<V: Clone> Channel<V> {
    /// Returns the newest state if there is one and its revision is greater than `seen`.
    pub(crate) fn newer_than(&self, seen: u64) -> Option<State<V>> {
        let revision = self.revision.load(Ordering::Acquire);
        if revision == seen {
            return None;
        }
        if !self.wakers.is_sharded() {
            return self.newest.lock().clone();
        }
        let copies =
            self.copies.get_or_init(|| Box::new(array::from_fn(|_| ThreadCopy(Mutex::new(None)))));
        let copy = &copies.get(COPY.with(|index| *index)).expect("the index is less than COPIES").0;
        let mut copy = copy.lock();
        let mut stale = None;
        if copy.as_ref().is_none_or(|state| state.revision < revision) {
            // `notify` drops the copies after `store`, so a copy of a replaced state does not stay.
            let newest = self.newest.lock().as_ref().map(State::with_own_refcount);
            stale = mem::replace(&mut *copy, newest);
        }
        let state = copy.clone();
        drop(copy);
        drop(stale); // Without the lock, as in `drop_copies`.
        state
    }
}

impl<V: Clone> State<V> {
    fn with_own_refcount(&self) -> Self {
        Self {
            revision: self.revision,
            message: self.message.with_own_refcount(),
            value: self.value.clone(),
        }
    }
}
