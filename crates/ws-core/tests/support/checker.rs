//! A checker for the invariants of a session, which uses only the public API. The exhaustive test and
//! the fuzz target produce the sequences of events.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use ws_core::{
    Action, Cause, CloseCode, CloseFrame, CloseRecord, CloseStatus, Event, Initiator, Lifecycle,
    Limits, Rate, SessionConfig, Timing, Violation,
};

/// A shorter interval or timeout counts as this.
const MIN_TIME: Duration = Duration::from_millis(1);

/// An event for the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Disconnected,
    /// A drain with this delay.
    Drain(Duration),
    Finished,
    HandlerClosed,
    Message,
    MessageBegan,
    MessageEnded,
    Panicked,
    PeerClose {
        has_body: bool,
    },
    Ping,
    PingRequested,
    /// The pong to the latest ping, if there was a ping.
    Pong,
    Sent,
    Stalled(Duration),
    Tick,
    UnsolicitedPong,
    Violation(Violation),
    WriteBlocked,
    WriteProgressed,
}

impl Step {
    fn is_message(&self) -> bool {
        *self == Self::Message
    }

    fn is_control_frame(&self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::UnsolicitedPong)
    }

    /// Returns whether drivers report this event before they read the input.
    fn precedes_reading(&self) -> bool {
        matches!(
            self,
            Self::WriteBlocked | Self::Drain(_) | Self::Stalled(_) | Self::WriteProgressed
        )
    }
}

/// The arguments of [`Rate::new`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSpec {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

impl RateSpec {
    fn rate(self) -> Option<Rate> {
        Rate::new(self.per_second, self.burst)
    }
}

/// A session, and what its invariants are checked against.
pub(crate) struct Checker {
    lifecycle: Lifecycle,
    /// The same session, restored from a snapshot after each event that allows it.
    twin: Lifecycle,
    config: Arc<SessionConfig>,
    timing: Timing,
    limits: Limits,
    message_rate: RateSpec,
    control_rate: RateSpec,
    pub(crate) now: Duration,
    steps: Vec<(Step, Duration)>,
    pings: Vec<[u8; 4]>,
    pongs: u32,
    /// When the pong timeout started; `None` after any activity of the peer.
    awaiting_pong_since: Option<Duration>,
    /// When the pong timeout was first checked after it had passed.
    first_check: Option<Duration>,
    blocked_since: Option<Duration>,
    write_timeout_was_late: bool,
    message_began: Option<Duration>,
    /// When the latest drain began, and its delay.
    drain: Option<(Duration, Duration)>,
    /// When the session's permission ends.
    expiry: Option<Duration>,
    /// Time by which the reported stalls exceed the time that passed.
    excess_stall: Duration,
    close_sent: bool,
    close_received: bool,
    /// Data messages and control frames that the rate limits admitted.
    messages: u32,
    control_frames: u32,
    received: Expected,
    sent: Expected,
    record: Option<CloseRecord>,
}

/// The frames of one direction that have to be counted.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    messages: u64,
    control_frames: u16,
}

impl Checker {
    /// Opens a session. The rates replace those of `other_limits`.
    pub(crate) fn new(
        timing: Timing,
        message_rate: RateSpec,
        control_rate: RateSpec,
        other_limits: Limits,
        jitter: u32,
    ) -> Self {
        let limits = Limits {
            messages: message_rate.rate(),
            control_frames: control_rate.rate(),
            ..other_limits
        };
        let config = Arc::new(SessionConfig { timing, limits });
        Self {
            lifecycle: Lifecycle::new(Arc::clone(&config), jitter),
            twin: Lifecycle::new(Arc::clone(&config), jitter),
            config,
            timing,
            limits,
            message_rate,
            control_rate,
            now: Duration::ZERO,
            steps: Vec::new(),
            pings: Vec::new(),
            pongs: 0,
            awaiting_pong_since: None,
            first_check: None,
            blocked_since: None,
            write_timeout_was_late: false,
            message_began: None,
            drain: None,
            expiry: None,
            excess_stall: Duration::ZERO,
            close_sent: false,
            close_received: false,
            messages: 0,
            control_frames: 0,
            received: Expected::default(),
            sent: Expected::default(),
            record: None,
        }
    }

