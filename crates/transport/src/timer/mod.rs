//! The timers of tasks, and the announcement that wakes all these tasks.
//!
//! Each task has one timer: a [`TimerHandle`] sets its deadline and its waker. One further task,
//! [`TimerService::run`], wakes the tasks whose deadlines have passed, and all of them when a new
//! generation is announced. A tokio timer and a channel would take some 300 bytes for each task; this
//! takes 25.
//!
//! This module knows neither sessions nor drains: the owner of the service announces generations, which
//! are numbers, and defines what they mean. Nor is it a clock: `instant` is only the representation of
//! an instant.
//!
//! Read this file first: it has the service and the handle. `slots` stores the deadlines and the wakers,
//! `announcement` wakes all tasks for a new generation without delaying other tasks, and `stall`
//! detects that the process itself stalled.

mod announcement;
mod instant;
mod slots;
mod stall;

use std::task::{Context, Waker};
use std::time::Duration;

use self::announcement::Announcement;
pub(crate) use self::instant::TimerInstant;
use self::slots::{Slots, TimerKey};
use self::stall::{StallDetector, StallTotal, TICK};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Instant, Notify, timeout_at, yield_now};
use crate::waker_id::WakerId;

/// The state that all timers share: their slots, the latest announcement and the stall detector.
#[derive(Debug)]
pub(crate) struct TimerService {
    stall_detector: StallDetector,
    announcement: Announcement,
    start: Instant,
    next_id: AtomicU64,
    slots: Slots,
    /// The scheduled time of the next run, in nanoseconds since `start`; `u64::MAX` while the task runs.
    next_run: AtomicU64,
    /// Starts a run ahead of its schedule.
    run_now: Notify,
}

/// The least time from a run that looked for due timers to the next scheduled run, in which deadlines
/// accumulate. Waking tasks together costs less than one after the other, and no deadline here needs
/// more precision than this.
const COALESCE: Duration = Duration::from_millis(50);

/// The tasks that [`TimerService::wake_all`] wakes before it yields.
const WAKE_BATCH: usize = 64;

impl Default for TimerService {
    fn default() -> Self {
        Self {
            stall_detector: StallDetector::default(),
            announcement: Announcement::default(),
            start: Instant::now(),
            next_id: AtomicU64::new(1),
            slots: Slots::default(),
            next_run: AtomicU64::new(u64::MAX),
            run_now: Notify::new(),
        }
    }
}

impl TimerService {
    /// Returns the generation that was announced last, or zero before the first.
    pub(crate) fn generation(&self) -> u8 {
        self.announcement.generation()
    }

    /// Announces a generation, for which all tasks are woken.
    pub(crate) fn announce(&self, generation: u8) {
        self.announcement.announce(generation);
        self.run_now.notify_one();
    }

    /// Returns the id of the next timer.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Assigns no id below `first` from now on.
    pub(crate) fn skip_ids_below(&self, first: u64) {
        self.next_id.fetch_max(first, Ordering::Relaxed);
    }

    /// Wakes all tasks, in batches, so that others run in between.
    pub(crate) async fn wake_all(&self) {
        for (index, waker) in (1..).zip(self.slots.all()) {
            waker.wake();
            if index % WAKE_BATCH == 0 {
                yield_now().await;
            }
        }
    }

    fn now(&self) -> TimerInstant {
        TimerInstant::START + self.start.elapsed()
    }

    fn stall_total(&self, now: TimerInstant) -> StallTotal {
        self.stall_detector.stall_total(now.since(TimerInstant::START))
    }

    /// Wakes tasks at their deadlines and for announcements, and ticks the stall detector, until the
    /// future is dropped.
    pub(crate) async fn run(&self) {
        let mut generation = 0;
        loop {
            if self.generation() != generation {
                generation = self.generation();
                self.announcement.wake_all(&self.slots).await;
            }
            let now = self.now();
            self.stall_detector.tick(now.since(TimerInstant::START));
            // Before the scan: a timer that is set during it notifies `run_now` in any case, because its
            // shard may have been scanned already.
            self.next_run.store(u64::MAX, Ordering::SeqCst);
            let mut earliest = now;
            if let Some(due) = self.slots.take_due(now) {
                due.for_each(Waker::wake);
                earliest = now + COALESCE;
            }
            let next = self.slots.earliest().min(now + TICK).max(earliest);
            self.next_run.store(next.nanos(), Ordering::SeqCst);
            let next = self.start + next.since(TimerInstant::START);
            let _ = timeout_at(next, self.run_now.notified()).await;
        }
    }
}

