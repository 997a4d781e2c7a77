//! The number of sessions, readable at any time for the drain and the admin listener.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the sessions that began and ended, and those that other processes began or end.
///
/// All operations are sequentially consistent, so that a snapshot never counts an end without its begin.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    opened: AtomicU64,
    clean: AtomicU64,
    unclean: AtomicU64,
    taken_over: AtomicU64,
    handed_over: AtomicU64,
}

/// The values of [`SessionCounters`] at one point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// Sessions that began.
    pub(crate) opened: u64,
    /// Sessions that completed the closing handshake.
    pub(crate) clean: u64,
    /// Sessions that ended without a complete closing handshake.
    pub(crate) unclean: u64,
    /// Sessions that the process before this one began.
    pub(crate) taken_over: u64,
    /// Sessions that the process after this one continues.
    pub(crate) handed_over: u64,
}

impl SessionCounters {
    pub(crate) fn record_opened(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn record_closed(&self, is_clean: bool) {
        let ended = if is_clean { &self.clean } else { &self.unclean };
        ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn record_taken_over(&self) {
        self.taken_over.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn record_handed_over(&self) {
        self.handed_over.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn snapshot(&self) -> SessionCounts {
        // The beginnings are read last: a session that is counted as ended is then also counted as begun.
        let clean = self.clean.load(Ordering::SeqCst);
        let unclean = self.unclean.load(Ordering::SeqCst);
        let handed_over = self.handed_over.load(Ordering::SeqCst);
        let taken_over = self.taken_over.load(Ordering::SeqCst);
        let opened = self.opened.load(Ordering::SeqCst);
        SessionCounts { opened, clean, unclean, taken_over, handed_over }
    }
}

impl SessionCounts {
    /// Returns the number of sessions that this process has.
    pub(crate) fn open(self) -> u64 {
        let begun = self.opened + self.taken_over;
        begun.saturating_sub(self.clean + self.unclean + self.handed_over)
    }
}