    /// Ends the permission of the session at this time.
    pub(crate) fn expiring_at(self, expiry: Duration) -> Self {
        let lifecycle = self.lifecycle.expiring_at(expiry);
        let twin = self.twin.expiring_at(expiry);
        Self { lifecycle, twin, expiry: Some(at_least_1_ms(expiry)), ..self }
    }

    /// Returns the deadline of the session, or the current time if it is over.
    pub(crate) fn deadline(&self) -> Duration {
        self.lifecycle.deadline().unwrap_or(self.now)
    }

    /// Handles `step` at `now`, which is not before the previous step, and checks the result.
    pub(crate) fn step(&mut self, step: Step, now: Duration) {
        if let Step::Stalled(time) = step {
            let excess = time.saturating_sub(now - self.now);
            self.excess_stall = self.excess_stall.saturating_add(excess);
        }
        self.now = now;
        self.steps.push((step, now));
        let pong_timeout = at_least_1_ms(self.timing.pong_timeout);
        let has_expired = |since: Duration| {
            self.blocked_since.is_none() && since.saturating_add(pong_timeout) <= now
        };
        let write_timeout = self.limits.write_timeout.map(at_least_1_ms);
        if let (false, Some(blocked), Some(timeout)) =
            (step.precedes_reading(), self.blocked_since, write_timeout)
        {
            self.write_timeout_was_late |= blocked.saturating_add(timeout) < now;
        }
        if !step.precedes_reading() && self.awaiting_pong_since.is_some_and(has_expired) {
            self.first_check = self.first_check.or(Some(now));
        }

        let last_ping = self.pings.last().copied();
        let event = match step {
            Step::Disconnected => Event::Disconnected,
            Step::Drain(after) => {
                Event::Drain { code: CloseCode::SERVICE_RESTART, after, retry: retry(after) }
            }
            Step::Finished => Event::Finished,
            Step::HandlerClosed => Event::handler_closed(close_frame()),
            Step::Message => Event::Message { bytes: 5 },
            Step::MessageBegan => Event::MessageBegan,
            Step::MessageEnded => Event::MessageEnded,
            Step::Panicked => Event::panicked(),
            Step::PeerClose { has_body } => Event::PeerClose(has_body.then(close_frame)),
            Step::Ping => Event::Pings { count: 1, bytes: 0 },
            Step::PingRequested => Event::PingRequested,
            Step::Pong => Event::Pong(last_ping.as_ref().map_or(b"".as_slice(), |ping| ping)),
            Step::Sent => Event::Sent { bytes: 3 },
            Step::Stalled(time) => Event::Stalled(time),
            Step::Tick => Event::Tick,
            Step::UnsolicitedPong => Event::Pong(b"unsolicited"),
            Step::Violation(violation) => Event::Violation(violation),
            Step::WriteBlocked => Event::WriteBlocked,
            Step::WriteProgressed => Event::WriteProgressed,
        };
        let was_open = self.lifecycle.is_open();
        self.count_expected(step, was_open);
        self.track_waits(step);
        let before = self.lifecycle.stats();
        let action = self.lifecycle.handle(event.clone(), now);
        let twin_action = self.twin.handle(event, now);
        assert_eq!(twin_action, action, "a restored session goes on as before: {self}");
        let pongs = u32::from(self.lifecycle.stats().pongs - before.pongs);
        self.pongs += pongs;
        if pongs > 0 {
            assert_eq!(step, Step::Pong, "only the pong to the latest ping counts: {self}");
        }
        self.check(step, was_open, action);
        self.check_twin();
    }

