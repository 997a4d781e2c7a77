//! Timestamps of a session in 8 bytes, and times in 4.

use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

/// The time since a session opened, in whole nanoseconds, up to 584 years.
///
/// Half the size of a [`Duration`], and an `Option` of it is no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(
    /// The nanoseconds plus one, so that it is never zero.
    NonZeroU64,
);

impl Timestamp {
    pub(crate) const OPENING: Self = Self(NonZeroU64::MIN);

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(time)))
    }

    pub(crate) fn before(self, time: Duration) -> Self {
        let nanos = self.nanos().saturating_sub(saturating_nanos(time));
        Self::OPENING.after(Duration::from_nanos(nanos))
    }

    /// Returns the time since `earlier`, or `None` if `earlier` is after `self`.
    pub(crate) fn checked_since(self, earlier: Self) -> Option<Duration> {
        self.nanos().checked_sub(earlier.nanos()).map(Duration::from_nanos)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is after `self`.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.checked_since(earlier).unwrap_or_default()
    }

    fn nanos(self) -> u64 {
        self.0.get() - 1
    }
}

impl From<Duration> for Timestamp {
    fn from(since_opening: Duration) -> Self {
        Self::OPENING.after(since_opening)
    }
}

impl From<Timestamp> for Duration {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_nanos(timestamp.nanos())
    }
}

/// A time in whole milliseconds, up to 49 days, in 4 bytes. An `Option` of it is no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(
    /// The milliseconds plus one, so that it is never zero.
    NonZeroU32,
);

impl Millis {
    pub(crate) fn get(self) -> u32 {
        self.0.get() - 1
    }
}

impl From<Duration> for Millis {
    fn from(time: Duration) -> Self {
        Self(NonZeroU32::MIN.saturating_add(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)))
    }
}

/// Returns the nanoseconds of `time`, at most `u64::MAX` (584 years).
pub(crate) fn saturating_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns `time`, but at least 1 ms: a timeout of zero would make a driver spin.
pub(crate) fn at_least_1_ms(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

/// Returns `whole * fraction / u32::MAX`.
pub(crate) fn scaled(whole: Duration, fraction: u32) -> Duration {
    let nanos = whole.as_nanos() * u128::from(fraction) / u128::from(u32::MAX);
    u64::try_from(nanos).map_or(whole, Duration::from_nanos)
}
