//! What a client must not see, with its time: a fault while a process is killed may be allowed.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time since the program began, in all threads.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session ended, or received what it must not.
    Closed,
    /// A connection or its upgrade failed.
    Connect,
    /// A state was skipped, or never arrived.
    Missing,
    /// A state arrived twice, or after a newer one.
    OutOfOrder,
    /// A state could not be published.
    Publish,
    /// A ping had no pong.
    Unanswered,
}

impl Kind {
    /// All kinds, with what the report calls them.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Closed, "sessions closed or failed"),
        (Self::Connect, "connects refused or failed"),
        (Self::Missing, "states missing"),
        (Self::OutOfOrder, "states repeated or older"),
        (Self::Publish, "publications failed"),
        (Self::Unanswered, "pings without a pong"),
    ];
}

/// A fault that a client has seen.
pub struct Fault {
    /// When it was seen.
    pub at: Duration,
    /// What it is.
    pub kind: Kind,
    /// Who has seen what.
    pub text: String,
}

/// The faults of all threads. Clones are the same.
#[derive(Clone)]
pub struct Faults {
    /// The clock of all times.
    pub clock: Clock,
    all: Arc<Mutex<Vec<Fault>>>,
}

impl Faults {
    /// Creates an empty list.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, all: Arc::default() }
    }

    /// Adds a fault that is seen now.
    pub fn add(&self, kind: Kind, text: impl Into<String>) {
        let fault = Fault { at: self.clock.now(), kind, text: text.into() };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Returns the number of faults of a kind within a time.
    #[must_use]
    pub fn count(&self, kind: Kind, within: &RangeInclusive<Duration>) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|fault| fault.kind == kind && within.contains(&fault.at)).count()
    }

    /// Removes and returns all faults, those outside of the times first.
    #[must_use]
    pub fn take(&self, allowed: &[RangeInclusive<Duration>]) -> (Vec<Fault>, Vec<Fault>) {
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter().partition(|fault| !allowed.iter().any(|time| time.contains(&fault.at)))
    }
}
