//! The state machine: the transition of a session for each event.
//!
//! This module decides and does no I/O. Its input and output are in `event`, the close record in
//! `close` and the configuration in `config`. Read this file first: it has the three states. `open` has
//! the deadlines and rate limits of the open state, and `timeout` the deadline type.

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
use crate::config::{SessionConfig, retry_after};
use crate::event::{Action, Event, PingPayload};
use crate::snapshot::Snapshot;
use crate::time::{Timestamp, at_least_1_ms, scaled};

/// Offsets that spread the timers of sessions that opened at the same time.
///
/// Each is anywhere from 0, which is no offset, to `u32::MAX`, which is the largest. `From<u32>` sets
/// both to one number. A server spreads the values of its sessions evenly; a client, which does not
/// know the other clients, draws a random one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Makes the first ping, and with it all later ones, up to a tenth of the interval earlier.
    pub ping: u32,
    /// Makes the close at the maximum age up to a tenth of that age earlier.
    pub end: u32,
}

impl From<u32> for Jitter {
    fn from(both: u32) -> Self {
        Self { ping: both, end: both }
    }
}

/// The lifecycle of one session, from its opening to its end.
///
/// [`handle`](Self::handle) takes every input; the other methods are getters.
/// `now` is the time since the session opened and never decreases. It is stored in nanoseconds, up to
/// 584 years.
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
///     reconnect_spread: Duration::ZERO,
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
    frames: ControlFrames,
    /// The latest round-trip time, as a `Timestamp` because an `Option<Duration>` is twice as large.
    round_trip: Option<Timestamp>,
    received: Counters,
    sent: Counters,
}

/// Counts of control frames, modulo 2¹⁶ each. Larger ones would make every session larger.
#[derive(Clone, Copy, Debug, Default)]
struct ControlFrames {
    pings: u16,
    pongs: u16,
    received: u16,
    sent: u16,
}

#[derive(Debug)]
enum State {
    /// Messages are exchanged.
    Open(Open),
    /// A Close frame was sent or received, and the closing handshake is not complete.
    Closing(Box<Closing>),
    /// The session is over.
    Closed,
}

#[derive(Debug)]
struct Closing {
    cause: Cause,
    /// The first Close frame, sent or received; `None` is one without a body.
    frame: Option<CloseFrame>,
    initiator: Initiator,
    deadline: Deadline,
}

impl Lifecycle {
    /// Creates a session that opens now.
    #[must_use]
    pub fn new(config: Arc<SessionConfig>, jitter: impl Into<Jitter>) -> Self {
        let jitter = jitter.into();
        let earlier = |time: Duration, jitter| time - scaled(time / 10, jitter);
        let mut open = Open::new(earlier(config.timing.ping_interval(), jitter.ping).into());
        if let Some(age) = config.timing.max_age {
            let age = at_least_1_ms(age);
            let at = earlier(age, jitter.end).into();
            // The session with the greatest jitter is closed first.
            let position = u32::MAX - jitter.end;
            let retry = retry_after(config.timing.reconnect_spread, age / 10, position);
            open.close_at(at, Cause::MaxAge, CloseCode::GOING_AWAY, retry);
        }
        Self {
            state: State::Open(open),
            config,
            frames: ControlFrames::default(),
            round_trip: None,
            received: Counters::default(),
            sent: Counters::default(),
        }
    }

    /// Sets the time at which the session's permission ends: it is then closed with 3000, `expired`,
    /// unless it was closed before. A drain does not postpone this.
    ///
    /// `at` is the time since the session opened; below 1 ms counts as 1 ms.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use ws_core::{Action, CloseCode, Event, Lifecycle, Limits, SessionConfig, Timing};
    ///
    /// let timing = Timing {
    ///     ping_interval: Duration::from_secs(25),
    ///     pong_timeout: Duration::from_secs(10),
    ///     close_timeout: Duration::from_secs(3),
    ///     max_age: None,
    ///     reconnect_spread: Duration::ZERO,
    /// };
    /// let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    /// let mut session = Lifecycle::new(config, 0).expiring_at(Duration::from_secs(7));
    /// let due = session.deadline().unwrap();
    /// let Some(Action::Close(frame)) = session.handle(Event::Tick, due) else { panic!() };
    /// assert_eq!((due.as_secs(), frame.code), (7, CloseCode::UNAUTHORIZED));
    /// ```
    #[must_use]
    pub fn expiring_at(mut self, at: Duration) -> Self {
        if let State::Open(open) = &mut self.state {
            open.expire_at(at_least_1_ms(at).into());
        }
        self
    }

