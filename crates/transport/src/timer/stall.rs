//! Whether the process itself stood still: was stopped, starved, or stuck in a handler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From one beat to the next at most.
pub(crate) const TICK: Duration = Duration::from_millis(250);
const TICK_MS: u32 = 250;

/// A heart that beats while the process makes progress, so that a session can tell how long it stood
/// still: what a peer sent meanwhile comes all at once, and is not the peer's fault.
///
/// Nothing beats by itself. Before the first [`tick`](Self::tick) no stall is seen.
///
/// It knows no clock: all times are those since some moment that stays the same.
#[derive(Debug)]
pub(crate) struct StallDetector(
    /// One word, so that whoever looks sees both halves of the same moment.
    AtomicU64,
);

/// How long the process had stood still in all at some moment, to be compared with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StallTotal(u32);

impl StallTotal {
    /// How much of it came after `earlier`; nothing if that was not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(ahead(self.0, earlier.0).into())
    }
}

#[derive(Clone, Copy)]
struct State {
    stalled_ms: u32,
    /// The age at the latest beat.
    ticked_at_ms: u32,
}

/// No heart has beaten yet.
const NEVER: u64 = u64::MAX;

impl Default for StallDetector {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl StallDetector {
    /// Beats once. The next beat has to come within [`TICK`].
    pub(crate) fn tick(&self, now: Duration) {
        let StallTotal(stalled_ms) = self.stall_total(now);
        let state = State { stalled_ms, ticked_at_ms: wrapping_ms(now) };
        self.0.store(state.into(), Ordering::Relaxed);
    }

    /// How long the process has stood still until `now`.
    pub(crate) fn stall_total(&self, now: Duration) -> StallTotal {
        match self.0.load(Ordering::Relaxed) {
            NEVER => StallTotal::default(),
            state => {
                let State { stalled_ms, ticked_at_ms } = state.into();
                let late = ahead(wrapping_ms(now), ticked_at_ms).saturating_sub(TICK_MS);
                // Less than a beat is none: the clock is coarse, and others want the processor, too.
                // Whoever wakes up before the heart does sees by itself that it is late.
                let stall = if late > TICK_MS { late } else { 0 };
                StallTotal(stalled_ms.wrapping_add(stall))
            }
        }
    }
}

/// It wraps around after seven weeks, and no stall is half as long.
fn wrapping_ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis() % (1 << 32)).unwrap_or_default()
}

/// How far `later` is ahead of `earlier`, where numbers wrap around. Another thread may have been
/// faster, and then it is not.
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
    fn a_stall_is_as_long_as_the_heart_was_late() {
        let stall_detector = StallDetector::default();
        let ms = |ms| Duration::from_millis(ms);
        let start = ms(1 << 32) - ms(1000);
        let mut now = start;
        assert_eq!(
            stall_detector.stall_total(now + ms(9000)),
            StallTotal(0),
            "it does not tick yet"
        );
        stall_detector.tick(now);
        for round in 1..=3 {
            now += ms(4000);
            // Seen before the heart beats again, and after.
            assert_eq!(stall_detector.stall_total(now), StallTotal(3750 * round));
            stall_detector.tick(now);
            assert_eq!(stall_detector.stall_total(now), StallTotal(3750 * round));
        }
        // Early, on time, or late by less than a beat: no stall.
        for wait in [1, 250, 500, 10] {
            now += ms(wait);
            stall_detector.tick(now);
        }
        assert_eq!(stall_detector.stall_total(now), StallTotal(11_250));
        now += ms(501);
        assert_eq!(
            stall_detector.stall_total(now),
            StallTotal(11_250 + 251),
            "and a little more is one"
        );
        stall_detector.tick(now);
        // Whoever looked at the clock before the heart did sees what that has seen.
        assert_eq!(stall_detector.stall_total(start), stall_detector.stall_total(now));
        assert_eq!(StallTotal(5).since(stall_detector.stall_total(start)), Duration::ZERO);
    }
}
