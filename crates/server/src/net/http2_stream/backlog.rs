//! Whether the output of an HTTP/2 connection is stuck, which its sessions do not see by themselves.
//!
//! h2 copies small frames into a buffer of 16 KiB and TLS holds a record, so a stream takes output that
//! goes nowhere yet. A session that went on then would leave its next states there to get old.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// What a connection and its sessions share of it.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    is_stuck: AtomicBool,
    waiting: Mutex<BTreeMap<u64, Waker>>,
    next_key: AtomicU64,
}

impl Backlog {
    /// A key by which one session waits.
    pub(crate) fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection refuses output.
    pub(crate) fn begin(&self) {
        self.is_stuck.store(true, Ordering::SeqCst);
    }

    /// All that the connection was given has gone out, or nothing will any more.
    pub(crate) fn end(&self) {
        if self.is_stuck.swap(false, Ordering::SeqCst) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_values().for_each(Waker::wake);
        }
    }

    /// Waits until the connection is not stuck.
    pub(crate) fn poll_end(&self, key: u64, cx: &Context<'_>) -> Poll<()> {
        if !self.is_stuck.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.waiting.lock().insert(key, cx.waker().clone());
        // It may have ended before this one was among those that are woken.
        if self.is_stuck.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// The session with this key does not wait any more. Its waker keeps the memory of its task, and a
    /// backlog may last for as long as the client likes.
    pub(crate) fn leave(&self, key: u64) {
        let waker = self.waiting.lock().remove(&key);
        drop(waker); // Only now, without the lock.
    }
}
