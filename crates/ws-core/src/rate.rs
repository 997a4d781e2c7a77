//! Rate limits: token buckets.

use core::time::Duration;

use crate::snapshot::BucketSnapshot;
use crate::time::{Timestamp, saturating_nanos};

/// The size and the refill rate of a token bucket: a burst at once, then a number per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time in which one token is earned.
    interval: Duration,
    /// Time in which an empty bucket fills.
    burst: Duration,
}

impl Rate {
    /// Creates a rate of `burst` at once and `per_second` after that.
    ///
    /// Returns `None`, which is no limit, if one of them is zero or `per_second` is above 10⁹.
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

/// A token bucket, represented by the time at which it is full again.
#[derive(Debug)]
pub(crate) struct Bucket {
    full_at: Timestamp,
    /// Tokens earned during a stall beyond the bucket's size, as nanoseconds of refill time.
    credit: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { full_at: Timestamp::OPENING, credit: 0 }
    }
}

impl Bucket {
    /// Takes tokens. Returns `false`, and takes none of the bucket, if it has too few.
    ///
    /// Stall credit is used first: it is lost with [`clear_credit`](Self::clear_credit), and the
    /// bucket should be as full then as it was before the stall.
    pub(crate) fn take(&mut self, rate: Rate, count: u16, now: Timestamp) -> bool {
        let mut count = u32::from(count);
        if self.credit > 0 {
            let interval = saturating_nanos(rate.interval);
            let of_credit = u32::try_from(self.credit / interval).unwrap_or(u32::MAX).min(count);
            self.credit -= u64::from(of_credit) * interval;
            count -= of_credit;
        }
        if count == 0 {
            return true;
        }
        let full_at = self.full_at.max(now).after(rate.interval.saturating_mul(count));
        let has_tokens = full_at <= now.after(rate.burst);
        if has_tokens {
            self.full_at = full_at;
        }
        has_tokens
    }

    pub(crate) fn snapshot(&self) -> BucketSnapshot {
        let Self { full_at, credit } = *self;
        BucketSnapshot { full_at: full_at.into(), credit: Duration::from_nanos(credit) }
    }

    pub(crate) fn restore(snapshot: BucketSnapshot) -> Self {
        let BucketSnapshot { full_at, credit } = snapshot;
        Self { full_at: full_at.into(), credit: saturating_nanos(credit) }
    }

    /// Returns whether the bucket is full and has no stall credit, as a new one.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now && self.credit == 0
    }

    pub(crate) fn clear_credit(&mut self) {
        self.credit = 0;
    }

    /// Credits the tokens that a stall which ended at `now` earned beyond the bucket's size: the input
    /// that arrived during the stall is read all at once.
    ///
    /// Over the whole session the rate still holds.
    pub(crate) fn credit_stall(&mut self, stall: Duration, now: Timestamp) {
        let missing = self.full_at.since(now.before(stall));
        self.credit = self.credit.saturating_add(saturating_nanos(stall.saturating_sub(missing)));
    }
}
