//! Whether the process itself stood still: was stopped, starved, or stuck in a handler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(250);

/// A heart that beats while the process makes progress, so that a session can tell how long it stood
/// still: what a peer sent meanwhile comes all at once, and is not the peer's fault.
///
/// Nothing beats by itself: somebody has to run [`beat`](Self::beat) in the runtime that is to be
/// watched. Without that no stall is ever seen.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    /// The latest beat, in milliseconds since it was born, or [`NEVER`].
    latest: AtomicU64,
    /// The latest stall: when it ended in the upper bits, and how long it was in the lower ones. One
    /// word, so that both are of the same stall.
    stall: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// The bits for the length of a stall in milliseconds: more than four hours.
const LENGTH_BITS: u32 = 24;
const LONGEST: u64 = (1 << LENGTH_BITS) - 1;

impl Default for Pulse {
    fn default() -> Self {
        Self { born: Instant::now(), latest: AtomicU64::new(NEVER), stall: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// Beats until it is dropped.
    pub async fn beat(&self) {
        loop {
            let now = self.age(Instant::now());
            let late = self.late(now);
            if late > 0 {
                self.stall.store(now << LENGTH_BITS | late.min(LONGEST), Ordering::Relaxed);
            }
            self.latest.store(now, Ordering::Relaxed);
            sleep(BEAT).await;
        }
    }

    /// For how long the process stood still between these moments, as far as the latest stall goes.
    #[must_use]
    pub fn stalled(&self, from: Instant, until: Instant) -> Duration {
        let (from, until) = (self.age(from), self.age(until));
        // Whoever wakes up before the heart does sees that it is late.
        let late = self.late(until);
        let (end, length) = match self.stall.load(Ordering::Relaxed) {
            _ if late > 0 => (until, late),
            stall => (stall >> LENGTH_BITS, stall & LONGEST),
        };
        let part = end.min(until).saturating_sub(end.saturating_sub(length).max(from));
        Duration::from_millis(part)
    }

    /// By how many milliseconds the next beat is late. Less than a beat is none: the clock is coarse,
    /// and others want the processor, too.
    fn late(&self, now: u64) -> u64 {
        let beat = u64::from(BEAT.subsec_millis());
        match self.latest.load(Ordering::Relaxed) {
            NEVER => 0,
            latest => {
                let late = now.saturating_sub(latest + beat);
                if late > beat { late } else { 0 }
            }
        }
    }

    fn age(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}
