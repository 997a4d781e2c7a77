//! A deadline for the peer that the process's own lateness does not shorten.

use core::mem;
use core::time::Duration;

use crate::time::{Timestamp, at_least_1_ms};

/// A deadline for the peer.
///
/// If it is checked late, because the process was stopped or starved, it is extended once by that
/// lateness, at most by the whole timeout. Otherwise a server that stalls would give up peers that
/// answered in time, and all of them would reconnect at once.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Timestamp,
    is_extended: bool,
}

impl Deadline {
    pub(crate) fn new(timeout: Duration, now: Timestamp) -> Self {
        Self { at: now.after(at_least_1_ms(timeout)), is_extended: false }
    }

    /// Continues a deadline, which was extended already or not.
    pub(crate) fn restore(at: Timestamp, is_extended: bool) -> Self {
        Self { at, is_extended }
    }

    pub(crate) fn is_extended(&self) -> bool {
        self.is_extended
    }

    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns when the timeout began, or later if it was extended.
    pub(crate) fn start(&self, timeout: Duration) -> Timestamp {
        self.at.before(at_least_1_ms(timeout))
    }

    /// Moves the deadline by the time since `suspended_at`, or since its own beginning if that is later.
    pub(crate) fn resume(&mut self, suspended_at: Timestamp, timeout: Duration, now: Timestamp) {
        self.at = self.at.after(now.since(suspended_at.max(self.start(timeout))));
    }

    /// Returns whether the deadline has passed. Extends it instead, once, if this call is late.
    pub(crate) fn has_passed(&mut self, timeout: Duration, now: Timestamp) -> bool {
        let Some(lateness) = now.checked_since(self.at) else { return false };
        if lateness.is_zero() || mem::replace(&mut self.is_extended, true) {
            return true;
        }
        self.at = now.after(lateness.min(at_least_1_ms(timeout)));
        false
    }
}
