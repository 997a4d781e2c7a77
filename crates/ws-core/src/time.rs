//! A moment in a session's life, small enough to keep several of.

use core::num::NonZeroU64;
use core::time::Duration;

/// The time since a session opened, in whole nanoseconds, up to 584 years. It takes half as much
/// room as a [`Duration`], and its `Option` takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(
    /// One more than the nanoseconds, so that it is never zero.
    NonZeroU64,
);

impl Timestamp {
    /// When the session opened.
    pub(crate) const OPENING: Self = Self(NonZeroU64::MIN);

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(whole_nanos(time)))
    }

    pub(crate) fn before(self, time: Duration) -> Self {
        let nanos = self.nanos().saturating_sub(whole_nanos(time));
        Self::OPENING.after(Duration::from_nanos(nanos))
    }

    /// How long ago `earlier` was, or `None` if it is yet to come.
    pub(crate) fn checked_since(self, earlier: Self) -> Option<Duration> {
        self.nanos().checked_sub(earlier.nanos()).map(Duration::from_nanos)
    }

    /// The same, or zero.
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

/// As many as fit: a longer time is as good as forever.
pub(crate) fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A time of nothing would make a driver spin.
pub(crate) fn at_least_1_ms(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}
