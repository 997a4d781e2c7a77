//! What always holds, shown over every history of a given length.

#[path = "support/watched.rs"]
mod watched;

use std::time::Duration;

use watched::{Often, Step, Watched};
use ws_core::{Limits, Timing, Violation};

/// When a step happens.
#[derive(Clone, Copy)]
enum When {
    /// A second before the session asked to be looked at.
    Early,
    /// So long after that, because the process stood still.
    Late(u64),
    OnTime,
    /// Half a second after the step before, if nothing is due by then.
    Soon,
}

use When::{Early, Late, OnTime, Soon};

const STEPS: [(When, Step); 22] = [
    (OnTime, Step::Tick),
    (Early, Step::Tick),
    (Late(7), Step::Tick),
    (Late(100), Step::Tick),
    (Soon, Step::Blocked),
    (Soon, Step::Complete),
    (Soon, Step::Disconnected),
    (Soon, Step::Drain(Duration::ZERO)),
    (Soon, Step::Drain(Duration::from_secs(8))),
    (Soon, Step::Finished),
    (Soon, Step::HandlerClosed),
    (Soon, Step::Message),
    (Soon, Step::Partial),
    (Soon, Step::PeerClose(true)),
    (Soon, Step::PeerClose(false)),
    (Soon, Step::Ping),
    (Soon, Step::Pong),
    (Soon, Step::Sent),
    (Late(7), Step::Stalled(Duration::from_secs(7))),
    (Soon, Step::StrayPong),
    (Soon, Step::Violation(Violation::TooBig)),
    (Soon, Step::Written),
];

/// A session whose rates allow two at once: a history of five steps can have too many.
fn watched(max_age: Option<Duration>) -> Watched {
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age,
    };
    let limits = Limits {
        message_timeout: Some(Duration::from_secs(7)),
        write_timeout: Some(Duration::from_secs(5)),
        ..Limits::default()
    };
    Watched::new(timing, Often(1, 2), Often(1, 2), limits, u32::MAX / 2)
}

fn step(watched: &mut Watched, (when, step): (When, Step)) {
    let (now, deadline) = (watched.now, watched.deadline());
    let time = match when {
        Early => deadline.saturating_sub(Duration::from_secs(1)).max(now),
        Late(seconds) => deadline + Duration::from_secs(seconds),
        OnTime => deadline,
        Soon => (now + Duration::from_millis(500)).min(deadline),
    };
    // What precedes reading may leave a deadline that has passed.
    watched.step(step, time.max(now));
}

const MAX_AGE: Option<Duration> = Some(Duration::from_secs(70));

#[test]
fn every_history_of_five_steps_keeps_the_rules() {
    for number in 0..STEPS.len().pow(5) {
        let mut watched = watched(MAX_AGE);
        let mut digits = number;
        for _ in 0..5 {
            step(&mut watched, STEPS[digits % STEPS.len()]);
            digits /= STEPS.len();
        }
        assert!(watched.fall_silent(9), "history {number} does not end");
    }
}

#[test]
fn every_pair_of_steps_keeps_the_rules_after_a_long_life() {
    for first in STEPS {
        for second in STEPS {
            let mut watched = watched(None);
            for _ in 0..20 {
                step(&mut watched, (OnTime, Step::Tick));
                step(&mut watched, (Soon, Step::Pong));
            }
            step(&mut watched, first);
            step(&mut watched, second);
            assert!(watched.fall_silent(9), "a silent peer is let go");
        }
    }
}
