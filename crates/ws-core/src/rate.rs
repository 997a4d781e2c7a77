//! How often a peer may do something.

use core::time::Duration;

use crate::time::{Timestamp, whole_nanos};

/// How often something may happen: so many times at once, and from then on so many times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next.
    interval: Duration,
    /// What may happen at once takes this long to be earned.
    burst: Duration,
}

impl Rate {
    /// `burst` at once, and then `per_second`. `None` if one of them is zero, which is no limit.
    ///
    /// ```
    /// use ws_core::Rate;
    ///
    /// assert!(Rate::new(10, 20).is_some());
    /// assert!(Rate::new(0, 20).is_none());
    /// ```
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        let burst = interval.saturating_mul(burst);
        if burst.is_zero() { None } else { Some(Self { interval, burst }) }
    }
}

/// A token bucket, told by the moment when it will be full again.
#[derive(Debug)]
pub(crate) struct Bucket {
    full_at: Timestamp,
    /// What was earned beyond the brim while the process stood still, in nanoseconds.
    credit: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { full_at: Timestamp::OPENING, credit: 0 }
    }
}

impl Bucket {
    /// Takes a token, or says that there is none.
    ///
    /// What a stall has earned goes first, or its end would find the bucket empty.
    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        if let Some(rest) = self.credit.checked_sub(whole_nanos(rate.interval)) {
            self.credit = rest;
            return true;
        }
        let full_at = self.full_at.max(now).after(rate.interval);
        let is_there = full_at <= now.after(rate.burst);
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// Whether it is full, and holds nothing beyond that.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now && self.credit == 0
    }

    /// Lets go of what it holds beyond the brim.
    pub(crate) fn clear_credit(&mut self) {
        self.credit = 0;
    }

    /// Keeps what `stall`, which is over at `now`, has earned: what the peer sent in it is read all
    /// at once. The rate holds all the same, over the whole session.
    pub(crate) fn credit_stall(&mut self, stall: Duration, now: Timestamp) {
        let missing = self.full_at.since(now.before(stall));
        self.credit = self.credit.saturating_add(whole_nanos(stall.saturating_sub(missing)));
    }
}
