//! A session that is watched from outside, and the rules that hold in every history of it. The
//! exhaustive test and the fuzzer look for histories, and both have them judged here.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ws_core::{
    Action, Cause, CloseCode, CloseFrame, CloseRecord, CloseStatus, Event, Initiator, Lifecycle,
    Limits, Rate, SessionConfig, Timing, Violation,
};

/// A time of nothing counts as this.
const SHORTEST: Duration = Duration::from_millis(1);

/// What happens to the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// The stream takes no output.
    Blocked,
    /// Nothing is unfinished.
    Complete,
    Disconnected,
    /// A drain that leaves so much time.
    Drain(Duration),
    Finished,
    HandlerClosed,
    Message,
    Panicked,
    /// A message has begun.
    Partial,
    /// With or without a body.
    PeerClose(bool),
    Ping,
    /// The pong to the latest ping, if there was one.
    Pong,
    Sent,
    Stalled(Duration),
    /// A pong nobody asked for.
    StrayPong,
    Tick,
    Violation(Violation),
    /// The stream takes some output again.
    Written,
}

impl Step {
    fn is_message(&self) -> bool {
        *self == Self::Message
    }

    fn is_control_frame(&self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::StrayPong)
    }

    /// Whether a driver tells it before it reads what the peer has sent.
    fn precedes_reading(&self) -> bool {
        matches!(self, Self::Blocked | Self::Drain(_) | Self::Stalled(_) | Self::Written)
    }
}

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Often(pub(crate) u32, pub(crate) u32);

/// What was seen of a session from outside.
pub(crate) struct Watched {
    lifecycle: Lifecycle,
    timing: Timing,
    limits: Limits,
    message_rate: Often,
    control_rate: Often,
    pub(crate) now: Duration,
    steps: Vec<(Step, Duration)>,
    pings: Vec<[u8; 4]>,
    pongs: u32,
    /// Nothing has been heard since this ping.
    silent_since_ping: Option<Duration>,
    /// When the process first looked after that ping's deadline.
    first_look: Option<Duration>,
    blocked_since: Option<Duration>,
    message_began: Option<Duration>,
    /// When the latest drain began, and how much time it left.
    drain: Option<(Duration, Duration)>,
    /// By how much stalls were told of that there was no time for.
    overstated: Duration,
    close_sent: bool,
    close_seen: bool,
    /// Data messages and control frames that were let through.
    messages: u32,
    control_frames: u32,
    received: u64,
    sent: u64,
    record: Option<CloseRecord>,
}

impl Watched {
    /// A session under these rules; the rates are told apart from the other limits.
    pub(crate) fn new(
        timing: Timing,
        message_rate: Often,
        control_rate: Often,
        others: Limits,
        jitter: u32,
    ) -> Self {
        let limits = Limits {
            messages: Rate::new(message_rate.0, message_rate.1),
            control_frames: Rate::new(control_rate.0, control_rate.1),
            ..others
        };
        Self {
            lifecycle: Lifecycle::new(Arc::new(SessionConfig { timing, limits }), jitter),
            timing,
            limits,
            message_rate,
            control_rate,
            now: Duration::ZERO,
            steps: Vec::new(),
            pings: Vec::new(),
            pongs: 0,
            silent_since_ping: None,
            first_look: None,
            blocked_since: None,
            message_began: None,
            drain: None,
            overstated: Duration::ZERO,
            close_sent: false,
            close_seen: false,
            messages: 0,
            control_frames: 0,
            received: 0,
            sent: 0,
            record: None,
        }
    }

    /// When the session wants to be looked at; now, if it is over.
    pub(crate) fn deadline(&self) -> Duration {
        self.lifecycle.deadline().unwrap_or(self.now)
    }

    /// Takes a step at a time that is not before the latest one, and judges what comes of it.
    pub(crate) fn step(&mut self, step: Step, now: Duration) {
        if let Step::Stalled(time) = step {
            let too_much = time.saturating_sub(now - self.now);
            self.overstated = self.overstated.saturating_add(too_much);
        }
        self.now = now;
        self.steps.push((step, now));
        let pong_timeout = at_least_shortest(self.timing.pong_timeout);
        let is_over = |since: Duration| {
            self.blocked_since.is_none() && since.saturating_add(pong_timeout) <= now
        };
        if !step.precedes_reading() && self.silent_since_ping.is_some_and(is_over) {
            self.first_look = self.first_look.or(Some(now));
        }

        let last_ping = self.pings.last().copied();
        let event = match step {
            Step::Blocked => Event::WriteBlocked,
            Step::Complete => Event::MessageEnded,
            Step::Disconnected => Event::Disconnected,
            Step::Drain(after) => Event::Drain { code: CloseCode::SERVICE_RESTART, after },
            Step::Finished => Event::Finished,
            Step::HandlerClosed => Event::handler_closed(goodbye()),
            Step::Message => Event::Message { bytes: 5 },
            Step::Panicked => Event::panicked(),
            Step::Partial => Event::MessageBegan,
            Step::PeerClose(has_body) => Event::PeerClose(has_body.then(goodbye)),
            Step::Ping => Event::Ping { bytes: 0 },
            Step::Pong => Event::Pong(last_ping.as_ref().map_or(b"".as_slice(), |ping| ping)),
            Step::Sent => Event::Sent { bytes: 3 },
            Step::Stalled(time) => Event::Stalled(time),
            Step::StrayPong => Event::Pong(b"stray"),
            Step::Tick => Event::Tick,
            Step::Violation(violation) => Event::Violation(violation),
            Step::Written => Event::WriteProgressed,
        };
        let was_open = self.lifecycle.is_open();
        self.expect_counts(step, was_open);
        self.note_waits(step);
        let before = self.lifecycle.stats();
        let action = self.lifecycle.handle(event, now);
        let pongs = self.lifecycle.stats().pongs - before.pongs;
        self.pongs += pongs;
        if pongs > 0 {
            assert_eq!(step, Step::Pong, "only a ping's own pong measures: {self}");
        }
        self.check(step, was_open, action);
    }

