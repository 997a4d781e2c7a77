//! The open state: its deadlines and its rate limits.

use alloc::boxed::Box;
use core::time::Duration;

use super::timeout::Deadline;
use crate::close::{Cause, CloseCode, CloseFrame};
use crate::config::{Limits, SessionConfig, Timing};
use crate::rate::Bucket;
use crate::snapshot::{self, Snapshot};
use crate::time::{Millis, Timestamp};

/// The state of a session in which messages are exchanged.
#[derive(Debug)]
pub(crate) struct Open {
    ping_due: Timestamp,
    /// When the latest ping was sent; `None` once its pong was received.
    ping_sent_at: Option<Timestamp>,
    /// Set from a ping until the peer sends anything that counts as activity.
    pong_deadline: Option<Deadline>,
    /// Boxed because most sessions are idle and have no such state.
    active: Option<Box<Active>>,
}

#[derive(Debug, Default)]
struct Active {
    scheduled_close: Option<ScheduledClose>,
    /// When the session's permission ends.
    expiry: Option<Timestamp>,
    /// Set while a message is incomplete.
    message_deadline: Option<Deadline>,
    /// Set while the stream accepts no output.
    write_deadline: Option<Deadline>,
    messages: Bucket,
    control_frames: Bucket,
    /// The end of the latest stall; `None` once its credit was cleared.
    stalled_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct ScheduledClose {
    at: Timestamp,
    cause: Cause,
    code: CloseCode,
    /// When the client may come back, counted from the close.
    retry: Option<Millis>,
}

impl Open {
    pub(crate) fn new(ping_due: Timestamp) -> Self {
        Self { ping_due, ping_sent_at: None, pong_deadline: None, active: None }
    }

    /// Returns the state without the statistics, unless a message is incomplete or output waits.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let Self { ping_due, ping_sent_at, pong_deadline, active } = self;
        let mut snapshot = Snapshot {
            ping_due: (*ping_due).into(),
            ping_sent_at: ping_sent_at.map(Duration::from),
            pong_deadline: pong_deadline.as_ref().map(|deadline| deadline.at().into()),
            pong_deadline_is_extended: pong_deadline.as_ref().is_some_and(Deadline::is_extended),
            ..Snapshot::default()
        };
        if let Some(active) = active {
            let Active {
                scheduled_close,
                expiry,
                message_deadline,
                write_deadline,
                messages,
                control_frames,
                stalled_at,
            } = &**active;
            if message_deadline.is_some() || write_deadline.is_some() {
                return None;
            }
            snapshot.scheduled_close = scheduled_close.map(ScheduledClose::into);
            snapshot.expiry = expiry.map(Duration::from);
            snapshot.messages = messages.snapshot();
            snapshot.control_frames = control_frames.snapshot();
            snapshot.stalled_at = stalled_at.map(Duration::from);
        }
        Some(snapshot)
    }

    pub(crate) fn restore(snapshot: &Snapshot) -> Self {
        let Snapshot { ping_due, pong_deadline_is_extended, .. } = *snapshot;
        let deadline = |at| Deadline::restore(Timestamp::from(at), pong_deadline_is_extended);
        let active = Active {
            scheduled_close: snapshot.scheduled_close.map(ScheduledClose::from),
            expiry: snapshot.expiry.map(Timestamp::from),
            message_deadline: None,
            write_deadline: None,
            messages: Bucket::restore(snapshot.messages),
            control_frames: Bucket::restore(snapshot.control_frames),
            stalled_at: snapshot.stalled_at.map(Timestamp::from),
        };
        Self {
            ping_due: ping_due.into(),
            ping_sent_at: snapshot.ping_sent_at.map(Timestamp::from),
            pong_deadline: snapshot.pong_deadline.map(deadline),
            // Most sessions have no such state: they get no box that the next event would drop.
            active: Some(active).filter(|it| !it.is_idle(Timestamp::OPENING)).map(Box::new),
        }
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        let at = |deadline: &Option<Deadline>| deadline.as_ref().map(Deadline::at);
        // While output waits, only the write timeout runs: the frame that another timeout waits for
        // may be in the input, which is not read then.
        let times = match self.active.as_deref() {
            None => [at(&self.pong_deadline), None, None, None],
            Some(Active { scheduled_close, expiry, message_deadline, write_deadline, .. }) => {
                let close_at = scheduled_close.as_ref().map(|close| close.at);
                match write_deadline {
                    Some(write_deadline) => [Some(write_deadline.at()), None, close_at, *expiry],
                    None => [at(&self.pong_deadline), at(message_deadline), close_at, *expiry],
                }
            }
        };
        times.into_iter().flatten().fold(self.ping_due, Timestamp::min)
    }

