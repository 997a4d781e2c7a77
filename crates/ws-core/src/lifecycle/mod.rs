//! The machine: what becomes of a session at each event.
//!
//! It decides and does nothing else: what comes in and goes out is in `event`, what a session ends with
//! in `close`, and what was decided beforehand in `config`. Read this file first, which has the three
//! states; `open` is what one of them waits for, and `timeout` how long the peer is waited for.

mod open;
mod timeout;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use core::time::Duration;

use self::open::Open;
use self::timeout::Deadline;
use crate::close::{
    Cause, CloseCode, CloseFrame, CloseRecord, CloseStatus, Counters, Initiator, Reason, Stats,
};
use crate::config::SessionConfig;
use crate::event::{Action, Event, PingPayload};
use crate::time::{Timestamp, at_least_1_ms};

/// A session's places among all that there are, each anywhere from 0 to `u32::MAX`, so that those which
/// opened together do not all stay in step. One number is both.
///
/// Whoever has all sessions spreads the places evenly. A client, which is one of many that do not know
/// each other, draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Brings the first ping forward, and with it all others, by up to a tenth of the interval.
    pub ping: u32,
    /// Brings the end at the greatest age forward, by up to a tenth of that.
    pub end: u32,
}

impl From<u32> for Jitter {
    fn from(both: u32) -> Self {
        Self { ping: both, end: both }
    }
}

/// The life of one session, from its opening to its end.
///
/// There is one method that takes something in, [`handle`](Self::handle), and there are getters.
/// `now` is the time since the session opened and does not go back. Times are kept in nanoseconds
/// and end after 584 years.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, Event, Lifecycle, Limits, SessionConfig, Timing};
///
/// let timing = Timing {
///     ping_interval: Duration::from_secs(25),
///     pong_timeout: Duration::from_secs(10),
///     close_timeout: Duration::from_secs(3),
///     max_age: None,
/// };
/// let config = SessionConfig { timing, limits: Limits::default() };
/// let mut session = Lifecycle::new(Arc::new(config), 0);
///
/// let due = session.deadline().unwrap();
/// let Some(Action::Ping(payload)) = session.handle(Event::Tick, due) else { panic!() };
/// session.handle(Event::Pong(&payload), due + Duration::from_millis(40));
/// assert_eq!(session.stats().round_trip, Some(Duration::from_millis(40)));
///
/// assert!(session.is_open());
/// session.handle(Event::PeerClose(None), due * 2);
/// assert!(!session.is_open());
/// assert_eq!(session.deadline(), Some(due * 2 + timing.close_timeout));
/// ```
#[derive(Debug)]
pub struct Lifecycle {
    config: Arc<SessionConfig>,
    state: State,
    pings: u32,
    pongs: u32,
    /// The moment at which the latest pong would have come to a ping sent at the opening.
    round_trip: Option<Timestamp>,
    received: Counters,
    sent: Counters,
}

#[derive(Debug)]
enum State {
    /// Messages flow.
    Open(Open),
    /// A Close frame went one way or the other, and the handshake is not complete.
    Closing(Box<Closing>),
    /// The session is over.
    Closed,
}

#[derive(Debug)]
struct Closing {
    cause: Cause,
    /// What the peer said or was told; `None` is a Close frame without a body.
    frame: Option<CloseFrame>,
    initiator: Initiator,
    deadline: Deadline,
}

