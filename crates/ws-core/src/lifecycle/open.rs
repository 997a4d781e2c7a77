//! What an open session waits for, and what its peer may still do.

use alloc::boxed::Box;
use core::time::Duration;

use super::timeout::Patience;
use crate::close::{Cause, CloseCode};
use crate::config::{Limits, Rules, Timing};
use crate::rate::Bucket;
use crate::time::Moment;

/// A session in which messages flow.
#[derive(Debug)]
pub(crate) struct Open {
    ping_due: Moment,
    /// When the latest ping was sent, as long as its pong has not come.
    unanswered: Option<Moment>,
    /// There from a ping until the next sign of life.
    pong: Option<Patience>,
    /// Apart from the rest, because most sessions are idle and have none of it.
    busy: Option<Box<Busy>>,
}

#[derive(Debug, Default)]
struct Busy {
    /// There if this side means to end the session at some moment.
    leave: Option<Leave>,
    /// There from the beginning of a message until its end.
    message: Option<Patience>,
    /// There while output is refused.
    write: Option<Patience>,
    messages: Bucket,
    control_frames: Bucket,
    /// When the process last stood still, as long as the buckets hold something for it.
    stalled_at: Option<Moment>,
}

#[derive(Debug)]
struct Leave {
    at: Moment,
    cause: Cause,
    code: CloseCode,
}

impl Open {
    pub(crate) fn new(ping_due: Moment) -> Self {
        Self { ping_due, unanswered: None, pong: None, busy: None }
    }

    pub(crate) fn deadline(&self) -> Moment {
        let until = |patience: &Option<Patience>| patience.as_ref().map(Patience::until);
        // While output waits, the write timeout rules: what is waited for may sit in what is not
        // read then.
        let waits = match self.busy.as_deref() {
            None => [until(&self.pong), None, None],
            Some(Busy { leave, message, write, .. }) => {
                let leave = leave.as_ref().map(|leave| leave.at);
                match write {
                    Some(write) => [Some(write.until()), None, leave],
                    None => [until(&self.pong), until(message), leave],
                }
            }
        };
        waits.into_iter().flatten().fold(self.ping_due, Moment::min)
    }

    /// This side means to end the session, and takes back when it meant to before.
    pub(crate) fn leave_at(&mut self, at: Moment, cause: Cause, code: CloseCode) {
        self.busy().leave = Some(Leave { at, cause, code });
    }

    pub(crate) fn is_leaving(&self, now: Moment) -> Option<(Cause, CloseCode)> {
        let leave = self.busy.as_ref()?.leave.as_ref().filter(|leave| leave.at <= now)?;
        Some((leave.cause, leave.code))
    }

    /// The peer shows that it lives.
    pub(crate) fn hear(&mut self) {
        self.pong = None;
    }

    /// When the latest ping was sent, if it is that which is answered.
    pub(crate) fn answered(&mut self, is_latest: bool) -> Option<Moment> {
        let sent_at = self.unanswered.take_if(|_| is_latest)?;
        if let Some(busy) = &mut self.busy
            && busy.stalled_at.is_some_and(|stalled_at| stalled_at <= sent_at)
        {
            // What the peer had sent while the process stood still has come before this pong.
            busy.stalled_at = None;
            busy.messages.spill();
            busy.control_frames.spill();
        }
        Some(sent_at)
    }

    pub(crate) fn takes_message(&mut self, limits: &Limits, now: Moment) -> bool {
        limits.messages.is_none_or(|rate| self.busy().messages.take(rate, now))
    }

    pub(crate) fn takes_control_frame(&mut self, limits: &Limits, now: Moment) -> bool {
        limits.control_frames.is_none_or(|rate| self.busy().control_frames.take(rate, now))
    }

    /// The process stood still for so long, and what the peer sent meanwhile comes all at once.
    pub(crate) fn forgive(&mut self, stall: Duration, limits: &Limits, now: Moment) {
        if limits.messages.or(limits.control_frames).is_some() {
            let busy = self.busy();
            busy.stalled_at = Some(now);
            busy.messages.forgive(stall, now);
            busy.control_frames.forgive(stall, now);
        }
    }

    pub(crate) fn begin_message(&mut self, limits: &Limits, now: Moment) {
        if let Some(timeout) = limits.message_timeout {
            self.busy().message.get_or_insert_with(|| Patience::new(timeout, now));
        }
    }

    pub(crate) fn end_message(&mut self) {
        if let Some(busy) = &mut self.busy {
            busy.message = None;
        }
    }

    /// Output is refused.
    pub(crate) fn block(&mut self, limits: &Limits, now: Moment) {
        if let Some(timeout) = limits.write_timeout {
            self.busy().write.get_or_insert_with(|| Patience::new(timeout, now));
        }
    }

    /// Output goes on: what was waited for besides has its whole time again.
    pub(crate) fn written(&mut self, rules: &Rules, now: Moment) {
        let Some(busy) = self.busy.as_mut().filter(|busy| busy.write.is_some()) else { return };
        let patience = |timeout| Patience::new(timeout, now);
        busy.write = None;
        busy.message = busy.message.take().and(rules.limits.message_timeout).map(patience);
        self.pong = self.pong.take().map(|_| patience(rules.timing.pong_timeout));
    }

    /// What was waited for in vain. While output waits, that is all that is waited for.
    pub(crate) fn lost_patience(&mut self, rules: &Rules, now: Moment) -> Option<Cause> {
        let is_over = |patience: &mut Option<Patience>, timeout: Option<Duration>| {
            patience.as_mut().zip(timeout).is_some_and(|(it, timeout)| it.is_over(timeout, now))
        };
        let Rules { timing, limits } = rules;
        if let Some(Busy { write: write @ Some(_), .. }) = self.busy.as_deref_mut() {
            return is_over(write, limits.write_timeout).then_some(Cause::WriteTimeout);
        }
        if is_over(&mut self.pong, Some(timing.pong_timeout)) {
            return Some(Cause::PongTimeout);
        }
        let message = &mut self.busy.as_mut()?.message;
        is_over(message, limits.message_timeout).then_some(Cause::MessageTimeout)
    }

    /// One ping is in flight at most: while the peer owes a sign of life, the next one is left out.
    pub(crate) fn is_ping_due(&mut self, timing: &Timing, now: Moment) -> bool {
        let Some(late) = now.checked_since(self.ping_due) else { return false };
        let interval = timing.ping_interval();
        // The phase is kept even after a stall, or all sessions would be in step from then on.
        self.ping_due = now.after(interval - remainder(late, interval));
        if self.pong.is_some() {
            return false;
        }
        self.unanswered = Some(now);
        self.pong = Some(Patience::new(timing.pong_timeout, now));
        true
    }

    /// Forgets what makes no difference any more.
    pub(crate) fn rest(&mut self, now: Moment) {
        self.busy.take_if(|busy| busy.is_over(now));
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }
}

impl Busy {
    fn is_over(&self, now: Moment) -> bool {
        let Self { leave, message, write, messages, control_frames, stalled_at } = self;
        let waits = leave.is_some() || message.is_some() || write.is_some();
        !waits && stalled_at.is_none() && messages.is_as_new(now) && control_frames.is_as_new(now)
    }
}

/// `dividend` modulo `divisor`, which is not zero.
fn remainder(dividend: Duration, divisor: Duration) -> Duration {
    let nanos = dividend.as_nanos() % divisor.as_nanos();
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}
