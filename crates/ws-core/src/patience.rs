//! A deadline for the peer that the process's own lateness does not shorten.

use core::mem;
use core::time::Duration;

/// How long to wait for the peer.
///
/// If the process is looked at long after the deadline, because it was stopped or starved, the peer
/// gets that lateness back once, up to the whole timeout: a server that stalls must not give up
/// peers that were answering all along, who would then all come back at once.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Duration,
    to_give_back: Duration,
}

impl Patience {
    pub(crate) fn new(timeout: Duration, now: Duration) -> Self {
        Self { until: now.saturating_add(timeout), to_give_back: timeout }
    }

    pub(crate) fn until(&self) -> Duration {
        self.until
    }

    /// Whether the peer is to be given up, with lateness given back first.
    pub(crate) fn is_over(&mut self, now: Duration) -> bool {
        let Some(late) = now.checked_sub(self.until) else { return false };
        let given_back = late.min(mem::take(&mut self.to_give_back));
        self.until = now.saturating_add(given_back);
        given_back.is_zero()
    }
}
