//! Every session that sleeps, and when it is to be woken.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::drain::{Phase, Watch};
use crate::held;
use crate::moment::Moment;
use crate::pulse::{BEAT, Pulse, Stalls};
use crate::sleepers::{Seat, Sleepers};
use crate::waker_id::WakerId;

/// What the sessions of a drain share: the phase, the pulse, and an alarm clock.
///
/// A timer and a channel of tokio's would wake a session as well, but take some 300 bytes for each,
/// and this takes 25.
#[derive(Debug)]
pub(crate) struct Roster {
    pulse: Pulse,
    phase: AtomicU8,
    telling: Mutex<Telling>,
    /// How often a session has seen a new phase.
    told: AtomicUsize,
    born: Instant,
    next_number: AtomicU64,
    sleepers: Sleepers,
    /// When the keeper looks again by itself, and what calls it before that.
    keeper_sleeps_until: AtomicU64,
    keeper: Notify,
}

/// Whether sessions are being told of a new phase, and who waits until all of them were.
#[derive(Debug, Default)]
struct Telling {
    is_under_way: bool,
    waiting: Vec<Waker>,
}

/// How many sessions are woken for a new phase before others are, so that a pong never waits for all of
/// them. As many as a worker's own queue holds: more would be moved behind what the network wakes.
const TOLD_AT_ONCE: usize = 256;

/// How often others have their turn until those that were woken have seen the phase. One that has ended
/// meanwhile never does.
const TURNS: usize = 16;

/// How long the keeper lets deadlines gather when it has just looked for some. Sessions that wake up
/// together cost less than one after the other, and none has a deadline for which this is late.
const GATHERING: Duration = Duration::from_millis(50);

impl Default for Roster {
    fn default() -> Self {
        Self {
            pulse: Pulse::default(),
            phase: AtomicU8::default(),
            telling: Mutex::default(),
            told: AtomicUsize::new(0),
            born: Instant::now(),
            next_number: AtomicU64::new(1),
            sleepers: Sleepers::default(),
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
        held(&self.telling).is_under_way = true;
        self.phase.store(number, Ordering::SeqCst);
        self.keeper.notify_one();
    }

    /// Whether a session that knows the phase has to wait because others are still being told of it.
    /// It is woken when all of them were.
    ///
    /// In a drain the last Close frame then goes out before the answers to the first are read.
    pub(crate) fn has_to_wait(&self, cx: &Context<'_>) -> bool {
        let mut telling = held(&self.telling);
        if telling.is_under_way {
            // One that is woken again and again waits once.
            let waits = telling.waiting.last().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !waits {
                telling.waiting.push(cx.waker().clone());
            }
        }
        telling.is_under_way
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::BIRTH + self.born.elapsed()
    }

    fn stalls(&self, now: Moment) -> Stalls {
        self.pulse.stalls(now.since(Moment::BIRTH))
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
            self.pulse.beat(now.since(Moment::BIRTH));
            // Whoever sets an alarm while we look calls us back, in case we have passed its shard.
            self.keeper_sleeps_until.store(u64::MAX, Ordering::SeqCst);
            let mut earliest = now;
            if let Some(due) = self.sleepers.take_due(now) {
                due.for_each(Waker::wake);
                earliest = now + GATHERING;
            }
            let next = self.sleepers.earliest().min(now + BEAT).max(earliest);
            self.keeper_sleeps_until.store(next.nanos(), Ordering::SeqCst);
            let next = self.born + next.since(Moment::BIRTH);
            let _ = timeout_at(next, self.keeper.notified()).await;
        }
    }

    /// A session has seen the new phase.
    pub(crate) fn count_told(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// Wakes everyone in portions, each when the one before was told, and then those that had to wait.
    async fn wake_all(&self) {
        let mut sleepers = self.sleepers.all().peekable();
        while sleepers.peek().is_some() {
            let before = self.told.load(Ordering::Relaxed);
            let portion = sleepers.by_ref().take(TOLD_AT_ONCE).map(Waker::wake).count();
            for _ in 0..TURNS {
                yield_now().await;
                if self.told.load(Ordering::Relaxed).wrapping_sub(before) >= portion {
                    break;
                }
            }
        }
        let waiting = {
            let mut telling = held(&self.telling);
            telling.is_under_way = false;
            mem::take(&mut telling.waiting)
        };
        for (index, waker) in (1..).zip(waiting) {
            waker.wake();
            if index % TOLD_AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }
}

/// A session's seat in the roster, and its token in the drain.
#[derive(Debug)]
pub(crate) struct Alarm {
    watch: Watch,
    number: u64,
    seat: Seat,
    /// As far as somebody has asked.
    stalls: Stalls,
    /// When it rings; never, as long as it has not been set.
    at: Moment,
    /// Whom it wakes.
    wakes: WakerId,
}

impl Alarm {
    pub(crate) fn new(watch: Watch, now: Moment) -> Self {
        let roster = watch.roster();
        let number = roster.next_number.fetch_add(1, Ordering::Relaxed);
        let seat = roster.sleepers.enter(number - 1);
        let stalls = roster.stalls(now);
        Self { watch, number, seat, stalls, at: Moment::NEVER, wakes: WakerId::NONE }
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

    /// How long the process has stood still since this was asked last, or the alarm was made.
    pub(crate) fn stalled(&mut self, now: Moment) -> Duration {
        let stalls = self.watch.roster().stalls(now);
        let stalled = stalls.since(self.stalls);
        if !stalled.is_zero() {
            self.stalls = stalls;
        }
        stalled
    }

    /// Sets the alarm, unless it is set like that already.
    ///
    /// After this the phase has to be looked at: the same lock is taken after a new one is entered,
    /// so either it is seen then, or the keeper finds this one among the sleepers.
    pub(crate) fn set(&mut self, at: Moment, cx: &Context<'_>) {
        let roster = self.watch.roster();
        let wakes = WakerId::of(cx.waker());
        if (self.at, self.wakes) == (at, wakes) {
            return;
        }
        let is_other = self.at == Moment::NEVER || self.wakes != wakes;
        let waker = is_other.then(|| cx.waker().clone());
        drop(roster.sleepers.set(self.seat, at, waker));
        if at.nanos() < roster.keeper_sleeps_until.load(Ordering::SeqCst) {
            roster.keeper.notify_one();
        }
        (self.at, self.wakes) = (at, wakes);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.watch.roster().sleepers.leave(self.seat));
    }
}
