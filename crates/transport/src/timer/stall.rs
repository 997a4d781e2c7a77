//! Detects that the process stalled: it was stopped, got no CPU time, or a handler blocked.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// The longest time from one tick to the next.
pub(crate) const TICK: Duration = Duration::from_millis(250);
const TICK_MS: u32 = 250;

/// Measures how long the process stalled. Input that a peer sent during a stall is read all at once
/// after it, and the peer must not be blamed for that.
///
/// The timer service calls [`tick`](Self::tick); before the first tick no stall is detected.
///
/// It reads no clock: all times are durations since one fixed instant.
#[derive(Debug)]
pub(crate) struct StallDetector(
    /// A [`State`] in one word, so that a load gets both halves of the same tick.
    AtomicU64,
);

/// The sum of all stalls up to some instant, in milliseconds. It wraps around, so only the difference of
/// two has a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StallTotal(u32);

impl StallTotal {
    /// Returns the sum of the stalls since `earlier`; zero if `earlier` is later than this.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(ahead(self.0, earlier.0).into())
    }

    /// Returns the sum before a stall of this length.
    pub(crate) fn before(self, stall: Duration) -> Self {
        Self(self.0.wrapping_sub(wrapping_ms(stall)))
    }
}

#[derive(Clone, Copy)]
struct State {
    stalled_ms: u32,
    /// The time of the latest tick.
    ticked_at_ms: u32,
}

/// Before the first tick.
const NEVER: u64 = u64::MAX;

impl Default for StallDetector {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl StallDetector {
    /// Records that the process runs. The next call is due within [`TICK`].
    pub(crate) fn tick(&self, now: Duration) {
        let StallTotal(stalled_ms) = self.stall_total(now);
        let state = State { stalled_ms, ticked_at_ms: wrapping_ms(now) };
        self.0.store(state.into(), Ordering::Relaxed);
    }

    /// Returns the sum of all stalls until `now`.
    pub(crate) fn stall_total(&self, now: Duration) -> StallTotal {
        match self.0.load(Ordering::Relaxed) {
            NEVER => StallTotal::default(),
            state => {
                let State { stalled_ms, ticked_at_ms } = state.into();
                let late = ahead(wrapping_ms(now), ticked_at_ms).saturating_sub(TICK_MS);
                // A delay of one tick at most is no stall: the clock is coarse, and other processes use
                // the CPU, too. A task that is polled before the overdue tick sees the delay here.
                let stall = if late > TICK_MS { late } else { 0 };
                StallTotal(stalled_ms.wrapping_add(stall))
            }
        }
    }
}

/// Wraps around after seven weeks; no stall lasts half as long.
fn wrapping_ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis() % (1 << 32)).unwrap_or_default()
}

/// Returns how far `later` is ahead of `earlier` in wrapping arithmetic. Zero if it is behind, as when
/// another thread has stored a newer tick than this thread's `now`.
fn ahead(later: u32, earlier: u32) -> u32 {
    let difference = later.wrapping_sub(earlier);
    if difference > u32::MAX / 2 { 0 } else { difference }
}

impl From<u64> for State {
    fn from(word: u64) -> Self {
        let half = |bits| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self { stalled_ms: half(word >> 32), ticked_at_ms: half(word) }
    }
}

impl From<State> for u64 {
    fn from(state: State) -> u64 {
        (u64::from(state.stalled_ms) << 32) | u64::from(state.ticked_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_as_long_as_the_tick_was_late() {
        let detector = StallDetector::default();
        let ms = |ms| Duration::from_millis(ms);
        let start = ms(1 << 32) - ms(1000);
        let mut now = start;
        assert_eq!(detector.stall_total(now + ms(9000)), StallTotal(0), "before the first tick");
        detector.tick(now);
        for round in 1..=3 {
            now += ms(4000);
            // The same before the overdue tick and after it.
            assert_eq!(detector.stall_total(now), StallTotal(3750 * round));
            detector.tick(now);
            assert_eq!(detector.stall_total(now), StallTotal(3750 * round));
        }
        // Early, on time, or late by one tick at most: no stall.
        for wait in [1, 250, 500, 10] {
            now += ms(wait);
            detector.tick(now);
        }
        assert_eq!(detector.stall_total(now), StallTotal(11_250));
        now += ms(501);
        assert_eq!(detector.stall_total(now), StallTotal(11_250 + 251), "late by more than a tick");
        detector.tick(now);
        // An instant that was read before the latest tick.
        assert_eq!(detector.stall_total(start), detector.stall_total(now));
        assert_eq!(StallTotal(5).since(detector.stall_total(start)), Duration::ZERO);
    }
}
