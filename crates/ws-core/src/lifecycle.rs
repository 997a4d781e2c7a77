//! The machine. Everything that changes a session's state stands in this file.

use alloc::sync::Arc;
use core::mem;
use core::time::Duration;

use crate::close::{CloseCode, CloseFrame, Reason};
use crate::closure::{Cause, Closure, ClosureCode, Initiator, Progress};
use crate::event::{Action, Event, PingPayload};
use crate::limits::{Bucket, Limits};
use crate::moment::Moment;
use crate::patience::{Patience, at_least_shortest};

/// How long things take. A value below a millisecond counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// From a ping to the moment when a peer that has said nothing since is given up.
    pub pong_timeout: Duration,
    /// From a Close frame to the moment when an unfinished closing handshake is given up.
    pub close_timeout: Duration,
    /// How old a session gets before it is closed; `None` is as old as it likes.
    pub max_age: Option<Duration>,
}

impl Timing {
    fn ping_interval(&self) -> Duration {
        at_least_shortest(self.ping_interval)
    }
}

/// What holds for every session of an endpoint. The sessions share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// When to ping, and how long to wait for the peer.
    pub timing: Timing,
    /// What the peer may do beyond what the protocol forbids.
    pub limits: Limits,
}

/// The life of one session, from the 101 to its end.
///
/// There is one method that takes something in, [`handle`](Self::handle), and there are getters.
/// `now` is the time since the session opened and does not go back. Times are kept in nanoseconds
/// and end after 584 years.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, Event, Lifecycle, Limits, Rules, Timing};
///
/// let timing = Timing {
///     ping_interval: Duration::from_secs(25),
///     pong_timeout: Duration::from_secs(10),
///     close_timeout: Duration::from_secs(3),
///     max_age: None,
/// };
/// let rules = Rules { timing, limits: Limits::default() };
/// let mut session = Lifecycle::new(Arc::new(rules), 0);
///
/// let due = session.deadline().unwrap();
/// let Some(Action::Ping(payload)) = session.handle(Event::Tick, due) else { panic!() };
/// session.handle(Event::Pong(&payload), due + Duration::from_millis(40));
/// assert_eq!(session.progress().round_trip, Some(Duration::from_millis(40)));
/// ```
#[derive(Debug)]
pub struct Lifecycle {
    rules: Arc<Rules>,
    state: State,
    jitter: u32,
    progress: Progress,
}

#[derive(Debug)]
enum State {
    /// Messages flow.
    Open(Open),
    /// A Close frame went one way or the other, and the handshake is not complete.
    Closing(Closing),
    /// The session is over.
    Closed,
}

#[derive(Debug)]
struct Open {
    ping_due: Moment,
    /// There if this side means to end the session at some moment.
    leave: Option<Leave>,
    /// When the latest ping was sent, as long as its pong has not come.
    unanswered: Option<Moment>,
    /// There from a ping until the next sign of life.
    pong: Option<Patience>,
    /// There from the beginning of a message until its end.
    message: Option<Patience>,
    /// There while output is refused.
    write: Option<Patience>,
    messages: Bucket,
    control_frames: Bucket,
}

#[derive(Debug)]
struct Leave {
    at: Moment,
    cause: Cause,
    code: CloseCode,
}

#[derive(Debug)]
struct Closing {
    cause: Cause,
    /// What the peer said or was told; `None` is a Close frame without a body.
    frame: Option<CloseFrame>,
    initiator: Initiator,
    patience: Patience,
}

impl Lifecycle {
    /// A session that has just opened.
    ///
    /// `jitter` is this session's place among all that there are, anywhere between 0 and `u32::MAX`.
    /// Its first ping comes at 0.9 to 1.0 of the interval and its end at 0.9 to 1.0 of the greatest
    /// age, so that sessions which opened together do not stay in step; and so they leave a server
    /// one after the other: see [`Event::Drain`].
    #[must_use]
    pub fn new(rules: Arc<Rules>, jitter: u32) -> Self {
        let early = |time: Duration| time - part(time / 10, jitter);
        let Timing { max_age, .. } = rules.timing;
        Self {
            state: State::Open(Open {
                ping_due: early(rules.timing.ping_interval()).into(),
                leave: max_age.map(|age| Leave {
                    at: early(at_least_shortest(age)).into(),
                    cause: Cause::MaxAge,
                    code: CloseCode::GOING_AWAY,
                }),
                unanswered: None,
                pong: None,
                message: None,
                write: None,
                messages: Bucket::default(),
                control_frames: Bucket::default(),
            }),
            rules,
            jitter,
            progress: Progress::default(),
        }
    }

    /// Takes in what happened at `now`, and says what to do about it.
    ///
    /// Every event tells the time, and the deadlines are looked at on each, so neither a flood of
    /// frames nor a talkative application keeps a ping from being sent.
    pub fn handle(&mut self, event: Event<'_>, now: Duration) -> Option<Action> {
        let now = Moment::from(now);
        match mem::replace(&mut self.state, State::Closed) {
            State::Open(open) => self.handle_open(open, event, now),
            State::Closing(closing) => self.handle_closing(closing, event, now),
            State::Closed => None,
        }
    }