/// The timer of one task.
///
/// It reaches the service through `O`. So a task needs one pointer for the service and for the other
/// state that `O` refers to.
#[derive(Debug)]
pub(crate) struct TimerHandle<O: AsRef<TimerService>> {
    owner: O,
    id: u64,
    key: TimerKey,
    /// The total when [`stalled`](Self::stalled) last returned a stall.
    stall_total: StallTotal,
    /// The latest deadline that was set; `NEVER` before the first.
    deadline: TimerInstant,
    /// Identifies the waker in the slot.
    waker_id: WakerId,
}

impl<O: AsRef<TimerService>> TimerHandle<O> {
    /// Returns a timer without a deadline, and the instant at which it was created.
    pub(crate) fn new(owner: O) -> (Self, TimerInstant) {
        let id = owner.as_ref().next_id.fetch_add(1, Ordering::Relaxed);
        Self::with_id(owner, id)
    }

    /// Like [`new`](Self::new), with an id that the service must not assign
    /// ([`skip_ids_below`](TimerService::skip_ids_below)).
    pub(crate) fn with_id(owner: O, id: u64) -> (Self, TimerInstant) {
        let timers = owner.as_ref();
        let now = timers.now();
        let key = timers.slots.insert(id - 1);
        let stall_total = timers.stall_total(now);
        let (deadline, waker_id) = (TimerInstant::NEVER, WakerId::NONE);
        (Self { owner, id, key, stall_total, deadline, waker_id }, now)
    }

    /// Returns a number that is unique among the timers of the service. The first is 1.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns whether no deadline was set yet.
    pub(crate) fn is_unset(&self) -> bool {
        self.deadline == TimerInstant::NEVER
    }

    pub(crate) fn owner(&self) -> &O {
        &self.owner
    }

    pub(crate) fn now(&self) -> TimerInstant {
        self.timers().now()
    }

    /// Returns how long the process has stalled since the previous call, or since the timer was created.
    pub(crate) fn stalled(&mut self, now: TimerInstant) -> Duration {
        let stall_total = self.timers().stall_total(now);
        let stalled = stall_total.since(self.stall_total);
        if !stalled.is_zero() {
            self.stall_total = stall_total;
        }
        stalled
    }

    /// Counts a time in which this task did not run as a stall, for the next call of
    /// [`stalled`](Self::stalled). One that the detector would not call a stall is not counted.
    pub(crate) fn count_stall(&mut self, time: Duration) {
        if time > TICK {
            self.stall_total = self.stall_total.before(time);
        }
    }

    /// Sets the deadline and the waker, unless both are set already.
    ///
    /// The caller has to check the generation after this. A new generation is stored before
    /// [`wake_all`](Announcement::wake_all) takes the lock that is taken here: either the caller sees
    /// the new generation, or `wake_all` finds this waker in its slot.
    pub(crate) fn set(&mut self, deadline: TimerInstant, cx: &Context<'_>) {
        let timers = self.owner.as_ref();
        let waker_id = WakerId::of(cx.waker());
        if (self.deadline, self.waker_id) == (deadline, waker_id) {
            return;
        }
        let is_new_waker = self.deadline == TimerInstant::NEVER || self.waker_id != waker_id;
        let waker = is_new_waker.then(|| cx.waker().clone());
        drop(timers.slots.set(self.key, deadline, waker));
        if deadline.nanos() < timers.next_run.load(Ordering::SeqCst) {
            timers.run_now.notify_one();
        }
        (self.deadline, self.waker_id) = (deadline, waker_id);
    }

    /// Counts that this task has seen the new generation.
    pub(crate) fn count_delivered(&self) {
        self.timers().announcement.count_delivered();
    }

    /// Returns whether this task, which has seen the generation, must wait because the delivery to other
    /// tasks is still running. It is woken when the delivery ends.
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
