//! The timer of sessions: every one that sleeps, when it is to be woken, and for what everyone is.
//!
//! A timer of tokio's and a channel would do the same, but take some 300 bytes for each session, and
//! this takes 25. It knows no session and nothing of a drain: whoever owns it announces generations, each
//! a number, and gives them their meaning. It is no clock either; `instant` only says how a moment is
//! kept.
//!
//! Read this file first, which is the service and its handle. `slots` is who sleeps and until when,
//! `announcement` how everyone is woken for a new generation without getting in the way of others, and
//! `stall` whether the process itself stood still.

mod announcement;
mod instant;
mod slots;
mod stall;

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::announcement::Announcement;
pub(crate) use self::instant::TimerInstant;
use self::slots::{Slots, TimerKey};
use self::stall::{StallDetector, StallTotal, TICK};
use crate::waker_id::WakerId;

/// What sessions share: what was announced to them, the pulse, and an alarm clock.
#[derive(Debug)]
pub(crate) struct TimerService {
    stall_detector: StallDetector,
    announcement: Announcement,
    start: Instant,
    next_id: AtomicU64,
    slots: Slots,
    /// When the keeper looks again by itself, and what calls it before that.
    next_run: AtomicU64,
    wake_up: Notify,
}

/// How long the keeper lets deadlines gather when it has just looked for some. Sessions that wake up
/// together cost less than one after the other, and none has a deadline for which this is late.
const COALESCE: Duration = Duration::from_millis(50);

impl Default for TimerService {
    fn default() -> Self {
        Self {
            stall_detector: StallDetector::default(),
            announcement: Announcement::default(),
            start: Instant::now(),
            next_id: AtomicU64::new(1),
            slots: Slots::default(),
            next_run: AtomicU64::new(u64::MAX),
            wake_up: Notify::new(),
        }
    }
}

impl TimerService {
    /// What was announced last; zero, as long as nothing was.
    pub(crate) fn generation(&self) -> u8 {
        self.announcement.generation()
    }

    /// Announces a generation, for which everyone who sleeps is woken.
    pub(crate) fn announce(&self, generation: u8) {
        self.announcement.announce(generation);
        self.wake_up.notify_one();
    }

    fn now(&self) -> TimerInstant {
        TimerInstant::START + self.start.elapsed()
    }

    fn stall_total(&self, now: TimerInstant) -> StallTotal {
        self.stall_detector.stall_total(now.since(TimerInstant::START))
    }

    /// Wakes sessions at their deadlines and beats the pulse, until it is dropped.
    pub(crate) async fn run(&self) {
        let mut generation = 0;
        loop {
            if self.generation() != generation {
                generation = self.generation();
                self.announcement.wake_all(&self.slots).await;
            }
            let now = self.now();
            self.stall_detector.tick(now.since(TimerInstant::START));
            // Whoever sets an alarm while we look calls us back, in case we have passed its shard.
            self.next_run.store(u64::MAX, Ordering::SeqCst);
            let mut earliest = now;
            if let Some(due) = self.slots.take_due(now) {
                due.for_each(Waker::wake);
                earliest = now + COALESCE;
            }
            let next = self.slots.earliest().min(now + TICK).max(earliest);
            self.next_run.store(next.nanos(), Ordering::SeqCst);
            let next = self.start + next.since(TimerInstant::START);
            let _ = timeout_at(next, self.wake_up.notified()).await;
        }
    }
}

/// A session's seat in the roster, which it reaches by `O`: so one pointer does for this and for what
/// else of a session's stands beside the roster.
#[derive(Debug)]
pub(crate) struct TimerHandle<O: AsRef<TimerService>> {
    owner: O,
    id: u64,
    key: TimerKey,
    /// As far as somebody has asked.
    stall_total: StallTotal,
    /// When it rings; never, as long as it has not been set.
    at: TimerInstant,
    /// Whom it wakes.
    wakes: WakerId,
}

impl<O: AsRef<TimerService>> TimerHandle<O> {
    /// An alarm that is not set, and the moment at which it was made.
    pub(crate) fn new(owner: O) -> (Self, TimerInstant) {
        let timers = owner.as_ref();
        let now = timers.now();
        let id = timers.next_id.fetch_add(1, Ordering::Relaxed);
        let key = timers.slots.insert(id - 1);
        let stall_total = timers.stall_total(now);
        (Self { owner, id, key, stall_total, at: TimerInstant::NEVER, wakes: WakerId::NONE }, now)
    }

    /// A number that no other alarm of its roster has. The first one's is 1.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn owner(&self) -> &O {
        &self.owner
    }

    pub(crate) fn now(&self) -> TimerInstant {
        self.timers().now()
    }

    /// How long the process has stood still since this was asked last, or the alarm was made.
    pub(crate) fn stalled(&mut self, now: TimerInstant) -> Duration {
        let stall_total = self.timers().stall_total(now);
        let stalled = stall_total.since(self.stall_total);
        if !stalled.is_zero() {
            self.stall_total = stall_total;
        }
        stalled
    }

    /// Sets the alarm, unless it is set like that already.
    ///
    /// After this the generation has to be looked at: the same lock is taken after a new one is entered,
    /// so either it is seen then, or the keeper finds this one among the sleepers.
    pub(crate) fn set(&mut self, at: TimerInstant, cx: &Context<'_>) {
        let timers = self.owner.as_ref();
        let wakes = WakerId::of(cx.waker());
        if (self.at, self.wakes) == (at, wakes) {
            return;
        }
        let is_other = self.at == TimerInstant::NEVER || self.wakes != wakes;
        let waker = is_other.then(|| cx.waker().clone());
        drop(timers.slots.set(self.key, at, waker));
        if at.nanos() < timers.next_run.load(Ordering::SeqCst) {
            timers.wake_up.notify_one();
        }
        (self.at, self.wakes) = (at, wakes);
    }

    /// The session has seen the new generation.
    pub(crate) fn count_delivered(&self) {
        self.timers().announcement.count_delivered();
    }

    /// Whether the session, which knows the generation, has to wait because others are still being told
    /// of it. It is woken when all of them were.
    pub(crate) fn must_wait(&self, cx: &Context<'_>) -> bool {
        self.timers().announcement.must_wait(cx)
    }

    fn timers(&self) -> &TimerService {
        self.owner.as_ref()
    }
}

impl<O: AsRef<TimerService>> Drop for TimerHandle<O> {
    fn drop(&mut self) {
        drop(self.timers().slots.remove(self.key));
    }
}