    /// Returns what [`restore`](Self::restore) needs to continue this session, or `None` if it is not open,
    /// if a message is incomplete or if output waits.
    ///
    /// The session may go on, so this changes nothing. The driver checks that the codec and the stream hold
    /// nothing of the session, too.
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
    ///     reconnect_spread: Duration::ZERO,
    /// };
    /// let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    /// let mut before = Lifecycle::new(Arc::clone(&config), 0);
    /// let Some(Action::Ping(payload)) = before.handle(Event::Tick, Duration::from_secs(25)) else { panic!() };
    ///
    /// // In another process, which knows the age of the session:
    /// let mut after = Lifecycle::restore(config, &before.snapshot().unwrap());
    /// after.handle(Event::Pong(&payload), Duration::from_secs(26));
    /// assert_eq!(after.stats().round_trip, Some(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let State::Open(open) = &self.state else { return None };
        Some(Snapshot { stats: self.stats(), ..open.snapshot()? })
    }

    /// Continues the session of a snapshot, with intervals, timeouts and limits that may be others.
    ///
    /// A ping that is due, a timeout that runs and a close that is scheduled keep their times, and so does
    /// the greatest age. Every snapshot is accepted: one with times that have passed acts at the first event.
    #[must_use]
    pub fn restore(config: Arc<SessionConfig>, snapshot: &Snapshot) -> Self {
        let Stats { pings, pongs, round_trip, received, sent, .. } = snapshot.stats;
        let Stats { control_frames_received, control_frames_sent, .. } = snapshot.stats;
        Self {
            config,
            state: State::Open(Open::restore(snapshot)),
            frames: ControlFrames {
                pings,
                pongs,
                received: control_frames_received,
                sent: control_frames_sent,
            },
            round_trip: round_trip.map(Timestamp::from),
            received,
            sent,
        }
    }

    /// Processes an event that happened at `now`, and returns the action that follows from it.
    ///
    /// Every event checks the deadlines, so neither a flood of frames from the peer nor an application
    /// that sends all the time prevents a ping.
    ///
    /// [`WriteBlocked`](Event::WriteBlocked), [`Drain`](Event::Drain), [`Stalled`](Event::Stalled) and
    /// [`WriteProgressed`](Event::WriteProgressed) are exceptions: a driver reports them before it
    /// reads, and input that arrived in time may still be unread. They never end a session because of
    /// a timeout. After one of them, read, and then pass a [`Tick`](Event::Tick) if the deadline has
    /// passed.
    ///
    /// Returns `None` for every event after [`Action::End`].
    pub fn handle(&mut self, event: Event<'_>, now: Duration) -> Option<Action> {
        let now = Timestamp::from(now);
        match mem::replace(&mut self.state, State::Closed) {
            State::Open(open) => self.handle_open(open, event, now),
            State::Closing(closing) => self.handle_closing(closing, event, now),
            State::Closed => None,
        }
    }

    /// Returns the latest time for the next call of [`handle`](Self::handle), with [`Event::Tick`] if
    /// nothing else happened by then; `None` if the session is over.
    ///
    /// The deadline is after the last `now`, unless the last event was one of those that do not check
    /// the timeouts.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Open(open) => Some(open.deadline().into()),
            State::Closing(closing) => Some(closing.deadline.at().into()),
            State::Closed => None,
        }
    }

    /// Returns whether messages may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns the counters and measurements so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Self { frames, received, sent, .. } = *self;
        Stats {
            pings: frames.pings,
            pongs: frames.pongs,
            round_trip: self.round_trip.map(Duration::from),
            received,
            sent,
            control_frames_received: frames.received,
            control_frames_sent: frames.sent,
        }
    }

    fn handle_open(&mut self, mut open: Open, event: Event<'_>, now: Timestamp) -> Option<Action> {
        let checks_timeouts = !event.precedes_reading();
        let is_ping_requested = event == Event::PingRequested;
        match event {
            Event::Close { cause, frame } => return Some(self.close(cause, frame, now)),
            Event::Violation(violation) => {
                return Some(self.close(violation.cause(), violation.close_frame(), now));
            }
            Event::PeerClose(frame) => {
                let bytes = frame.as_ref().map_or(0, CloseFrame::payload_len);
                self.count_received(1, bytes);
                self.count_sent(1, bytes); // The codec's echo (RFC 6455, section 5.5.1).
                self.begin_closing(Cause::PeerClosed, frame, Initiator::Peer, now);
                return None;
            }
            Event::Disconnected | Event::Finished => {
                return Some(Action::End(self.abnormal_record(Cause::Disconnected, now)));
            }
            Event::Drain { code, after, retry } => {
                open.close_at(now.after(after), Cause::Drained, code, retry);
            }
            Event::Message { bytes } => {
                self.received.add_message(bytes);
                open.on_activity();
                open.end_message();
                if !open.admit_message(&self.config.limits, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::Pings { count, bytes } => {
                self.count_received(count, bytes);
                self.count_sent(count, bytes); // The codec's pongs (RFC 6455, section 5.5.2).
                open.on_activity();
                if !open.admit_control_frames(&self.config.limits, count, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::Pong(payload) => {
                self.count_received(1, payload.len());
                open.on_activity();
                let is_latest = payload == ping_payload(self.frames.pings);
                if let Some(sent_at) = open.on_pong(is_latest) {
                    self.frames.pongs = self.frames.pongs.wrapping_add(1);
                    self.round_trip = Some(now.since(sent_at).into());
                } else if !open.admit_control_frames(&self.config.limits, 1, now) {
                    return Some(self.close_for_policy(Cause::RateLimited, now));
                }
            }
            Event::MessageBegan => open.begin_message(&self.config.limits, now),
            Event::MessageEnded => open.end_message(),
            Event::WriteBlocked => open.on_write_blocked(&self.config.limits, now),
            Event::WriteProgressed => open.on_write_progressed(&self.config, now),
            Event::Sent { bytes } => self.sent.add_message(bytes),
            Event::Stalled(time) => open.credit_stall(time, &self.config.limits, now),
            Event::PingRequested | Event::Tick => {}
        }

        if checks_timeouts && let Some(cause) = open.expired(&self.config, now) {
            // A peer that reads nothing or does not answer a ping would not read a Close frame either.
            let peer_reads = cause == Cause::MessageTimeout;
            return Some(if peer_reads {
                self.close_for_policy(cause, now)
            } else {
                Action::End(self.abnormal_record(cause, now))
            });
        }
        if let Some((cause, frame)) = open.due_close(now) {
            return Some(self.close(cause, frame, now));
        }
        let is_ping_due = open.take_due_ping(&self.config.timing, now);
        let sends_ping = is_ping_due || is_ping_requested;
        if sends_ping {
            open.begin_ping(&self.config.timing, now);
        }
        open.release_idle(now);
        self.state = State::Open(open);
        sends_ping.then(|| {
            self.frames.pings = self.frames.pings.wrapping_add(1);
            let payload = ping_payload(self.frames.pings);
            self.count_sent(1, payload.len());
            Action::Ping(payload)
        })
    }

    fn handle_closing(
        &mut self,
        mut closing: Box<Closing>,
        event: Event<'_>,
        now: Timestamp,
    ) -> Option<Action> {
        let checks_timeouts = !event.precedes_reading();
        match event {
            //= rfc6455#7.1.4-1
            Event::Finished => {
                let record = self.unclean_record(*closing, now);
                return Some(Action::End(CloseRecord { clean: true, ..record }));
            }
            Event::Disconnected | Event::Violation(_) => {
                return Some(Action::End(self.unclean_record(*closing, now)));
            }
            Event::Message { bytes } => self.received.add_message(bytes),
            Event::Pings { count, bytes } => self.count_received(count, bytes),
            Event::Pong(payload) => self.count_received(1, payload.len()),
            Event::PeerClose(frame) => {
                self.count_received(1, frame.as_ref().map_or(0, CloseFrame::payload_len));
            }
            Event::Close { .. }
            | Event::Drain { .. }
            | Event::MessageBegan
            | Event::MessageEnded
            | Event::PingRequested
            | Event::Sent { .. }
            | Event::Stalled(_)
            | Event::Tick
            | Event::WriteBlocked
            | Event::WriteProgressed => {}
        }

        if checks_timeouts && closing.deadline.has_passed(self.config.timing.close_timeout, now) {
            return Some(Action::End(self.unclean_record(*closing, now)));
        }
        self.state = State::Closing(closing);
        None
    }

    /// Closes a session whose peer violated a limit of this endpoint, not RFC 6455.
    fn close_for_policy(&mut self, cause: Cause, now: Timestamp) -> Action {
        self.close(cause, CloseFrame::for_cause(cause, CloseCode::POLICY_VIOLATION), now)
    }

    //= rfc6455#7.1.2-1
    fn close(&mut self, cause: Cause, frame: CloseFrame, now: Timestamp) -> Action {
        self.count_sent(1, frame.payload_len());
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

    /// Counts control frames from the peer, with their payload in total.
    fn count_received(&mut self, count: u16, payload_len: usize) {
        self.frames.received = self.frames.received.wrapping_add(count);
        self.received.add_bytes(payload_len);
    }

    /// Counts control frames to the peer, with their payload in total.
    fn count_sent(&mut self, count: u16, payload_len: usize) {
        self.frames.sent = self.frames.sent.wrapping_add(count);
        self.sent.add_bytes(payload_len);
    }

    /// Returns the record of a closing session, with `clean` set to `false`.
    fn unclean_record(&self, closing: Closing, now: Timestamp) -> CloseRecord {
        //= rfc6455#7.1.5-1 rfc6455#7.1.6-1
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

    /// Returns the record of a session in which no Close frame was sent or received.
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

/// Returns the payload of the latest ping, which differs from those of the pings before.
fn ping_payload(pings: u16) -> PingPayload {
    u32::from(pings).to_be_bytes()
}