    /// Checks that the restored session is the same, and restores it anew.
    fn check_twin(&mut self) {
        assert_eq!(self.twin.stats(), self.lifecycle.stats(), "{self}");
        assert_eq!(self.twin.deadline(), self.lifecycle.deadline(), "{self}");
        let has_message = self.message_began.is_some() && self.limits.message_timeout.is_some();
        let is_at_rest = self.lifecycle.is_open() && !has_message && self.blocked_since.is_none();
        let snapshot = self.lifecycle.snapshot();
        assert_eq!(snapshot.is_some(), is_at_rest, "a session at rest has a snapshot: {self}");
        if let Some(snapshot) = snapshot {
            self.twin = Lifecycle::restore(Arc::clone(&self.config), &snapshot);
            assert_eq!(self.twin.snapshot(), Some(snapshot), "{self}");
            assert_eq!(self.twin.deadline(), self.lifecycle.deadline(), "{self}");
        }
    }

    /// From now on the peer is silent and every tick is on time: checks that the session ends.
    ///
    /// Returns whether it ended within `max_ticks`; also `true` if its end is too late to be reached.
    pub(crate) fn ends_with_silent_peer(mut self, max_ticks: usize) -> bool {
        let Timing { ping_interval, pong_timeout, close_timeout, .. } = self.timing;
        let Limits { message_timeout, write_timeout, .. } = self.limits;
        let times = [Some(ping_interval), Some(pong_timeout), Some(close_timeout)];
        let times = times.into_iter().chain([message_timeout, write_timeout]).flatten();
        let end = times
            .map(at_least_1_ms)
            .chain([self.now])
            .fold(Duration::ZERO, Duration::saturating_add);
        // Timestamps saturate, so such an end is never reached.
        if end > Duration::MAX / 2 {
            return true;
        }
        for _ in 0..max_ticks {
            let Some(deadline) = self.lifecycle.deadline() else { return true };
            assert!(deadline <= end, "every session ends: {self}");
            self.step(Step::Tick, deadline.max(self.now));
        }
        self.record.is_some()
    }

    fn track_waits(&mut self, step: Step) {
        match step {
            // Without a write timeout the session ignores the event.
            Step::WriteBlocked if self.limits.write_timeout.is_some() => {
                self.blocked_since = self.blocked_since.or(Some(self.now));
            }
            Step::WriteProgressed => {
                let Some(blocked) = self.blocked_since.take() else { return };
                // The time in which output waited does not count, or none if the write timeout was late.
                let is_late = mem::take(&mut self.write_timeout_was_late);
                let shift = |since: Duration| {
                    if is_late { self.now } else { self.now - blocked.saturating_sub(since) }
                };
                self.message_began = self.message_began.map(shift);
                let pinged = self.awaiting_pong_since;
                self.awaiting_pong_since = pinged.map(shift);
                self.first_check = self.first_check.filter(|_| !is_late);
                if let (Some(check), Some(pinged)) = (&mut self.first_check, pinged) {
                    *check += self.awaiting_pong_since.unwrap_or(pinged) - pinged;
                }
            }
            Step::MessageBegan => self.message_began = self.message_began.or(Some(self.now)),
            Step::Message | Step::MessageEnded => self.message_began = None,
            Step::Drain(after) => self.drain = Some((self.now, after)),
            _ => {}
        }
    }

    /// Counts messages and control frames independently, by the ownership table of the crate.
    fn count_expected(&mut self, step: Step, is_open: bool) {
        if self.record.is_some() {
            return;
        }
        match step {
            Step::Message => self.received.messages += 1,
            Step::Pong | Step::UnsolicitedPong => self.received.control_frames += 1,
            Step::Ping | Step::PeerClose { .. } => {
                self.received.control_frames += 1;
                self.sent.control_frames += u16::from(is_open);
                self.close_received |= step != Step::Ping;
            }
            Step::Sent => self.sent.messages += u64::from(is_open),
            _ => {}
        }
    }