    /// When to call [`handle`](Self::handle) again at the latest, with [`Event::Tick`] if nothing
    /// else happened. It always lies after the last `now`, and is `None` when the session is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Open(open) => Some(open.deadline().into()),
            State::Closing(closing) => Some(closing.patience.until().into()),
            State::Closed => None,
        }
    }

    /// Whether messages may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// What has been counted and measured so far.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    fn handle_open(&mut self, mut open: Open, event: Event<'_>, now: Moment) -> Option<Action> {
        let Rules { timing, limits } = *self.rules;
        match event {
            Event::Close { cause, frame } => return Some(self.close(cause, frame, now)),
            Event::Violation(violation) => {
                return Some(self.close(violation.cause(), violation.close_frame(), now));
            }
            Event::PeerClose(frame) => {
                let bytes = frame.as_ref().map_or(0, CloseFrame::payload_len);
                self.progress.received.add(bytes);
                self.progress.sent.add(bytes); // The codec's echo (RFC 6455, section 5.5.1).
                self.begin_closing(Cause::PeerClosed, frame, Initiator::Peer, now);
                return None;
            }
            Event::Disconnected | Event::Finished => {
                return Some(Action::End(self.abnormal_closure(Cause::Disconnected, now)));
            }
            Event::Drain { code, spread } => {
                let at = now.after(part(spread, self.jitter));
                open.leave = Some(Leave { at, cause: Cause::Drained, code });
            }
            Event::Message { bytes } => {
                self.progress.received.add(bytes);
                open.pong = None;
                open.message = None;
                if !open.messages.take(limits.messages, now) {
                    return Some(self.refuse(Cause::RateLimited, now));
                }
            }
            Event::Ping { bytes } => {
                self.progress.received.add(bytes);
                self.progress.sent.add(bytes); // The codec's pong (RFC 6455, section 5.5.2).
                open.pong = None;
                if !open.control_frames.take(limits.control_frames, now) {
                    return Some(self.refuse(Cause::RateLimited, now));
                }
            }
            Event::Pong(payload) => {
                self.progress.received.add(payload.len());
                open.pong = None;
                let is_latest = payload == latest_ping(&self.progress);
                if let Some(sent_at) = open.unanswered.take_if(|_| is_latest) {
                    self.progress.pongs = self.progress.pongs.wrapping_add(1);
                    self.progress.round_trip = Some(now.since(sent_at));
                } else if !open.control_frames.take(limits.control_frames, now) {
                    return Some(self.refuse(Cause::RateLimited, now));
                }
            }
            Event::Complete => open.message = None,
            Event::Partial => {
                let patience = |timeout| Patience::new(timeout, now);
                open.message = open.message.or(limits.message_timeout.map(patience));
            }
            Event::Blocked => {
                let patience = |timeout| Patience::new(timeout, now);
                open.write = open.write.or(limits.write_timeout.map(patience));
            }
            Event::Written => open.written(&self.rules, now),
            Event::Sent { bytes } => self.progress.sent.add(bytes),
            Event::Stalled(time) => {
                open.messages.forgive(time, now);
                open.control_frames.forgive(time, now);
            }
            Event::Tick => {}
        }

        if let Some(cause) = open.lost_patience(&self.rules, now) {
            // Who does not read, or shows no sign of life, would not read a Close frame.
            let is_reading = cause == Cause::MessageTimeout;
            return Some(if is_reading {
                self.refuse(cause, now)
            } else {
                Action::End(self.abnormal_closure(cause, now))
            });
        }
        if let Some(Leave { cause, code, .. }) = open.leave.take_if(|leave| leave.at <= now) {
            return Some(self.close(cause, CloseFrame::for_cause(cause, code), now));
        }
        let is_due = open.is_ping_due(&timing, now);
        self.state = State::Open(open);
        is_due.then(|| {
            self.progress.pings = self.progress.pings.wrapping_add(1);
            let payload = latest_ping(&self.progress);
            self.progress.sent.add(payload.len());
            Action::Ping(payload)
        })
    }

    fn handle_closing(
        &mut self,
        mut closing: Closing,
        event: Event<'_>,
        now: Moment,
    ) -> Option<Action> {
        match event {
            Event::Finished => {
                let closure = self.unclean_closure(closing, now);
                return Some(Action::End(Closure { clean: true, ..closure }));
            }
            Event::Disconnected | Event::Violation(_) => {
                return Some(Action::End(self.unclean_closure(closing, now)));
            }
            Event::Message { bytes } | Event::Ping { bytes } => self.progress.received.add(bytes),
            Event::Pong(payload) => self.progress.received.add(payload.len()),
            Event::PeerClose(frame) => {
                self.progress.received.add(frame.as_ref().map_or(0, CloseFrame::payload_len));
            }
            Event::Blocked
            | Event::Close { .. }
            | Event::Complete
            | Event::Drain { .. }
            | Event::Partial
            | Event::Sent { .. }
            | Event::Stalled(_)
            | Event::Tick
            | Event::Written => {}
        }

        if closing.patience.is_over(self.rules.timing.close_timeout, now) {
            return Some(Action::End(self.unclean_closure(closing, now)));
        }
        self.state = State::Closing(closing);
        None
    }

    /// Closes a session whose peer does what our policy forbids, and RFC 6455 does not.
    fn refuse(&mut self, cause: Cause, now: Moment) -> Action {
        self.close(cause, CloseFrame::for_cause(cause, CloseCode::POLICY_VIOLATION), now)
    }

    fn close(&mut self, cause: Cause, frame: CloseFrame, now: Moment) -> Action {
        self.progress.sent.add(frame.payload_len());
        self.begin_closing(cause, Some(frame.clone()), Initiator::Local, now);
        Action::Close(frame)
    }

    fn begin_closing(
        &mut self,
        cause: Cause,
        frame: Option<CloseFrame>,
        initiator: Initiator,
        now: Moment,
    ) {
        let patience = Patience::new(self.rules.timing.close_timeout, now);
        self.state = State::Closing(Closing { cause, frame, initiator, patience });
    }

    /// The record of a session whose closing handshake was left unfinished.
    fn unclean_closure(&self, closing: Closing, now: Moment) -> Closure {
        let (code, reason) = match closing.frame {
            Some(frame) => (ClosureCode::Frame(frame.code), frame.reason),
            None => (ClosureCode::NoStatus, Reason::default()),
        };
        Closure {
            code,
            reason,
            initiator: closing.initiator,
            ..self.abnormal_closure(closing.cause, now)
        }
    }

    /// The record of a session in which no Close frame was sent or seen.
    fn abnormal_closure(&self, cause: Cause, now: Moment) -> Closure {
        let Progress { round_trip, received, sent, .. } = self.progress;
        Closure {
            cause,
            code: ClosureCode::Abnormal,
            reason: Reason::default(),
            clean: false,
            initiator: Initiator::Nobody,
            duration: now.into(),
            round_trip,
            received,
            sent,
        }
    }
}

