//! A deadline for the peer that the process's own lateness does not shorten.

use core::mem;
use core::time::Duration;

use crate::time::{Timestamp, at_least_1_ms};

/// How long to wait for the peer.
///
/// If the process is looked at long after the deadline, because it was stopped or starved, the peer
/// gets that lateness back once, up to the whole timeout: a server that stalls must not give up
/// peers that were answering all along, who would then all come back at once.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Timestamp,
    is_extended: bool,
}

impl Deadline {
    pub(crate) fn new(timeout: Duration, now: Timestamp) -> Self {
        Self { at: now.after(at_least_1_ms(timeout)), is_extended: false }
    }

    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether the peer is to be given up, with lateness given back first.
    pub(crate) fn has_passed(&mut self, timeout: Duration, now: Timestamp) -> bool {
        let Some(late) = now.checked_since(self.at) else { return false };
        if late.is_zero() || mem::replace(&mut self.is_extended, true) {
            return true;
        }
        self.at = now.after(late.min(at_least_1_ms(timeout)));
        false
    }
}