    fn check(&mut self, step: Step, was_open: bool, action: Option<Action>) {
        if self.record.is_some() {
            assert_eq!(action, None, "nothing happens after the end: {self}");
        }
        if was_open && (step.is_message() || step.is_control_frame()) {
            self.awaiting_pong_since = None;
        }
        let is_rate_limited = matches!(&action, Some(Action::Close(frame))
            if frame.reason.as_str() == "rate_limited");
        if was_open && !is_rate_limited {
            self.check_rates(step);
        }
        if step == Step::PingRequested && was_open && self.lifecycle.is_open() {
            assert!(matches!(action, Some(Action::Ping(_))), "a requested ping is sent: {self}");
        }
        match action {
            None => {}
            Some(Action::Ping(payload)) => {
                assert!(was_open && self.lifecycle.is_open(), "a ping only while open: {self}");
                assert!(!self.pings.contains(&payload), "payloads differ: {self}");
                self.pings.push(payload);
                // A requested ping does not extend the timeout of an earlier one.
                if self.awaiting_pong_since.is_none() {
                    self.awaiting_pong_since = Some(self.now);
                    self.first_check = None;
                } else {
                    assert_eq!(step, Step::PingRequested, "one regular ping in flight: {self}");
                }
                self.sent.control_frames += 1;
            }
            Some(Action::Close(frame)) => {
                assert!(!self.close_sent, "at most one close: {self}");
                assert!(was_open && !self.lifecycle.is_open(), "a close only while open: {self}");
                self.check_close(step, &frame);
                self.close_sent = true;
                self.sent.control_frames += 1;
            }
            Some(Action::End(record)) => {
                self.check_record(step, &record);
                self.record = Some(record);
            }
        }
        if self.lifecycle.is_open() {
            let ends =
                [self.timing.max_age, self.drain.map(|(at, after)| at.saturating_add(after))];
            assert!(
                self.expiry.is_none_or(|expiry| self.now < expiry),
                "no session stays open without a permission: {self}"
            );
            // A drain replaces the close at the maximum age, even by a later one.
            let end = if self.drain.is_some() { ends[1] } else { ends[0] };
            assert!(
                end.is_none_or(|end| self.now < end.max(MIN_TIME)),
                "a scheduled close is on time: {self}"
            );
        }
        let stats = self.lifecycle.stats();
        assert_eq!(usize::from(stats.pings), self.pings.len(), "{self}");
        assert_eq!(u32::from(stats.pongs), self.pongs, "{self}");
        assert_eq!(stats.round_trip.is_some(), self.pongs > 0, "{self}");
        assert_eq!(stats.received.messages, self.received.messages, "{self}");
        assert_eq!(stats.sent.messages, self.sent.messages, "{self}");
        assert_eq!(stats.control_frames_received, self.received.control_frames, "{self}");
        assert_eq!(stats.control_frames_sent, self.sent.control_frames, "{self}");
        match self.lifecycle.deadline() {
            Some(deadline) => {
                assert!(
                    deadline > self.now || step.precedes_reading(),
                    "a driver cannot spin: {self}"
                );
                assert!(self.record.is_none(), "no deadline after the end: {self}");
            }
            None => assert!(self.record.is_some(), "a deadline until the end: {self}"),
        }
    }

    /// Checks the rates: a bucket starts with a burst and earns one token per interval. A stall earns
    /// no more than its time.
    fn check_rates(&mut self, step: Step) {
        // The pong to the latest ping is exempt. Other pongs with its payload are not counted here.
        let is_counted = matches!(step, Step::Ping | Step::UnsolicitedPong);
        self.messages += u32::from(step.is_message());
        self.control_frames += u32::from(is_counted);
        for (count, RateSpec { per_second, burst }) in
            [(self.messages, self.message_rate), (self.control_frames, self.control_rate)]
        {
            let interval = Duration::from_secs(1).checked_div(per_second).filter(|_| burst > 0);
            if let Some(interval) = interval {
                let earned = interval * count.saturating_sub(burst);
                let time = self.now.saturating_add(self.excess_stall);
                assert!(earned <= time, "more events than the rate admits: {self}");
            }
        }
    }

