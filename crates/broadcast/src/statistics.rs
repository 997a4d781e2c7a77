//! What a publisher, or all topics together, have measured.

use std::array;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key_map;

/// How current the states of clients are, at one point in time. See
/// [`Publisher::statistics`](crate::Publisher::statistics).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Times from the publication of a state until a client had received it.
    pub delivery_times: DeliveryTimes,
    /// The time since a state was published last, or published again; `None` before the first.
    pub state_age: Option<Duration>,
    /// The number of states that sessions have skipped, because their clients read slowly.
    pub skipped: u64,
    /// The number of sessions that wait for states. One whose handler was not polled yet does not count.
    pub subscriptions: usize,
    /// The number of these that have not sent the newest state yet.
    pub behind: usize,
}

/// A histogram of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryTimes {
    counts: [u64; BUCKETS],
    sum: Duration,
}

/// From a client in the same building to one that the default pong timeout still waits for.
const BOUNDS: [Duration; BUCKETS] = [
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::MAX,
];

const BUCKETS: usize = 14;

impl DeliveryTimes {
    /// Returns the buckets in ascending order: the largest time in each, and the number of times that are in
    /// it and in no earlier one. The largest time of the last is [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        BOUNDS.into_iter().zip(self.counts)
    }

    /// Returns the number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all times.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// The measurements of a publisher, or of all topics.
///
/// A session takes part in one state of 64, so these are written seldom, except for `skipped`, which each
/// slow reader writes at each state that it sends.
#[derive(Debug)]
pub(crate) struct Measurements {
    start: Instant,
    /// When a state was published last; 0 if none was.
    published: AtomicU64,
    skipped: AtomicU64,
    counts: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
    /// For each session that waits for a pong, when the state was published that it sent before the ping.
    /// At most one for each subscription, which removes it when it is dropped.
    open: Mutex<HashMap<Session, u64>>,
}

/// A session, as the address of its channel, which it keeps alive, and the place of its waker there.
pub(crate) type Session = (usize, u32, u32);

impl Measurements {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            published: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            counts: array::from_fn(|_| AtomicU64::new(0)),
            sum_nanos: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// Records that a state is published now, and returns the time.
    pub(crate) fn record_published(&self) -> u64 {
        let now = self.now();
        self.published.store(now, Ordering::Relaxed);
        now
    }

    pub(crate) fn record_skipped(&self, states: u64) {
        self.skipped.fetch_add(states, Ordering::Relaxed);
    }

    /// Begins to measure how long the state that was published at this time takes to the client.
    pub(crate) fn begin(&self, session: Session, published: u64) {
        self.open.lock().insert(session, published);
    }

    /// Ends the measurement: the client has received the state.
    pub(crate) fn end(&self, session: Session) {
        let Some(published) = self.take(session) else { return };
        let nanos = self.now().saturating_sub(published);
        let time = Duration::from_nanos(nanos);
        let bucket = BOUNDS.iter().zip(&self.counts).find(|(bound, _)| time <= **bound);
        let (_, count) = bucket.expect("the last bound is the longest time");
        count.fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Ends the measurement without a result.
    pub(crate) fn cancel(&self, session: Session) {
        self.take(session);
    }

    fn take(&self, session: Session) -> Option<u64> {
        key_map::remove(&mut self.open.lock(), &session).map(|(_, published)| published)
    }

    pub(crate) fn snapshot(&self) -> Statistics {
        let published = Some(self.published.load(Ordering::Relaxed)).filter(|at| *at > 0);
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed));
        Statistics {
            delivery_times: DeliveryTimes { counts, sum },
            state_age: published.map(|at| Duration::from_nanos(self.now().saturating_sub(at))),
            skipped: self.skipped.load(Ordering::Relaxed),
            ..Statistics::default()
        }
    }

    /// Returns the nanoseconds since the start, from 1.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }
}
