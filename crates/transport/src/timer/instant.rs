//! An instant in eight bytes.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since a time 146 years before the timer service was created, so that a session that is older
/// than the process has an opening. This takes half the memory of an [`Instant`](tokio::time::Instant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerInstant(u64);

impl TimerInstant {
    /// When the timer service was created.
    pub(crate) const START: Self = Self(1 << 62);
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`; zero if `earlier` is later than this instant.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Sub<Duration> for TimerInstant {
    type Output = Self;

    /// Saturates 146 years before [`START`](Self::START).
    fn sub(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl Add<Duration> for TimerInstant {
    type Output = Self;

    /// Saturates at [`NEVER`](Self::NEVER).
    fn add(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