    /// Checks that a Close frame has a cause, and the code and the reason that belong to it.
    fn check_close(&self, step: Step, frame: &CloseFrame) {
        let count = |kind: fn(&Step) -> bool| {
            u32::try_from(self.steps.iter().filter(|(step, _)| kind(step)).count())
                .unwrap_or(u32::MAX)
        };
        match (u16::from(frame.code), frame.reason.as_str()) {
            (1012, reason) => {
                let (_, after) = self.drain.expect("a drain");
                let retry = retry(after).map(|time| format!("drained retry={}", time.as_millis()));
                assert_eq!(reason, retry.as_deref().unwrap_or("drained"), "{self}");
            }
            (1001, "max_age") => {
                let age = self.timing.max_age.expect("a maximum age");
                assert!(self.drain.is_none(), "a drain replaces the maximum age: {self}");
                assert!(self.now >= at_least_1_ms(age) / 10 * 9, "{self}");
            }
            (3000, "expired") => {
                assert!(self.expiry.is_some_and(|expiry| self.now >= expiry), "{self}");
            }
            (1000, "done") => assert_eq!(step, Step::HandlerClosed, "{self}"),
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
                    count(Step::is_message) > self.message_rate.burst,
                    "a burst is allowed: {self}"
                );
            }
            (1008, "rate_limited") if step.is_control_frame() => {
                let burst = self.control_rate.burst;
                assert!(count(Step::is_control_frame) > burst, "a burst is allowed: {self}");
            }
            (1008, "message_timeout") => {
                let began = self.message_began.expect("only a message that began times out");
                let timeout = self.limits.message_timeout.expect("a timeout is set");
                assert!(self.now - began >= at_least_1_ms(timeout), "{self}");
            }
            other => panic!("{other:?}: {self}"),
        }
    }

    fn check_record(&self, step: Step, record: &CloseRecord) {
        assert!(!step.precedes_reading(), "the input is read before a timeout: {self}");
        let frames = self.close_sent || self.close_received;
        assert_eq!(
            record.clean,
            step == Step::Finished && frames,
            "clean exactly if finished: {self}"
        );
        assert_eq!(
            record.code == CloseStatus::Abnormal,
            !frames,
            "1006 exactly without a Close frame: {self}"
        );
        assert_eq!(record.initiator == Initiator::None, !frames, "{self}");
        assert_eq!(record.duration, self.now, "{self}");
        assert_eq!(record.received.messages, self.received.messages, "{self}");
        assert_eq!(record.sent.messages, self.sent.messages, "{self}");
        if record.cause == Cause::WriteTimeout {
            let blocked = self.blocked_since.expect("only a blocked write times out");
            let timeout = self.limits.write_timeout.expect("a timeout is set");
            assert!(self.now - blocked >= at_least_1_ms(timeout), "{self}");
        }
        if record.cause == Cause::PongTimeout {
            assert_eq!(self.blocked_since, None, "no pong timeout while output waits: {self}");
            let timeout = at_least_1_ms(self.timing.pong_timeout);
            let pinged = self.awaiting_pong_since.expect("only a pinged peer times out");
            let first_check = self.first_check.expect("only after its deadline");
            let lateness = first_check - (pinged + timeout);
            assert!(
                self.now >= first_check + lateness.min(timeout),
                "the lateness extends the deadline: {self}"
            );
        }
    }
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timing, limits, steps, .. } = self;
        write!(f, "{timing:?} {limits:?} {steps:?}")
    }
}

fn at_least_1_ms(time: Duration) -> Duration {
    time.max(MIN_TIME)
}

fn close_frame() -> CloseFrame {
    CloseFrame { code: CloseCode::NORMAL, reason: "done".into() }
}

/// The retry time of a drain with this delay.
fn retry(after: Duration) -> Option<Duration> {
    Some(after.saturating_mul(3)).filter(|retry| !retry.is_zero())
}
