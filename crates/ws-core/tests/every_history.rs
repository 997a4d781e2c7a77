//! What always holds, shown over every history of a given length.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

use std::sync::Arc;
use std::time::Duration;

use ws_core::{
    Action, Cause, CloseCode, CloseFrame, Closure, ClosureCode, Event, Initiator, Lifecycle,
    Limits, Rate, Rules, Timing, Violation,
};

const MS: Duration = Duration::from_millis(1);

const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    pong_timeout: Duration::from_secs(10),
    close_timeout: Duration::from_secs(3),
};

fn limits() -> Limits {
    Limits {
        // Two at once: a history of five steps can have too many.
        messages: Rate::new(1, 2),
        control_frames: Rate::new(1, 2),
        message_timeout: Some(Duration::from_secs(7)),
        write_timeout: Some(Duration::from_secs(5)),
    }
}

/// One step of a history: time goes on, then something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A tick when it was asked for.
    TickOnTime,
    /// A tick a second before it was asked for.
    TickEarly,
    /// A tick after the process stood still for this many seconds.
    TickLate(u64),
    Message,
    Ping,
    /// The pong to the latest ping, if there was one.
    Pong,
    /// A pong nobody asked for.
    StrayPong,
    Sent,
    PeerClose,
    Close,
    Violation,
    Finished,
    Disconnected,
    /// The stream takes no output.
    Blocked,
    /// The stream takes some again.
    Written,
    /// A message has begun.
    Partial,
    /// Nothing is unfinished.
    Complete,
}

const STEPS: [Step; 18] = [
    Step::TickOnTime,
    Step::TickEarly,
    Step::TickLate(7),
    Step::TickLate(100),
    Step::Message,
    Step::Ping,
    Step::Pong,
    Step::StrayPong,
    Step::Sent,
    Step::PeerClose,
    Step::Close,
    Step::Violation,
    Step::Finished,
    Step::Disconnected,
    Step::Blocked,
    Step::Written,
    Step::Partial,
    Step::Complete,
];

/// A session that is watched: what was seen of it from outside, and the rules it has to keep.
struct Watched {
    lifecycle: Lifecycle,
    now: Duration,
    steps: Vec<Step>,
    pings: Vec<[u8; 4]>,
    /// What the peer may still do for us to hold it alive: nothing has been heard since this ping.
    silent_since_ping: Option<Duration>,
    /// When the process first looked after that ping's deadline.
    first_look: Option<Duration>,
    /// Since when output is refused, and when the unfinished message began.
    blocked_since: Option<Duration>,
    message_began: Option<Duration>,
    close_sent: bool,
    close_seen: bool,
    received: u64,
    sent: u64,
    closure: Option<Closure>,
}