    /// Schedules a close by this side, in place of one scheduled earlier.
    /// `retry` is the time from then on after which the client may come back.
    pub(crate) fn close_at(
        &mut self,
        at: Timestamp,
        cause: Cause,
        code: CloseCode,
        retry: Option<Duration>,
    ) {
        let retry = retry.map(Millis::from);
        self.active().scheduled_close = Some(ScheduledClose { at, cause, code, retry });
    }

    pub(crate) fn expire_at(&mut self, at: Timestamp) {
        self.active().expiry = Some(at);
    }

    /// Returns the close by this side that is due. The end of the permission comes before a scheduled
    /// close, because that one may invite the client to come back with the same permission.
    pub(crate) fn due_close(&self, now: Timestamp) -> Option<(Cause, CloseFrame)> {
        let active = self.active.as_ref()?;
        if active.expiry.is_some_and(|expiry| expiry <= now) {
            let frame = CloseFrame::for_cause(Cause::Expired, CloseCode::UNAUTHORIZED);
            return Some((Cause::Expired, frame));
        }
        let ScheduledClose { at, cause, code, retry } = *active.scheduled_close.as_ref()?;
        let frame = || match retry {
            Some(retry) => CloseFrame::with_retry(cause, code, retry),
            None => CloseFrame::for_cause(cause, code),
        };
        (at <= now).then(|| (cause, frame()))
    }

    /// Records that the peer is alive: it sent a message, a ping or a pong.
    pub(crate) fn on_activity(&mut self) {
        self.pong_deadline = None;
    }

    /// Processes a pong. If it is the first answer to the latest ping, returns when that was sent.
    pub(crate) fn on_pong(&mut self, is_latest: bool) -> Option<Timestamp> {
        let sent_at = self.ping_sent_at.take_if(|_| is_latest)?;
        if let Some(active) = &mut self.active
            && active.stalled_at.is_some_and(|stalled_at| stalled_at <= sent_at)
        {
            // The ping was sent after the stall, so the input of the stall arrived before this pong.
            active.stalled_at = None;
            active.messages.clear_credit();
            active.control_frames.clear_credit();
        }
        Some(sent_at)
    }

    pub(crate) fn admit_message(&mut self, limits: &Limits, now: Timestamp) -> bool {
        limits.messages.is_none_or(|rate| self.active().messages.take(rate, 1, now))
    }

    pub(crate) fn admit_control_frames(
        &mut self,
        limits: &Limits,
        count: u16,
        now: Timestamp,
    ) -> bool {
        limits.control_frames.is_none_or(|rate| self.active().control_frames.take(rate, count, now))
    }

    /// Credits the rate limits for a time that ended at `now`, and in which nothing was read.
    pub(crate) fn credit_stall(&mut self, stall: Duration, limits: &Limits, now: Timestamp) {
        if limits.messages.or(limits.control_frames).is_some() {
            let active = self.active();
            active.stalled_at = Some(now);
            active.messages.credit_stall(stall, now);
            active.control_frames.credit_stall(stall, now);
        }
    }

    pub(crate) fn begin_message(&mut self, limits: &Limits, now: Timestamp) {
        if let Some(timeout) = limits.message_timeout {
            self.active().message_deadline.get_or_insert_with(|| Deadline::new(timeout, now));
        }
    }

    pub(crate) fn end_message(&mut self) {
        if let Some(active) = &mut self.active {
            active.message_deadline = None;
        }
    }

    pub(crate) fn on_write_blocked(&mut self, limits: &Limits, now: Timestamp) {
        if let Some(timeout) = limits.write_timeout {
            self.active().write_deadline.get_or_insert_with(|| Deadline::new(timeout, now));
        }
    }

