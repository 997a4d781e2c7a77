//! Any history under any rules, held against what always holds: `every_history.rs` of `ws-core`
//! with time that goes as it likes.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use ws_core::{
    Action, Cause, CloseCode, CloseFrame, Closure, ClosureCode, Event, Initiator, Lifecycle,
    Limits, Rate, Rules, Timing, Violation,
};

const MOST_STEPS: usize = 300;

/// A time of nothing counts as this.
const SHORTEST: Duration = Duration::from_millis(1);

/// No step takes longer, so that the end of time is not reached.
const LONGEST: Duration = Duration::from_secs(10_000_000);

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let Ok(mut watched) = Watched::new(&mut input) else { return };
    for _ in 0..MOST_STEPS {
        // Behind its end, the input would be zeros for ever.
        if input.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        let Ok(now) = watched.time(&mut input) else { break };
        watched.step(step, now);
    }
    watched.fall_silent();
});

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Tick,
    Message,
    Ping,
    /// The pong to the latest ping, if there was one.
    Pong,
    StrayPong,
    Sent,
    /// With or without a body.
    PeerClose(bool),
    Drained,
    HandlerClosed,
    Panicked,
    Violation(Violation),
    Finished,
    Disconnected,
    Blocked,
    Written,
    Partial,
    Complete,
}

impl Step {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match input.arbitrary::<u8>()? % 26 {
            0..=4 => Self::Tick,
            5 | 6 => Self::Message,
            7 => Self::Ping,
            8 | 9 => Self::Pong,
            10 => Self::StrayPong,
            11 => Self::Sent,
            12 => Self::PeerClose(false),
            13 => Self::PeerClose(true),
            14 => Self::Drained,
            15 => Self::HandlerClosed,
            16 => Self::Panicked,
            17 => Self::Violation(Violation::InvalidUtf8),
            18 => Self::Violation(Violation::ProtocolError),
            19 => Self::Violation(Violation::TooBig),
            20 => Self::Finished,
            21 => Self::Disconnected,
            22 => Self::Blocked,
            23 => Self::Written,
            24 => Self::Partial,
            _ => Self::Complete,
        })
    }

    fn is_message(&self) -> bool {
        *self == Self::Message
    }

    fn is_control_frame(&self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::StrayPong)
    }
}

/// A session that is watched: what was seen of it from outside, and the rules it has to keep.
struct Watched {
    lifecycle: Lifecycle,
    timing: Timing,
    limits: Limits,
    /// So many a second, and so many at once.
    message_rate: (u32, u32),
    control_rate: (u32, u32),
    now: Duration,
    steps: Vec<(Step, Duration)>,
    pings: Vec<[u8; 4]>,
    /// Nothing has been heard since this ping.
    silent_since_ping: Option<Duration>,
    /// When the process first looked after that ping's deadline.
    first_look: Option<Duration>,
    blocked_since: Option<Duration>,
    message_began: Option<Duration>,
    close_sent: bool,
    close_seen: bool,
    /// Data messages that were let through.
    messages: u32,
    received: u64,
    sent: u64,
    closure: Option<Closure>,
}

impl Watched {
    fn new(input: &mut Unstructured<'_>) -> Result<Self> {
        let timing = Timing {
            ping_interval: duration(input)?,
            pong_timeout: duration(input)?,
            close_timeout: duration(input)?,
        };
        let message_rate = (u32::from(input.arbitrary::<u8>()?), input.arbitrary::<u8>()?.into());
        let control_rate = (u32::from(input.arbitrary::<u8>()?), input.arbitrary::<u8>()?.into());
        let limits = Limits {
            messages: Rate::new(message_rate.0, message_rate.1),
            control_frames: Rate::new(control_rate.0, control_rate.1),
            message_timeout: Some(duration(input)?).filter(|timeout| !timeout.is_zero()),
            write_timeout: Some(duration(input)?).filter(|timeout| !timeout.is_zero()),
        };
        let rules = Arc::new(Rules { timing, limits });
        Ok(Self {
            lifecycle: Lifecycle::new(rules, input.arbitrary()?),
            timing,
            limits,
            message_rate,
            control_rate,
            now: Duration::ZERO,
            steps: Vec::new(),
            pings: Vec::new(),
            silent_since_ping: None,
            first_look: None,
            blocked_since: None,
            message_began: None,
            close_sent: false,
            close_seen: false,
            messages: 0,
            received: 0,
            sent: 0,
            closure: None,
        })
    }

