//! The number of sessions, readable at any time for the drain and the admin listener.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the sessions that began and ended.
///
/// All operations are sequentially consistent, so that a snapshot never counts an end without its begin.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    opened: AtomicU64,
    clean: AtomicU64,
    unclean: AtomicU64,
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
}

impl SessionCounters {
    pub(crate) fn record_opened(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn record_closed(&self, is_clean: bool) {
        let ended = if is_clean { &self.clean } else { &self.unclean };
        ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn snapshot(&self) -> SessionCounts {
        // `opened` is read last: a session that is counted as ended is then also counted as opened.
        let clean = self.clean.load(Ordering::SeqCst);
        let unclean = self.unclean.load(Ordering::SeqCst);
        SessionCounts { opened: self.opened.load(Ordering::SeqCst), clean, unclean }
    }
}

impl SessionCounts {
    /// Returns the number of sessions that began and have not ended.
    pub(crate) fn open(self) -> u64 {
        self.opened.saturating_sub(self.clean).saturating_sub(self.unclean)
    }
}