    /// Ends the write timeout. The timeouts that it suspended go on with the time that was left: output that
    /// waits for a moment again and again must not keep a dead peer. The input that arrived meanwhile, and
    /// was not read, has the tokens of that time.
    pub(crate) fn on_write_progressed(&mut self, config: &SessionConfig, now: Timestamp) {
        let SessionConfig { timing, limits } = config;
        let Some(active) = &mut self.active else { return };
        let Some(write_deadline) = active.write_deadline.take() else { return };
        let blocked_at = write_deadline.start(limits.write_timeout.unwrap_or_default());
        let resume = |deadline: &mut Deadline, timeout| {
            if write_deadline.is_extended() {
                // The process stalled meanwhile, and when the output began to wait is not known.
                *deadline = Deadline::new(timeout, now);
            } else {
                deadline.resume(blocked_at, timeout, now);
            }
        };
        if let Some(deadline) = &mut self.pong_deadline {
            resume(deadline, timing.pong_timeout);
        }
        if let Some((deadline, timeout)) =
            active.message_deadline.as_mut().zip(limits.message_timeout)
        {
            resume(deadline, timeout);
        }
        self.credit_stall(now.since(blocked_at), limits, now);
    }

    /// Returns the cause of the timeout that has expired. While output waits, only the write timeout
    /// runs.
    pub(crate) fn expired(&mut self, config: &SessionConfig, now: Timestamp) -> Option<Cause> {
        let has_passed = |deadline: &mut Option<Deadline>, timeout: Option<Duration>| {
            deadline
                .as_mut()
                .zip(timeout)
                .is_some_and(|(deadline, timeout)| deadline.has_passed(timeout, now))
        };
        let SessionConfig { timing, limits } = config;
        if let Some(active) = self.active.as_deref_mut()
            && let Some(write_deadline) = &mut active.write_deadline
        {
            let timeout = limits.write_timeout?;
            return write_deadline.has_passed(timeout, now).then_some(Cause::WriteTimeout);
        }
        if has_passed(&mut self.pong_deadline, Some(timing.pong_timeout)) {
            return Some(Cause::PongTimeout);
        }
        let message_deadline = &mut self.active.as_mut()?.message_deadline;
        has_passed(message_deadline, limits.message_timeout).then_some(Cause::MessageTimeout)
    }

    /// Returns whether a regular ping is due, and schedules the next one.
    ///
    /// A regular ping is skipped while the pong timeout of an earlier one runs.
    pub(crate) fn take_due_ping(&mut self, timing: &Timing, now: Timestamp) -> bool {
        let Some(lateness) = now.checked_since(self.ping_due) else { return false };
        let interval = timing.ping_interval();
        // Pings keep their phase after a stall; otherwise all sessions would ping at the same time from
        // then on.
        self.ping_due = now.after(interval - remainder(lateness, interval));
        self.pong_deadline.is_none()
    }

    /// Records that a ping is sent now. A pong timeout that runs goes on: otherwise pings that are requested
    /// often enough would keep a dead peer.
    pub(crate) fn begin_ping(&mut self, timing: &Timing, now: Timestamp) {
        self.ping_sent_at = Some(now);
        self.pong_deadline.get_or_insert_with(|| Deadline::new(timing.pong_timeout, now));
    }

    /// Frees the active state once it no longer has an effect.
    pub(crate) fn release_idle(&mut self, now: Timestamp) {
        self.active.take_if(|active| active.is_idle(now));
    }

    fn active(&mut self) -> &mut Active {
        self.active.get_or_insert_default()
    }
}

impl From<ScheduledClose> for snapshot::ScheduledClose {
    fn from(ScheduledClose { at, cause, code, retry }: ScheduledClose) -> Self {
        let retry = retry.map(|retry| Duration::from_millis(retry.get().into()));
        Self { at: at.into(), cause, code, retry }
    }
}

impl From<snapshot::ScheduledClose> for ScheduledClose {
    fn from(snapshot: snapshot::ScheduledClose) -> Self {
        let snapshot::ScheduledClose { at, cause, code, retry } = snapshot;
        Self { at: at.into(), cause, code, retry: retry.map(Millis::from) }
    }
}

impl Active {
    fn is_idle(&self, now: Timestamp) -> bool {
        let Self {
            scheduled_close,
            expiry,
            message_deadline,
            write_deadline,
            messages,
            control_frames,
            stalled_at,
        } = self;
        scheduled_close.is_none()
            && expiry.is_none()
            && message_deadline.is_none()
            && write_deadline.is_none()
            && stalled_at.is_none()
            && messages.is_full(now)
            && control_frames.is_full(now)
    }
}

/// Returns `dividend` modulo `divisor`, which must not be zero.
fn remainder(dividend: Duration, divisor: Duration) -> Duration {
    let nanos = dividend.as_nanos() % divisor.as_nanos();
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}
