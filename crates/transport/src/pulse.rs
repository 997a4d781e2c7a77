//! Whether the process itself stood still: was stopped, starved, or stuck in a handler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// From one beat to the next, in milliseconds.
const BEAT_MS: u32 = 250;

/// A heart that beats while the process makes progress, so that a session can tell how long it stood
/// still: what a peer sent meanwhile comes all at once, and is not the peer's fault.
///
/// Nothing beats by itself: somebody has to run [`beat`](Self::beat) in the runtime that is to be
/// watched. Without that no stall is ever seen.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    /// One word, so that whoever looks sees both halves of the same moment.
    state: AtomicU64,
}

/// How long the process had stood still in all at some moment, to be compared with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls(u32);

impl Stalls {
    /// How much of it came after `earlier`; nothing if that was not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(ahead(self.0, earlier.0).into())
    }
}

#[derive(Clone, Copy)]
struct State {
    stalled_ms: u32,
    /// The age at the latest beat.
    beaten_at_ms: u32,
}

/// No heart has beaten yet.
const NEVER: u64 = u64::MAX;

impl Default for Pulse {
    fn default() -> Self {
        Self { born: Instant::now(), state: AtomicU64::new(NEVER) }
    }
}

impl Pulse {
    /// Beats until it is dropped.
    pub async fn beat(&self) {
        loop {
            let now = Instant::now();
            let Stalls(stalled_ms) = self.stalls(now);
            let state = State { stalled_ms, beaten_at_ms: self.age_ms(now) };
            self.state.store(state.into(), Ordering::Relaxed);
            sleep(Duration::from_millis(BEAT_MS.into())).await;
        }
    }

    /// How long the process has stood still until `now`.
    #[must_use]
    pub fn stalls(&self, now: Instant) -> Stalls {
        match self.state.load(Ordering::Relaxed) {
            NEVER => Stalls::default(),
            state => {
                let State { stalled_ms, beaten_at_ms } = state.into();
                let late = ahead(self.age_ms(now), beaten_at_ms).saturating_sub(BEAT_MS);
                // Less than a beat is none: the clock is coarse, and others want the processor, too.
                // Whoever wakes up before the heart does sees by itself that it is late.
                let stall = if late > BEAT_MS { late } else { 0 };
                Stalls(stalled_ms.wrapping_add(stall))
            }
        }
    }

    /// It wraps around after seven weeks, and no stall is half as long.
    fn age_ms(&self, at: Instant) -> u32 {
        let age = at.saturating_duration_since(self.born).as_millis() % (1 << 32);
        u32::try_from(age).unwrap_or_default()
    }
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
        Self { stalled_ms: half(word >> 32), beaten_at_ms: half(word) }
    }
}

impl From<State> for u64 {
    fn from(state: State) -> u64 {
        (u64::from(state.stalled_ms) << 32) | u64::from(state.beaten_at_ms)
    }
}
