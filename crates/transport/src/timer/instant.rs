//! A moment in eight bytes.

use std::ops::Add;
use std::time::Duration;

/// A moment as the roster's age in nanoseconds, which is half as long as an [`Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerInstant(u64);

impl TimerInstant {
    pub(crate) const START: Self = Self(0);
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// Zero, if that is yet to come.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for TimerInstant {
    type Output = Self;

    /// A moment that is too far away is never.
    fn add(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
