//! What an open session waits for, and what its peer may still do.

use alloc::boxed::Box;
use core::time::Duration;

use super::timeout::Deadline;
use crate::close::{Cause, CloseCode};
use crate::config::{Limits, SessionConfig, Timing};
use crate::rate::Bucket;
use crate::time::Timestamp;

/// A session in which messages flow.
#[derive(Debug)]
pub(crate) struct Open {
    ping_due: Timestamp,
    /// When the latest ping was sent, as long as its pong has not come.
    unanswered: Option<Timestamp>,
    /// There from a ping until the next sign of life.
    pong: Option<Deadline>,
    /// Apart from the rest, because most sessions are idle and have none of it.
    active: Option<Box<Active>>,
}

#[derive(Debug, Default)]
struct Active {
    /// There if this side means to end the session at some moment.
    scheduled_close: Option<ScheduledClose>,
    /// There from the beginning of a message until its end.
    message: Option<Deadline>,
    /// There while output is refused.
    write: Option<Deadline>,
    messages: Bucket,
    control_frames: Bucket,
    /// When the process last stood still, as long as the buckets hold something for it.
    stalled_at: Option<Timestamp>,
}

#[derive(Debug)]
struct ScheduledClose {
    at: Timestamp,
    cause: Cause,
    code: CloseCode,
}

impl Open {
    pub(crate) fn new(ping_due: Timestamp) -> Self {
        Self { ping_due, unanswered: None, pong: None, active: None }
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        let until = |deadline: &Option<Deadline>| deadline.as_ref().map(Deadline::at);
        // While output waits, the write timeout rules: what is waited for may sit in what is not
        // read then.
        let waits = match self.active.as_deref() {
            None => [until(&self.pong), None, None],
            Some(Active { scheduled_close, message, write, .. }) => {
                let scheduled_close =
                    scheduled_close.as_ref().map(|scheduled_close| scheduled_close.at);
                match write {
                    Some(write) => [Some(write.at()), None, scheduled_close],
                    None => [until(&self.pong), until(message), scheduled_close],
                }
            }
        };
        waits.into_iter().flatten().fold(self.ping_due, Timestamp::min)
    }

    /// This side means to end the session, and takes back when it meant to before.
    pub(crate) fn close_at(&mut self, at: Timestamp, cause: Cause, code: CloseCode) {
        self.active().scheduled_close = Some(ScheduledClose { at, cause, code });
    }

    pub(crate) fn due_close(&self, now: Timestamp) -> Option<(Cause, CloseCode)> {
        let scheduled_close = self
            .active
            .as_ref()?
            .scheduled_close
            .as_ref()
            .filter(|scheduled_close| scheduled_close.at <= now)?;
        Some((scheduled_close.cause, scheduled_close.code))
    }

    /// The peer shows that it lives.
    pub(crate) fn on_activity(&mut self) {
        self.pong = None;
    }

    /// When the latest ping was sent, if it is that which is answered.
    pub(crate) fn take_answered_ping(&mut self, is_latest: bool) -> Option<Timestamp> {
        let sent_at = self.unanswered.take_if(|_| is_latest)?;
        if let Some(active) = &mut self.active
            && active.stalled_at.is_some_and(|stalled_at| stalled_at <= sent_at)
        {
            // What the peer had sent while the process stood still has come before this pong.
            active.stalled_at = None;
            active.messages.clear_credit();
            active.control_frames.clear_credit();
        }
        Some(sent_at)
    }

    pub(crate) fn admit_message(&mut self, limits: &Limits, now: Timestamp) -> bool {
        limits.messages.is_none_or(|rate| self.active().messages.take(rate, now))
    }

    pub(crate) fn admit_control_frame(&mut self, limits: &Limits, now: Timestamp) -> bool {
        limits.control_frames.is_none_or(|rate| self.active().control_frames.take(rate, now))
    }

    /// The process stood still for so long, and what the peer sent meanwhile comes all at once.
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
            self.active().message.get_or_insert_with(|| Deadline::new(timeout, now));
        }
    }

    pub(crate) fn end_message(&mut self) {
        if let Some(active) = &mut self.active {
            active.message = None;
        }
    }

    /// Output is refused.
    pub(crate) fn on_write_blocked(&mut self, limits: &Limits, now: Timestamp) {
        if let Some(timeout) = limits.write_timeout {
            self.active().write.get_or_insert_with(|| Deadline::new(timeout, now));
        }
    }

    /// Output goes on: what was waited for besides has its whole time again.
    pub(crate) fn on_write_progressed(&mut self, config: &SessionConfig, now: Timestamp) {
        let Some(active) = self.active.as_mut().filter(|active| active.write.is_some()) else {
            return;
        };
        let deadline = |timeout| Deadline::new(timeout, now);
        active.write = None;
        active.message = active.message.take().and(config.limits.message_timeout).map(deadline);
        self.pong = self.pong.take().map(|_| deadline(config.timing.pong_timeout));
    }

    /// What was waited for in vain. While output waits, that is all that is waited for.
    pub(crate) fn expired(&mut self, config: &SessionConfig, now: Timestamp) -> Option<Cause> {
        let has_passed = |deadline: &mut Option<Deadline>, timeout: Option<Duration>| {
            deadline.as_mut().zip(timeout).is_some_and(|(it, timeout)| it.has_passed(timeout, now))
        };
        let SessionConfig { timing, limits } = config;
        if let Some(Active { write: write @ Some(_), .. }) = self.active.as_deref_mut() {
            return has_passed(write, limits.write_timeout).then_some(Cause::WriteTimeout);
        }
        if has_passed(&mut self.pong, Some(timing.pong_timeout)) {
            return Some(Cause::PongTimeout);
        }
        let message = &mut self.active.as_mut()?.message;
        has_passed(message, limits.message_timeout).then_some(Cause::MessageTimeout)
    }

    /// One ping is in flight at most: while the peer owes a sign of life, the next one is left out.
    pub(crate) fn is_ping_due(&mut self, timing: &Timing, now: Timestamp) -> bool {
        let Some(late) = now.checked_since(self.ping_due) else { return false };
        let interval = timing.ping_interval();
        // The phase is kept even after a stall, or all sessions would be in step from then on.
        self.ping_due = now.after(interval - remainder(late, interval));
        if self.pong.is_some() {
            return false;
        }
        self.unanswered = Some(now);
        self.pong = Some(Deadline::new(timing.pong_timeout, now));
        true
    }

    /// Forgets what makes no difference any more.
    pub(crate) fn release_idle(&mut self, now: Timestamp) {
        self.active.take_if(|active| active.is_idle(now));
    }

    fn active(&mut self) -> &mut Active {
        self.active.get_or_insert_default()
    }
}

impl Active {
    fn is_idle(&self, now: Timestamp) -> bool {
        let Self { scheduled_close, message, write, messages, control_frames, stalled_at } = self;
        let waits = scheduled_close.is_some() || message.is_some() || write.is_some();
        !waits && stalled_at.is_none() && messages.is_full(now) && control_frames.is_full(now)
    }
}

/// `dividend` modulo `divisor`, which is not zero.
fn remainder(dividend: Duration, divisor: Duration) -> Duration {
    let nanos = dividend.as_nanos() % divisor.as_nanos();
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}
