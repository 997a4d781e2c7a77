//! Counts of settings reloads. They belong to the process, which has one configuration.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The results of reloads so far.
#[derive(Debug)]
pub(crate) struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    /// Whether the latest one was refused.
    is_refused: AtomicBool,
}

/// The reloads of this process.
pub(crate) static RELOADS: Reloads = Reloads {
    applied: AtomicU64::new(0),
    refused: AtomicU64::new(0),
    is_refused: AtomicBool::new(false),
};

impl Reloads {
    /// Counts a reload.
    pub(crate) fn count(&self, is_applied: bool) {
        let count = if is_applied { &self.applied } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        self.is_refused.store(!is_applied, Ordering::Relaxed);
    }

    /// Returns the counts by result.
    pub(crate) fn by_result(&self) -> [(&'static str, u64); 2] {
        [("applied", &self.applied), ("refused", &self.refused)]
            .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }

    /// Whether the latest reload was applied, or there was none.
    pub(crate) fn is_ok(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed)
    }
}