impl Lifecycle {
    /// A session that has just opened.
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, jitter: impl Into<Jitter>) -> Self {
        let jitter = jitter.into();
        let early = |time: Duration, place| time - fraction(time / 10, place);
        let mut open = Open::new(early(config.timing.ping_interval(), jitter.ping).into());
        if let Some(age) = config.timing.max_age {
            let at = early(at_least_1_ms(age), jitter.end).into();
            open.close_at(at, Cause::MaxAge, CloseCode::GOING_AWAY);
        }
        Self {
            state: State::Open(open),
            config,
            pings: 0,
            pongs: 0,
            round_trip: None,
            received: Counters::default(),
            sent: Counters::default(),
        }
    }

    /// Takes in what happened at `now`, and says what to do about it.
    ///
    /// Every event tells the time, and the deadlines are looked at on each, so neither a flood of
    /// frames nor a talkative application keeps a ping from being sent.
    ///
    /// The exceptions are [`WriteBlocked`](Event::WriteBlocked), [`Drain`](Event::Drain),
    /// [`Stalled`](Event::Stalled) and [`WriteProgressed`](Event::WriteProgressed): a driver tells them before it reads,
    /// and what the peer has sent in time may lie unread in the stream. They give up no peer. Read
    /// then, and tell a [`Tick`](Event::Tick) if the deadline has passed.
    pub fn handle(&mut self, event: Event<'_>, now: Duration) -> Option<Action> {
        let now = Timestamp::from(now);
        match mem::replace(&mut self.state, State::Closed) {
            State::Open(open) => self.handle_open(open, event, now),
            State::Closing(closing) => self.handle_closing(closing, event, now),
            State::Closed => None,
        }
    }

    /// When to call [`handle`](Self::handle) again at the latest, with [`Event::Tick`] if nothing
    /// else happened. It is `None` when the session is over.
    ///
    /// It lies after the last `now`, unless the last event was one that gives up no peer.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Open(open) => Some(open.deadline().into()),
            State::Closing(closing) => Some(closing.deadline.at().into()),
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
    pub fn stats(&self) -> Stats {
        let Self { pings, pongs, received, sent, .. } = *self;
        let round_trip = self.round_trip.map(Duration::from);
        Stats { pings, pongs, round_trip, received, sent }
    }

    fn handle_open(&mut self, mut open: Open, event: Event<'_>, now: Timestamp) -> Option<Action> {
        let may_give_up = !event.precedes_reading();
        match event {
            Event::Close { cause, frame } => return Some(self.close(cause, frame, now)),
            Event::Violation(violation) => {
                return Some(self.close(violation.cause(), violation.close_frame(), now));
            }
            Event::PeerClose(frame) => {
                let bytes = frame.as_ref().map_or(0, CloseFrame::payload_len);
                self.received.add(bytes);
                self.sent.add(bytes); // The codec's echo (RFC 6455, section 5.5.1).
                self.begin_closing(Cause::PeerClosed, frame, Initiator::Peer, now);
                return None;
            }
            Event::Disconnected | Event::Finished => {
                return Some(Action::End(self.abnormal_record(Cause::Disconnected, now)));
            }
            Event::Drain { code, after } => open.close_at(now.after(after), Cause::Drained, code),
            Event::Message { bytes } => {
                self.received.add(bytes);
                open.on_activity();
                open.end_message();
                if !open.admit_message(&self.config.limits, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::Ping { bytes } => {
                self.received.add(bytes);
                self.sent.add(bytes); // The codec's pong (RFC 6455, section 5.5.2).
                open.on_activity();
                if !open.admit_control_frame(&self.config.limits, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::Pong(payload) => {
                self.received.add(payload.len());
                open.on_activity();
                let is_latest = payload == ping_payload(self.pings);
                if let Some(sent_at) = open.take_answered_ping(is_latest) {
                    self.pongs = self.pongs.wrapping_add(1);
                    self.round_trip = Some(now.since(sent_at).into());
                } else if !open.admit_control_frame(&self.config.limits, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::MessageEnded => open.end_message(),
            Event::MessageBegan => open.begin_message(&self.config.limits, now),
            Event::WriteBlocked => open.on_write_blocked(&self.config.limits, now),
            Event::WriteProgressed => open.on_write_progressed(&self.config, now),
            Event::Sent { bytes } => self.sent.add(bytes),
            Event::Stalled(time) => open.credit_stall(time, &self.config.limits, now),
            Event::Tick => {}
        }

        if may_give_up && let Some(cause) = open.expired(&self.config, now) {
            // Who does not read, or shows no sign of life, would not read a Close frame.
            let is_reading = cause == Cause::MessageTimeout;
            return Some(if is_reading {
                self.close_for_policy(cause, now)
            } else {
                Action::End(self.abnormal_record(cause, now))
            });
        }
        if let Some((cause, code)) = open.due_close(now) {
            return Some(self.close(cause, CloseFrame::for_cause(cause, code), now));
        }
        let is_due = open.is_ping_due(&self.config.timing, now);
        open.release_idle(now);
        self.state = State::Open(open);
        is_due.then(|| {
            self.pings = self.pings.wrapping_add(1);
            let payload = ping_payload(self.pings);
            self.sent.add(payload.len());
            Action::Ping(payload)
        })
    }

    fn handle_closing(
        &mut self,
        mut closing: Box<Closing>,
        event: Event<'_>,
        now: Timestamp,
    ) -> Option<Action> {
        let may_give_up = !event.precedes_reading();
        match event {
            Event::Finished => {
                let record = self.unclean_record(*closing, now);
                return Some(Action::End(CloseRecord { clean: true, ..record }));
            }
            Event::Disconnected | Event::Violation(_) => {
                return Some(Action::End(self.unclean_record(*closing, now)));
            }
            Event::Message { bytes } | Event::Ping { bytes } => self.received.add(bytes),
            Event::Pong(payload) => self.received.add(payload.len()),
            Event::PeerClose(frame) => {
                self.received.add(frame.as_ref().map_or(0, CloseFrame::payload_len));
            }
            Event::WriteBlocked
            | Event::Close { .. }
            | Event::MessageEnded
            | Event::Drain { .. }
            | Event::MessageBegan
            | Event::Sent { .. }
            | Event::Stalled(_)
            | Event::Tick
            | Event::WriteProgressed => {}
        }

        if may_give_up && closing.deadline.has_passed(self.config.timing.close_timeout, now) {
            return Some(Action::End(self.unclean_record(*closing, now)));
        }
        self.state = State::Closing(closing);
        None
    }

    /// Closes a session whose peer does what our policy forbids, and RFC 6455 does not.
    fn close_for_policy(&mut self, cause: Cause, now: Timestamp) -> Action {
        self.close(cause, CloseFrame::for_cause(cause, CloseCode::POLICY_VIOLATION), now)
    }

    fn close(&mut self, cause: Cause, frame: CloseFrame, now: Timestamp) -> Action {
        self.sent.add(frame.payload_len());
        self.begin_closing(cause, Some(frame.clone()), Initiator::Local, now);
        Action::Close(frame)
    }

    fn begin_closing(
        &mut self,
        cause: Cause,
        frame: Option<CloseFrame>,
        initiator: Initiator,
        now: Timestamp,
    ) {
        let deadline = Deadline::new(self.config.timing.close_timeout, now);
        self.state = State::Closing(Box::new(Closing { cause, frame, initiator, deadline }));
    }

    /// The record of a session whose closing handshake was left unfinished.
    fn unclean_record(&self, closing: Closing, now: Timestamp) -> CloseRecord {
        let (code, reason) = match closing.frame {
            Some(frame) => (CloseStatus::Frame(frame.code), frame.reason),
            None => (CloseStatus::NoStatus, Reason::default()),
        };
        CloseRecord {
            code,
            reason,
            initiator: closing.initiator,
            ..self.abnormal_record(closing.cause, now)
        }
    }

    /// The record of a session in which no Close frame was sent or seen.
    fn abnormal_record(&self, cause: Cause, now: Timestamp) -> CloseRecord {
        let Stats { round_trip, received, sent, .. } = self.stats();
        CloseRecord {
            cause,
            code: CloseStatus::Abnormal,
            reason: Reason::default(),
            clean: false,
            initiator: Initiator::None,
            duration: now.into(),
            round_trip,
            received,
            sent,
        }
    }
}

/// What stands in the latest ping, and in no other of this session.
fn ping_payload(pings: u32) -> PingPayload {
    pings.to_be_bytes()
}

/// As much of `whole` as `place` is of the greatest number.
fn fraction(whole: Duration, place: u32) -> Duration {
    let nanos = whole.as_nanos() * u128::from(place) / u128::from(u32::MAX);
    u64::try_from(nanos).map_or(whole, Duration::from_nanos)
}
