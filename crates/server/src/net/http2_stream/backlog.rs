//! Backpressure of an HTTP/2 connection: tells its sessions that output is blocked.
//!
//! h2 copies small frames into a buffer of 16 KiB, and TLS holds a record. So a stream accepts output
//! while the socket accepts none. A session that continued to write would queue messages there that get
//! outdated.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Whether a connection is blocked, and the sessions that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    is_blocked: AtomicBool,
    wakers: Mutex<BTreeMap<u64, Waker>>,
    next_key: AtomicU64,
}

impl Backlog {
    /// Returns a new key, by which a session waits.
    pub(crate) fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection's socket accepts no output.
    pub(crate) fn begin(&self) {
        self.is_blocked.store(true, Ordering::SeqCst);
    }

    /// The connection's output is flushed, or the connection has ended. Wakes the waiting sessions.
    pub(crate) fn end(&self) {
        if self.is_blocked.swap(false, Ordering::SeqCst) {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            wakers.into_values().for_each(Waker::wake);
        }
    }

    /// Waits until the connection is not blocked.
    pub(crate) fn poll_end(&self, key: u64, cx: &Context<'_>) -> Poll<()> {
        if !self.is_blocked.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.wakers.lock().insert(key, cx.waker().clone());
        // The backlog may have ended before the waker was registered: check again.
        if self.is_blocked.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Removes the waker of a session that has ended. A waker keeps the memory of its task, and the
    /// client decides how long a backlog lasts.
    pub(crate) fn unregister(&self, key: u64) {
        let waker = self.wakers.lock().remove(&key);
        drop(waker); // Without the lock: it may drop a task.
    }
}