impl Watched {
    fn new() -> Self {
        Self {
            lifecycle: Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: limits() }), 0),
            now: Duration::ZERO,
            steps: Vec::new(),
            pings: Vec::new(),
            silent_since_ping: None,
            first_look: None,
            blocked_since: None,
            message_began: None,
            close_sent: false,
            close_seen: false,
            received: 0,
            sent: 0,
            closure: None,
        }
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
        let deadline = self.lifecycle.deadline().unwrap_or(self.now + MS);
        self.now = match step {
            Step::TickOnTime => deadline,
            Step::TickEarly => self.now.max(deadline.saturating_sub(Duration::from_secs(1))),
            Step::TickLate(seconds) => deadline + Duration::from_secs(seconds),
            _ => (self.now + Duration::from_millis(500)).min(deadline),
        };
        let is_over =
            |since| self.blocked_since.is_none() && since + TIMING.pong_timeout <= self.now;
        if self.silent_since_ping.is_some_and(is_over) {
            self.first_look = self.first_look.or(Some(self.now));
        }

        let last_ping = self.pings.last().copied();
        let event = match step {
            Step::TickOnTime | Step::TickEarly | Step::TickLate(_) => Event::Tick,
            Step::Message => Event::Message { bytes: 5 },
            Step::Ping => Event::Ping { bytes: 0 },
            Step::Pong => match &last_ping {
                Some(payload) => Event::Pong(payload),
                None => Event::Pong(b""),
            },
            Step::StrayPong => Event::Pong(b"stray"),
            Step::Sent => Event::Sent { bytes: 3 },
            Step::PeerClose => Event::PeerClose(Some(frame(1000))),
            Step::Close => Event::drained(),
            Step::Violation => Event::Violation(Violation::TooBig),
            Step::Finished => Event::Finished,
            Step::Disconnected => Event::Disconnected,
            Step::Blocked => Event::Blocked,
            Step::Written => Event::Written,
            Step::Partial => Event::Partial,
            Step::Complete => Event::Complete,
        };
        self.expect_counts(step);
        self.note_waits(step);
        let was_open = self.lifecycle.is_open();
        let action = self.lifecycle.handle(event, self.now);
        self.check(step, was_open, action);
    }

    fn note_waits(&mut self, step: Step) {
        match step {
            Step::Blocked => self.blocked_since = self.blocked_since.or(Some(self.now)),
            Step::Written if self.blocked_since.is_some() => {
                self.blocked_since = None;
                self.message_began = self.message_began.and(Some(self.now));
                self.silent_since_ping = self.silent_since_ping.and(Some(self.now));
                self.first_look = None;
            }
            Step::Partial => self.message_began = self.message_began.or(Some(self.now)),
            Step::Message | Step::Complete => self.message_began = None,
            _ => {}
        }
    }

    /// Keeps the books a second time, from the ownership table alone.
    fn expect_counts(&mut self, step: Step) {
        let open = self.lifecycle.is_open();
        let over = self.closure.is_some();
        match step {
            Step::Message | Step::Pong | Step::StrayPong if !over => self.received += 1,
            Step::Ping if !over => {
                self.received += 1;
                self.sent += u64::from(open);
            }
            Step::PeerClose if !over => {
                self.received += 1;
                self.sent += u64::from(open);
                self.close_seen = true;
            }
            Step::Sent if open => self.sent += 1,
            _ => {}
        }
    }

    fn check(&mut self, step: Step, was_open: bool, action: Option<Action>) {
        let history = &self.steps;
        if self.closure.is_some() {
            assert_eq!(action, None, "nothing happens after the end: {history:?}");
        }
        let heard =
            matches!(step, Step::Message | Step::Ping | Step::Pong | Step::StrayPong) && was_open;
        if heard {
            self.silent_since_ping = None;
        }
        match action {
            None => {}
            Some(Action::Ping(payload)) => {
                assert!(
                    was_open && self.lifecycle.is_open(),
                    "a ping only while open: {history:?}"
                );
                assert!(self.silent_since_ping.is_none(), "one ping in flight: {history:?}");
                assert!(!self.pings.contains(&payload), "payloads differ: {history:?}");
                self.pings.push(payload);
                self.silent_since_ping = Some(self.now);
                self.first_look = None;
                self.sent += 1;
            }
            Some(Action::Close(frame)) => {
                assert!(!self.close_sent, "at most one close: {history:?}");
                assert!(was_open, "a close only while open: {history:?}");
                self.check_close(step, &frame);
                self.close_sent = true;
                self.sent += 1;
            }
            Some(Action::End(closure)) => {
                self.check_closure(step, &closure);
                self.closure = Some(closure);
            }
        }
        match self.lifecycle.deadline() {
            Some(deadline) => assert!(deadline > self.now, "a driver cannot spin: {history:?}"),
            None => assert!(self.closure.is_some(), "no deadline, no session: {history:?}"),
        }
        assert_eq!(
            self.lifecycle.deadline().is_none(),
            self.closure.is_some(),
            "a record comes with the end: {history:?}"
        );
    }

    /// A close only for a reason, and with the code that goes with it.
    fn check_close(&self, step: Step, frame: &CloseFrame) {
        let history = &self.steps;
        match (u16::from(frame.code), frame.reason.as_str()) {
            (1001, "drained") => assert_eq!(step, Step::Close, "{history:?}"),
            (1009, "too_big") => assert_eq!(step, Step::Violation, "{history:?}"),
            (1008, "rate_limited") => {
                let kind = |step: &Step| match step {
                    Step::Message => 1,
                    Step::Ping | Step::Pong | Step::StrayPong => 2,
                    _ => 0,
                };
                let of_its_kind = history.iter().filter(|other| kind(other) == kind(&step)).count();
                assert!(kind(&step) > 0 && of_its_kind > 2, "two are always allowed: {history:?}");
            }
            (1008, "message_timeout") => {
                let began = self.message_began.expect("only a message that began is late");
                assert!(self.now - began >= Duration::from_secs(7), "{history:?}");
            }
            other => panic!("{other:?}: {history:?}"),
        }
    }

    fn check_closure(&self, step: Step, closure: &Closure) {
        let history = &self.steps;
        let frames = self.close_sent || self.close_seen;
        assert_eq!(
            closure.clean,
            step == Step::Finished && frames,
            "clean exactly when the handshake finished: {history:?}"
        );
        assert_eq!(
            closure.code == ClosureCode::Abnormal,
            !frames,
            "1006 exactly without a close frame: {history:?}"
        );
        assert_eq!(closure.initiator == Initiator::Nobody, !frames, "{history:?}");
        assert_eq!(closure.duration, self.now, "{history:?}");
        assert_eq!(closure.received.messages, self.received, "{history:?}");
        assert_eq!(closure.sent.messages, self.sent, "{history:?}");
        if closure.cause == Cause::WriteTimeout {
            let blocked = self.blocked_since.expect("only a blocked write times out");
            assert!(self.now - blocked >= Duration::from_secs(5), "{history:?}");
        }
        if closure.cause == Cause::PongTimeout {
            assert_eq!(self.blocked_since, None, "what is not read cannot be missed: {history:?}");
            let pinged = self.silent_since_ping.expect("only a pinged peer times out");
            let look = self.first_look.expect("only after its deadline");
            let late = look - (pinged + TIMING.pong_timeout);
            assert!(
                self.now >= look + late.min(TIMING.pong_timeout),
                "lateness is given back: {history:?}"
            );
        }
    }

    /// From here on the peer is silent and the process is on time: how long does the session last?
    fn fall_silent(mut self) {
        let from = self.now;
        for _ in 0..5 {
            if self.closure.is_some() {
                let bound = TIMING.ping_interval + 2 * TIMING.pong_timeout;
                assert!(self.now - from <= bound, "every session ends: {:?}", self.steps);
                return;
            }
            self.step(Step::TickOnTime);
        }
        panic!("still not over: {:?}", self.steps);
    }
}

fn frame(code: u16) -> CloseFrame {
    CloseFrame { code: CloseCode::try_from(code).unwrap(), reason: "".into() }
}

#[test]
fn every_history_of_five_steps_keeps_the_rules() {
    for number in 0..STEPS.len().pow(5) {
        let mut watched = Watched::new();
        let mut digits = number;
        for _ in 0..5 {
            watched.step(STEPS[digits % STEPS.len()]);
            digits /= STEPS.len();
        }
        watched.fall_silent();
    }
}

#[test]
fn every_pair_of_steps_keeps_the_rules_after_a_long_life() {
    for first in STEPS {
        for second in STEPS {
            let mut watched = Watched::new();
            for _ in 0..20 {
                watched.step(Step::TickOnTime);
                watched.step(Step::Pong);
            }
            watched.step(first);
            watched.step(second);
            watched.fall_silent();
        }
    }
}