    /// From here on the peer is silent and the process is on time: how long does the session last?
    ///
    /// Says whether it was over within so many looks, or has no end that can be waited for.
    pub(crate) fn fall_silent(mut self, most: usize) -> bool {
        let Timing { ping_interval, pong_timeout, close_timeout, .. } = self.timing;
        let Limits { message_timeout, write_timeout, .. } = self.limits;
        let times = [Some(ping_interval), Some(pong_timeout), Some(close_timeout)];
        let times = times.into_iter().chain([message_timeout, write_timeout]).flatten();
        let end = times
            .map(at_least_shortest)
            .chain([self.now])
            .fold(Duration::ZERO, Duration::saturating_add);
        // At the end of time nothing can be waited for.
        if end > Duration::MAX / 2 {
            return true;
        }
        for _ in 0..most {
            let Some(deadline) = self.lifecycle.deadline() else { return true };
            assert!(deadline <= end, "every session ends: {self}");
            self.step(Step::Tick, deadline.max(self.now));
        }
        self.record.is_some()
    }

    fn note_waits(&mut self, step: Step) {
        match step {
            // Without a timeout for it, a wait for output is not heeded.
            Step::Blocked if self.limits.write_timeout.is_some() => {
                self.blocked_since = self.blocked_since.or(Some(self.now));
            }
            Step::Written if self.blocked_since.is_some() => {
                self.blocked_since = None;
                self.message_began = self.message_began.and(Some(self.now));
                self.silent_since_ping = self.silent_since_ping.and(Some(self.now));
                self.first_look = None;
            }
            Step::Partial => self.message_began = self.message_began.or(Some(self.now)),
            Step::Message | Step::Complete => self.message_began = None,
            Step::Drain(after) => self.drain = Some((self.now, after)),
            _ => {}
        }
    }

    /// Keeps the books a second time, from the ownership table alone.
    fn expect_counts(&mut self, step: Step, is_open: bool) {
        if self.record.is_some() {
            return;
        }
        match step {
            Step::Message | Step::Pong | Step::StrayPong => self.received += 1,
            Step::Ping | Step::PeerClose(_) => {
                self.received += 1;
                self.sent += u64::from(is_open);
                self.close_seen |= step != Step::Ping;
            }
            Step::Sent => self.sent += u64::from(is_open),
            _ => {}
        }
    }

    fn check(&mut self, step: Step, was_open: bool, action: Option<Action>) {
        if self.record.is_some() {
            assert_eq!(action, None, "nothing happens after the end: {self}");
        }
        if was_open && (step.is_message() || step.is_control_frame()) {
            self.silent_since_ping = None;
        }
        let is_refused = matches!(&action, Some(Action::Close(frame))
            if frame.reason.as_str() == "rate_limited");
        if was_open && !is_refused {
            self.check_rates(step);
        }
        match action {
            None => {}
            Some(Action::Ping(payload)) => {
                assert!(was_open && self.lifecycle.is_open(), "a ping only while open: {self}");
                assert!(self.silent_since_ping.is_none(), "one ping in flight: {self}");
                assert!(!self.pings.contains(&payload), "payloads differ: {self}");
                self.pings.push(payload);
                self.silent_since_ping = Some(self.now);
                self.first_look = None;
                self.sent += 1;
            }
            Some(Action::Close(frame)) => {
                assert!(!self.close_sent, "at most one close: {self}");
                assert!(was_open && !self.lifecycle.is_open(), "a close only while open: {self}");
                self.check_close(step, &frame);
                self.close_sent = true;
                self.sent += 1;
            }
            Some(Action::End(record)) => {
                self.check_closure(step, &record);
                self.record = Some(record);
            }
        }
        if self.lifecycle.is_open() {
            let ends =
                [self.timing.max_age, self.drain.map(|(at, after)| at.saturating_add(after))];
            // A drain may put off what age would have ended, and not the other way round.
            let end = if self.drain.is_some() { ends[1] } else { ends[0] };
            assert!(
                end.is_none_or(|end| self.now < end.max(SHORTEST)),
                "what is to leave leaves: {self}"
            );
        }
        let stats = self.lifecycle.stats();
        assert_eq!(usize::try_from(stats.pings), Ok(self.pings.len()), "{self}");
        assert_eq!(stats.pongs, self.pongs, "{self}");
        assert_eq!(stats.round_trip.is_some(), self.pongs > 0, "{self}");
        match self.lifecycle.deadline() {
            Some(deadline) => {
                assert!(
                    deadline > self.now || step.precedes_reading(),
                    "a driver cannot spin: {self}"
                );
                assert!(self.record.is_none(), "a record comes with the end: {self}");
            }
            None => assert!(self.record.is_some(), "no deadline, no session: {self}"),
        }
    }

