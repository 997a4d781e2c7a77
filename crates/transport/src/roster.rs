//! Every session that sleeps, and when it is to be woken.

use std::collections::BTreeMap;
use std::ops::Add;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::drain::{Drain, Phase, Watch};
use crate::pulse::{BEAT, Pulse, Stalls};

/// What the sessions of a drain share: the phase, the pulse, and an alarm clock.
///
/// A timer and a channel of tokio's would wake a session as well, but take some 300 bytes for each,
/// and this takes about 50.
#[derive(Debug)]
pub(crate) struct Roster {
    pulse: Pulse,
    phase: AtomicU8,
    born: Instant,
    next_number: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
    /// When the keeper looks again by itself, and what calls it before that.
    keeper_sleeps_until: AtomicU64,
    keeper: Notify,
}

/// How long the keeper lets deadlines gather when it has just woken somebody. Sessions that wake up
/// together cost less than one after the other, and none has a deadline for which this is late.
const GATHERING: Duration = Duration::from_millis(50);

/// Sessions touch a shard when their deadlines change, which is at a ping and at its pong; there are
/// enough for sessions not to wait for each other.
const SHARDS: usize = 16;

/// By the moment and the session's number.
type Shard = BTreeMap<(Moment, u64), Waker>;

/// A moment as the roster's age in nanoseconds, which is half as long as an [`Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    const NEVER: Self = Self(u64::MAX);

    /// Zero, if that is yet to come.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// A moment that is too far away is never.
    fn add(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            pulse: Pulse::default(),
            phase: AtomicU8::default(),
            born: Instant::now(),
            next_number: AtomicU64::new(1),
            shards: Default::default(),
            keeper_sleeps_until: AtomicU64::new(u64::MAX),
            keeper: Notify::new(),
        }
    }
}

impl Roster {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Aborting,
        }
    }

    /// Everyone who sleeps is woken for it.
    pub(crate) fn enter(&self, phase: Phase) {
        let number = match phase {
            Phase::Serving => 0,
            Phase::Draining => 1,
            Phase::Aborting => 2,
        };
        self.phase.store(number, Ordering::SeqCst);
        self.keeper.notify_one();
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(0) + self.born.elapsed()
    }

    /// Wakes sessions at their deadlines and beats the pulse, until it is dropped.
    pub(crate) async fn keep(&self) {
        let mut phase = Phase::Serving;
        loop {
            if self.phase() != phase {
                phase = self.phase();
                self.wake_all().await;
            }
            let now = self.now();
            self.pulse.beat(now.since(Moment(0)));
            // Whoever sets an alarm while we look calls us back, in case we have passed its shard.
            self.keeper_sleeps_until.store(u64::MAX, Ordering::SeqCst);
            let earliest = if self.wake_due(now) { now + GATHERING } else { now };
            let next = self.next().map_or(now + BEAT, |next| next.min(now + BEAT)).max(earliest);
            self.keeper_sleeps_until.store(next.0, Ordering::SeqCst);
            let next = self.born + next.since(Moment(0));
            let _ = timeout_at(next, self.keeper.notified()).await;
        }
    }

    /// Wakes everyone, but not all at once: whoever hears from its peer meanwhile has not to wait
    /// for all the others.
    async fn wake_all(&self) {
        let mut everyone = Vec::new();
        for shard in &self.shards {
            everyone.extend(held(shard).keys().copied());
        }
        everyone.sort_unstable_by_key(in_order);
        let mut woken = 0;
        for line in everyone {
            // Who has set another alarm since then has looked at the phase.
            let sleeper = self.shard(line.1).get(&line).cloned();
            sleeper.into_iter().for_each(Waker::wake);
            woken += 1;
            if woken % Drain::WOKEN_AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }

    /// Wakes those whose moment has come, and says whether there were any.
    fn wake_due(&self, now: Moment) -> bool {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = held(shard);
            while let Some(first) = shard.first_entry().filter(|first| first.key().0 <= now) {
                due.push(first.remove_entry());
            }
        }
        due.sort_unstable_by_key(|(line, _)| in_order(line));
        let is_any = !due.is_empty();
        due.into_iter().for_each(|(_, sleeper)| sleeper.wake());
        is_any
    }

    /// The next moment at which somebody is to be woken.
    fn next(&self) -> Option<Moment> {
        let firsts = self
            .shards
            .iter()
            .filter_map(|shard| held(shard).first_key_value().map(|((at, _), _)| *at));
        firsts.min()
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, Shard> {
        let place = usize::try_from(number).unwrap_or_default() % SHARDS;
        held(self.shards.get(place).expect("the remainder is smaller than the divisor"))
    }
}

/// Sessions are woken in the order in which they opened: what neighbours have in memory, here and in the
/// system, lies together, and is used together then.
fn in_order((_, number): &(Moment, u64)) -> u64 {
    *number
}

/// A session's line in the roster, and its token in the drain.
#[derive(Debug)]
pub(crate) struct Alarm {
    watch: Watch,
    number: u64,
    /// When it rings.
    at: Moment,
    /// Whom it wakes: the address of a waker, which no other has while that one is in the roster.
    wakes: usize,
}

impl Alarm {
    pub(crate) fn new(watch: Watch) -> Self {
        let number = watch.roster().next_number.fetch_add(1, Ordering::Relaxed);
        Self { watch, number, at: Moment::NEVER, wakes: 0 }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn now(&self) -> Moment {
        self.watch.roster().now()
    }

    pub(crate) fn stalls(&self, now: Moment) -> Stalls {
        self.watch.roster().pulse.stalls(now.since(Moment(0)))
    }

    /// Sets the alarm, unless it is set like that already.
    ///
    /// After this the phase has to be looked at: the same lock is taken after a new one is entered,
    /// so either it is seen then, or the keeper finds this one among the sleepers.
    pub(crate) fn set(&mut self, at: Moment, cx: &Context<'_>) {
        let roster = self.watch.roster();
        let wakes = cx.waker().data().addr();
        if (self.at, self.wakes) == (at, wakes) {
            return;
        }
        let waker = cx.waker().clone();
        let before = {
            let mut shard = roster.shard(self.number);
            let before = shard.remove(&(self.at, self.number));
            shard.insert((at, self.number), waker);
            before
        };
        // Only now, without the lock: with a waker goes what only it has kept.
        drop(before);
        if at.0 < roster.keeper_sleeps_until.load(Ordering::SeqCst) {
            roster.keeper.notify_one();
        }
        (self.at, self.wakes) = (at, wakes);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = self.watch.roster().shard(self.number).remove(&(self.at, self.number));
        drop(waker);
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