impl Open {
    fn deadline(&self) -> Moment {
        let until = |patience: &Option<Patience>| patience.as_ref().map(Patience::until);
        // While output waits, the write timeout rules: what is waited for may sit in what is not
        // read then.
        let waits = match &self.write {
            Some(write) => [Some(write.until()), None],
            None => [until(&self.pong), until(&self.message)],
        };
        let leave = self.leave.as_ref().map(|leave| leave.at);
        waits.into_iter().chain([leave]).flatten().fold(self.ping_due, Moment::min)
    }

    /// Output goes on: what was waited for besides has its whole time again.
    fn written(&mut self, rules: &Rules, now: Moment) {
        if self.write.take().is_none() {
            return;
        }
        let patience = |timeout| Patience::new(timeout, now);
        self.pong = self.pong.take().map(|_| patience(rules.timing.pong_timeout));
        self.message = self.message.take().and(rules.limits.message_timeout).map(patience);
    }

    /// What was waited for in vain. While output waits, that is all that is waited for.
    fn lost_patience(&mut self, rules: &Rules, now: Moment) -> Option<Cause> {
        let is_over = |patience: &mut Option<Patience>, timeout: Option<Duration>| {
            patience.as_mut().zip(timeout).is_some_and(|(it, timeout)| it.is_over(timeout, now))
        };
        let Rules { timing, limits } = rules;
        if self.write.is_some() {
            is_over(&mut self.write, limits.write_timeout).then_some(Cause::WriteTimeout)
        } else if is_over(&mut self.pong, Some(timing.pong_timeout)) {
            Some(Cause::PongTimeout)
        } else {
            is_over(&mut self.message, limits.message_timeout).then_some(Cause::MessageTimeout)
        }
    }

    /// One ping is in flight at most: while the peer owes a sign of life, the next one is left out.
    fn is_ping_due(&mut self, timing: &Timing, now: Moment) -> bool {
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
}

/// What stands in the latest ping, and in no other of this session.
fn latest_ping(progress: &Progress) -> PingPayload {
    progress.pings.to_be_bytes()
}

/// As much of `whole` as `place` is of the greatest number.
fn part(whole: Duration, place: u32) -> Duration {
    let nanos = whole.as_nanos() * u128::from(place) / u128::from(u32::MAX);
    u64::try_from(nanos).map_or(whole, Duration::from_nanos)
}

/// `dividend` modulo `divisor`, which is not zero.
fn remainder(dividend: Duration, divisor: Duration) -> Duration {
    let nanos = dividend.as_nanos() % divisor.as_nanos();
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}
