//! The invariants of a session, checked over every sequence of events of a given length.

#[path = "support/checker.rs"]
mod checker;

use std::time::Duration;

use checker::{Checker, RateSpec, Step};
use ws_core::{Limits, Timing, Violation};

/// The time of a step.
#[derive(Clone, Copy)]
enum When {
    /// One second before the deadline.
    Early,
    /// This number of seconds after the deadline, because the process stalled.
    Late(u64),
    OnTime,
    /// Half a second after the previous step, but not after the deadline.
    Soon,
}

use When::{Early, Late, OnTime, Soon};

const STEPS: [(When, Step); 23] = [
    (OnTime, Step::Tick),
    (Early, Step::Tick),
    (Late(7), Step::Tick),
    (Late(100), Step::Tick),
    (Soon, Step::Disconnected),
    (Soon, Step::Drain(Duration::ZERO)),
    (Soon, Step::Drain(Duration::from_secs(8))),
    (Soon, Step::Finished),
    (Soon, Step::HandlerClosed),
    (Soon, Step::Message),
    (Soon, Step::MessageBegan),
    (Soon, Step::MessageEnded),
    (Soon, Step::PeerClose { has_body: true }),
    (Soon, Step::PeerClose { has_body: false }),
    (Soon, Step::Ping),
    (Soon, Step::PingRequested),
    (Soon, Step::Pong),
    (Soon, Step::Sent),
    (Late(7), Step::Stalled(Duration::from_secs(7))),
    (Soon, Step::UnsolicitedPong),
    (Soon, Step::Violation(Violation::TooBig)),
    (Soon, Step::WriteBlocked),
    (Soon, Step::WriteProgressed),
];

/// Returns a session with bursts of two, which a history of five steps can exceed.
fn checker(max_age: Option<Duration>) -> Checker {
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age,
        reconnect_spread: Duration::ZERO,
    };
    let limits = Limits {
        message_timeout: Some(Duration::from_secs(7)),
        write_timeout: Some(Duration::from_secs(5)),
        ..Limits::default()
    };
    let rate = RateSpec { per_second: 1, burst: 2 };
    Checker::new(timing, rate, rate, limits, u32::MAX / 2)
}

fn step(checker: &mut Checker, (when, step): (When, Step)) {
    let (now, deadline) = (checker.now, checker.deadline());
    let time = match when {
        Early => deadline.saturating_sub(Duration::from_secs(1)).max(now),
        Late(seconds) => deadline + Duration::from_secs(seconds),
        OnTime => deadline,
        Soon => (now + Duration::from_millis(500)).min(deadline),
    };
    // After an event that precedes reading, the deadline may have passed.
    checker.step(step, time.max(now));
}

const MAX_AGE: Option<Duration> = Some(Duration::from_secs(70));

#[test]
fn every_history_of_five_steps_keeps_the_invariants() {
    for number in 0..STEPS.len().pow(5) {
        let mut checker = checker(MAX_AGE);
        let mut digits = number;
        for _ in 0..5 {
            step(&mut checker, STEPS[digits % STEPS.len()]);
            digits /= STEPS.len();
        }
        assert!(checker.ends_with_silent_peer(9), "history {number} does not end");
    }
}

#[test]
fn every_history_of_four_steps_keeps_the_invariants_in_a_session_that_expires() {
    // Before the first ping, between a ping and its pong timeout, and together with the maximum age.
    for expiry in
        [Duration::ZERO, Duration::from_secs(3), Duration::from_secs(28), Duration::from_secs(68)]
    {
        for number in 0..STEPS.len().pow(4) {
            let mut checker = checker(MAX_AGE).expiring_at(expiry);
            let mut digits = number;
            for _ in 0..4 {
                step(&mut checker, STEPS[digits % STEPS.len()]);
                digits /= STEPS.len();
            }
            assert!(checker.ends_with_silent_peer(9), "history {number} does not end");
        }
    }
}

#[test]
fn every_pair_of_steps_keeps_the_invariants_in_an_old_session() {
    for first in STEPS {
        for second in STEPS {
            let mut checker = checker(None);
            for _ in 0..20 {
                step(&mut checker, (OnTime, Step::Tick));
                step(&mut checker, (Soon, Step::Pong));
            }
            step(&mut checker, first);
            step(&mut checker, second);
            assert!(checker.ends_with_silent_peer(9), "{:?}, {:?} does not end", first.1, second.1);
        }
    }
}
