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
    timeout: Duration,
    until: Duration,
    is_forgiven: bool,
}

impl Patience {
    pub(crate) fn new(timeout: Duration, now: Duration) -> Self {
        Self { timeout, until: now.saturating_add(timeout), is_forgiven: false }
    }

    /// The same, from now on.
    pub(crate) fn renewed(self, now: Duration) -> Self {
        Self::new(self.timeout, now)
    }

    pub(crate) fn until(&self) -> Duration {
        self.until
    }

    /// Whether the peer is to be given up, with lateness given back first.
    pub(crate) fn is_over(&mut self, now: Duration) -> bool {
        let Some(late) = now.checked_sub(self.until) else { return false };
        if late.is_zero() || mem::replace(&mut self.is_forgiven, true) {
            return true;
        }
        self.until = now.saturating_add(late.min(self.timeout));
        false
    }
}
