//! A deadline for the peer that the process's own lateness does not shorten.

use core::mem;
use core::time::Duration;

use crate::time::{Moment, at_least_shortest};

/// How long to wait for the peer.
///
/// If the process is looked at long after the deadline, because it was stopped or starved, the peer
/// gets that lateness back once, up to the whole timeout: a server that stalls must not give up
/// peers that were answering all along, who would then all come back at once.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Moment,
    is_forgiven: bool,
}

impl Patience {
    pub(crate) fn new(timeout: Duration, now: Moment) -> Self {
        Self { until: now.after(at_least_shortest(timeout)), is_forgiven: false }
    }

    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// Whether the peer is to be given up, with lateness given back first.
    pub(crate) fn is_over(&mut self, timeout: Duration, now: Moment) -> bool {
        let Some(late) = now.checked_since(self.until) else { return false };
        if late.is_zero() || mem::replace(&mut self.is_forgiven, true) {
            return true;
        }
        self.until = now.after(late.min(at_least_shortest(timeout)));
        false
    }
}
