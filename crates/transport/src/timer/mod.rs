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
pub(crate) use self::instant::Moment;
use self::slots::{Seat, Sleepers};
use self::stall::{BEAT, Pulse, Stalls};
use crate::waker_id::WakerId;

/// What sessions share: what was announced to them, the pulse, and an alarm clock.
#[derive(Debug)]
pub(crate) struct Roster {
    pulse: Pulse,
    announcement: Announcement,
    born: Instant,
    next_number: AtomicU64,
    sleepers: Sleepers,
    /// When the keeper looks again by itself, and what calls it before that.
    keeper_sleeps_until: AtomicU64,
    keeper: Notify,
}

/// How long the keeper lets deadlines gather when it has just looked for some. Sessions that wake up
/// together cost less than one after the other, and none has a deadline for which this is late.
const GATHERING: Duration = Duration::from_millis(50);

impl Default for Roster {
    fn default() -> Self {
        Self {
            pulse: Pulse::default(),
            announcement: Announcement::default(),
            born: Instant::now(),
            next_number: AtomicU64::new(1),
            sleepers: Sleepers::default(),
            keeper_sleeps_until: AtomicU64::new(u64::MAX),
            keeper: Notify::new(),
        }
    }
}

impl Roster {
    /// What was announced last; zero, as long as nothing was.
    pub(crate) fn generation(&self) -> u8 {
        self.announcement.generation()
    }

    /// Announces a generation, for which everyone who sleeps is woken.
    pub(crate) fn announce(&self, generation: u8) {
        self.announcement.enter(generation);
        self.keeper.notify_one();
    }

    fn now(&self) -> Moment {
        Moment::BIRTH + self.born.elapsed()
    }

    fn stalls(&self, now: Moment) -> Stalls {
        self.pulse.stalls(now.since(Moment::BIRTH))
    }

    /// Wakes sessions at their deadlines and beats the pulse, until it is dropped.
    pub(crate) async fn keep(&self) {
        let mut generation = 0;
        loop {
            if self.generation() != generation {
                generation = self.generation();
                self.announcement.wake_all(&self.sleepers).await;
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
}

/// A session's seat in the roster, which it reaches by `O`: so one pointer does for this and for what
/// else of a session's stands beside the roster.
#[derive(Debug)]
pub(crate) struct Alarm<O: AsRef<Roster>> {
    owner: O,
    number: u64,
    seat: Seat,
    /// As far as somebody has asked.
    stalls: Stalls,
    /// When it rings; never, as long as it has not been set.
    at: Moment,
    /// Whom it wakes.
    wakes: WakerId,
}

impl<O: AsRef<Roster>> Alarm<O> {
    /// An alarm that is not set, and the moment at which it was made.
    pub(crate) fn new(owner: O) -> (Self, Moment) {
        let roster = owner.as_ref();
        let now = roster.now();
        let number = roster.next_number.fetch_add(1, Ordering::Relaxed);
        let seat = roster.sleepers.enter(number - 1);
        let stalls = roster.stalls(now);
        (Self { owner, number, seat, stalls, at: Moment::NEVER, wakes: WakerId::NONE }, now)
    }

    /// A number that no other alarm of its roster has. The first one's is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn owner(&self) -> &O {
        &self.owner
    }

    pub(crate) fn now(&self) -> Moment {
        self.roster().now()
    }

    /// How long the process has stood still since this was asked last, or the alarm was made.
    pub(crate) fn stalled(&mut self, now: Moment) -> Duration {
        let stalls = self.roster().stalls(now);
        let stalled = stalls.since(self.stalls);
        if !stalled.is_zero() {
            self.stalls = stalls;
        }
        stalled
    }

    /// Sets the alarm, unless it is set like that already.
    ///
    /// After this the generation has to be looked at: the same lock is taken after a new one is entered,
    /// so either it is seen then, or the keeper finds this one among the sleepers.
    pub(crate) fn set(&mut self, at: Moment, cx: &Context<'_>) {
        let roster = self.owner.as_ref();
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

    /// The session has seen the new generation.
    pub(crate) fn count_told(&self) {
        self.roster().announcement.count_told();
    }

    /// Whether the session, which knows the generation, has to wait because others are still being told
    /// of it. It is woken when all of them were.
    pub(crate) fn has_to_wait(&self, cx: &Context<'_>) -> bool {
        self.roster().announcement.has_to_wait(cx)
    }

    fn roster(&self) -> &Roster {
        self.owner.as_ref()
    }
}

impl<O: AsRef<Roster>> Drop for Alarm<O> {
    fn drop(&mut self) {
        drop(self.roster().sleepers.leave(self.seat));
    }
}