    /// When the next step happens: at the deadline, before it, after it, or whenever.
    fn time(&self, input: &mut Unstructured<'_>) -> Result<Duration> {
        let deadline = self.lifecycle.deadline().unwrap_or(self.now);
        let time = match input.arbitrary::<u8>()? % 5 {
            0 => self.now,
            1 => deadline,
            2 => deadline.saturating_sub(duration(input)?),
            3 => deadline.saturating_add(duration(input)?),
            _ => self.now.saturating_add(duration(input)?),
        };
        Ok(time.clamp(self.now, self.now + LONGEST))
    }

    fn step(&mut self, step: Step, now: Duration) {
        self.now = now;
        self.steps.push((step, now));
        let pong_timeout = at_least_shortest(self.timing.pong_timeout);
        let is_over = |since: Duration| {
            self.blocked_since.is_none() && since.saturating_add(pong_timeout) <= now
        };
        if self.silent_since_ping.is_some_and(is_over) {
            self.first_look = self.first_look.or(Some(now));
        }

        let last_ping = self.pings.last().copied();
        let event = match step {
            Step::Tick => Event::Tick,
            Step::Message => Event::Message { bytes: 5 },
            Step::Ping => Event::Ping { bytes: 0 },
            Step::Pong => Event::Pong(last_ping.as_ref().map_or(b"".as_slice(), |ping| ping)),
            Step::StrayPong => Event::Pong(b"stray"),
            Step::Sent => Event::Sent { bytes: 3 },
            Step::PeerClose(has_body) => Event::PeerClose(has_body.then(goodbye)),
            Step::Drained => Event::drained(),
            Step::HandlerClosed => Event::handler_closed(goodbye()),
            Step::Panicked => Event::panicked(),
            Step::Violation(violation) => Event::Violation(violation),
            Step::Finished => Event::Finished,
            Step::Disconnected => Event::Disconnected,
            Step::Blocked => Event::Blocked,
            Step::Written => Event::Written,
            Step::Partial => Event::Partial,
            Step::Complete => Event::Complete,
        };
        let was_open = self.lifecycle.is_open();
        self.expect_counts(step, was_open);
        self.note_waits(step);
        let action = self.lifecycle.handle(event, now);
        self.check(step, was_open, action);
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
            _ => {}
        }
    }

    /// Keeps the books a second time, from the ownership table alone.
    fn expect_counts(&mut self, step: Step, is_open: bool) {
        if self.closure.is_some() {
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
        if self.closure.is_some() {
            assert_eq!(action, None, "nothing happens after the end: {self}");
        }
        if was_open && (step.is_message() || step.is_control_frame()) {
            self.silent_since_ping = None;
        }
        if step.is_message() && was_open && !matches!(action, Some(Action::Close(_))) {
            self.messages += 1;
            self.check_rate();
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
            Some(Action::End(closure)) => {
                self.check_closure(step, &closure);
                self.closure = Some(closure);
            }
        }
        match self.lifecycle.deadline() {
            Some(deadline) => {
                assert!(deadline > self.now, "a driver cannot spin: {self}");
                assert!(self.closure.is_none(), "a record comes with the end: {self}");
            }
            None => assert!(self.closure.is_some(), "no deadline, no session: {self}"),
        }
    }

    /// A token is earned each interval, and a burst of them is there at the beginning.
    fn check_rate(&self) {
        let (per_second, burst) = self.message_rate;
        if let Some(interval) = Duration::from_secs(1).checked_div(per_second).filter(|_| burst > 0)
        {
            let earned = interval * self.messages.saturating_sub(burst);
            assert!(earned <= self.now, "more than earned: {self}");
        }
    }

    /// A close only for a reason, and with the code that goes with it.
    fn check_close(&self, step: Step, frame: &CloseFrame) {
        let count = |kind: fn(&Step) -> bool| {
            u32::try_from(self.steps.iter().filter(|(step, _)| kind(step)).count())
                .unwrap_or(u32::MAX)
        };
        match (u16::from(frame.code), frame.reason.as_str()) {
            (1001, "drained") => assert_eq!(step, Step::Drained, "{self}"),
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
                assert!(
                    count(Step::is_control_frame) > self.control_rate.1,
                    "a burst is allowed: {self}"
                );
            }
            (1008, "message_timeout") => {
                let began = self.message_began.expect("only a message that began is late");
                let timeout = self.limits.message_timeout.expect("there is a timeout");
                assert!(self.now - began >= at_least_shortest(timeout), "{self}");
            }
            other => panic!("{other:?}: {self}"),
        }
    }

    fn check_closure(&self, step: Step, closure: &Closure) {
        let frames = self.close_sent || self.close_seen;
        assert_eq!(closure.clean, step == Step::Finished && frames, "clean if finished: {self}");
        assert_eq!(
            closure.code == ClosureCode::Abnormal,
            !frames,
            "1006 exactly without a close frame: {self}"
        );
        assert_eq!(closure.initiator == Initiator::Nobody, !frames, "{self}");
        assert_eq!(closure.duration, self.now, "{self}");
        assert_eq!(closure.received.messages, self.received, "{self}");
        assert_eq!(closure.sent.messages, self.sent, "{self}");
        if closure.cause == Cause::WriteTimeout {
            let blocked = self.blocked_since.expect("only a blocked write times out");
            let timeout = self.limits.write_timeout.expect("there is a timeout");
            assert!(self.now - blocked >= at_least_shortest(timeout), "{self}");
        }
        if closure.cause == Cause::PongTimeout {
            assert_eq!(self.blocked_since, None, "what is not read cannot be missed: {self}");
            let timeout = at_least_shortest(self.timing.pong_timeout);
            let pinged = self.silent_since_ping.expect("only a pinged peer times out");
            let look = self.first_look.expect("only after its deadline");
            let late = look - (pinged + timeout);
            assert!(self.now >= look + late.min(timeout), "lateness is given back: {self}");
        }
    }

    /// From here on the peer is silent and the process is on time: how long does the session last?
    fn fall_silent(mut self) {
        let Timing { ping_interval, pong_timeout, close_timeout } = self.timing;
        let Limits { message_timeout, write_timeout, .. } = self.limits;
        let times = [Some(ping_interval), Some(pong_timeout), Some(close_timeout)];
        let times = times.into_iter().chain([message_timeout, write_timeout]).flatten();
        let bound =
            times.fold(Duration::ZERO, |sum, time| sum.saturating_add(at_least_shortest(time)));
        if bound > LONGEST {
            return;
        }
        let end = self.now + bound;
        // Between them there may be many pings that are left out.
        for _ in 0..MOST_STEPS {
            let Some(deadline) = self.lifecycle.deadline() else { return };
            assert!(deadline <= end, "every session ends: {self}");
            self.step(Step::Tick, deadline);
        }
    }
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { timing, limits, steps, .. } = self;
        write!(f, "{timing:?} {limits:?} {steps:?}")
    }
}

/// From nothing to for ever.
fn duration(input: &mut Unstructured<'_>) -> Result<Duration> {
    let count = u32::from(input.arbitrary::<u8>()?);
    let unit = match count % 8 {
        0 => Duration::from_nanos(1),
        1 => Duration::from_micros(100),
        2 | 3 => Duration::from_millis(10),
        4 | 5 => Duration::from_millis(500),
        6 => Duration::from_secs(600),
        _ if count == 255 => return Ok(Duration::MAX),
        _ => Duration::from_secs(1),
    };
    Ok(unit * (count / 8))
}

fn at_least_shortest(time: Duration) -> Duration {
    time.max(SHORTEST)
}

fn goodbye() -> CloseFrame {
    CloseFrame { code: CloseCode::NORMAL, reason: "goodbye".into() }
}