    /// A token is earned each interval, and a burst of them is there at the beginning. A stall earns
    /// no more than time does.
    fn check_rates(&mut self, step: Step) {
        // The pong that a ping waits for costs nothing, and is not told apart here.
        let is_counted = matches!(step, Step::Ping | Step::StrayPong);
        self.messages += u32::from(step.is_message());
        self.control_frames += u32::from(is_counted);
        for (count, Often(per_second, burst)) in
            [(self.messages, self.message_rate), (self.control_frames, self.control_rate)]
        {
            let interval = Duration::from_secs(1).checked_div(per_second).filter(|_| burst > 0);
            if let Some(interval) = interval {
                let earned = interval * count.saturating_sub(burst);
                let time = self.now.saturating_add(self.overstated);
                assert!(earned <= time, "more than earned: {self}");
            }
        }
    }

    /// A close only for a reason, and with the code that goes with it.
    fn check_close(&self, step: Step, frame: &CloseFrame) {
        let count = |kind: fn(&Step) -> bool| {
            u32::try_from(self.steps.iter().filter(|(step, _)| kind(step)).count())
                .unwrap_or(u32::MAX)
        };
        match (u16::from(frame.code), frame.reason.as_str()) {
            (1012, "drained") => assert!(self.drain.is_some(), "{self}"),
            (1001, "max_age") => {
                let age = self.timing.max_age.expect("there is a greatest age");
                assert!(self.drain.is_none(), "a drain comes first: {self}");
                assert!(self.now >= at_least_shortest(age) / 10 * 9, "{self}");
            }
            (1000, "goodbye") => assert_eq!(step, Step::HandlerClosed, "{self}"),
            (1011, "panicked") => assert_eq!(step, Step::Panicked, "{self}"),
            (1009, "too_big") => assert_eq!(step, Step::Violation(Violation::TooBig), "{self}"),
            (1007, "invalid_utf8") => {
                assert_eq!(step, Step::Violation(Violation::InvalidUtf8), "{self}");
            }
            (1002, "protocol_error") => {
                assert_eq!(step, Step::Violation(Violation::ProtocolError), "{self}");
            }
            (1008, "rate_limited") if step.is_message() => {
                assert!(
                    count(Step::is_message) > self.message_rate.1,
                    "a burst is allowed: {self}"
                );
            }
            (1008, "rate_limited") if step.is_control_frame() => {
                let allowed = self.control_rate.1;
                assert!(count(Step::is_control_frame) > allowed, "a burst is allowed: {self}");
            }
            (1008, "message_timeout") => {
                let began = self.message_began.expect("only a message that began is late");
                let timeout = self.limits.message_timeout.expect("there is a timeout");
                assert!(self.now - began >= at_least_shortest(timeout), "{self}");
            }
            other => panic!("{other:?}: {self}"),
        }
    }

    fn check_closure(&self, step: Step, record: &CloseRecord) {
        assert!(!step.precedes_reading(), "a peer is given up once it was heard: {self}");
        let frames = self.close_sent || self.close_seen;
        assert_eq!(record.clean, step == Step::Finished && frames, "clean if finished: {self}");
        assert_eq!(
            record.code == CloseStatus::Abnormal,
            !frames,
            "1006 exactly without a close frame: {self}"
        );
        assert_eq!(record.initiator == Initiator::None, !frames, "{self}");
        assert_eq!(record.duration, self.now, "{self}");
        assert_eq!(record.received.messages, self.received, "{self}");
        assert_eq!(record.sent.messages, self.sent, "{self}");
        if record.cause == Cause::WriteTimeout {
            let blocked = self.blocked_since.expect("only a blocked write times out");
            let timeout = self.limits.write_timeout.expect("there is a timeout");
            assert!(self.now - blocked >= at_least_shortest(timeout), "{self}");
        }
        if record.cause == Cause::PongTimeout {
            assert_eq!(self.blocked_since, None, "what is not read cannot be missed: {self}");
            let timeout = at_least_shortest(self.timing.pong_timeout);
            let pinged = self.silent_since_ping.expect("only a pinged peer times out");
            let look = self.first_look.expect("only after its deadline");
            let late = look - (pinged + timeout);
            assert!(self.now >= look + late.min(timeout), "lateness is given back: {self}");
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timing, limits, steps, .. } = self;
        write!(f, "{timing:?} {limits:?} {steps:?}")
    }
}

fn at_least_shortest(time: Duration) -> Duration {
    time.max(SHORTEST)
}

fn goodbye() -> CloseFrame {
    CloseFrame { code: CloseCode::NORMAL, reason: "goodbye".into() }
}
