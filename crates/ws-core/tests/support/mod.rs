//! Shared by the tests: timings, constructors of sessions, and the expected kind of an action.
#![allow(dead_code, reason = "each test file uses some of these functions")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

use std::sync::Arc;
use std::time::Duration;

use ws_core::{Action, CloseCode, CloseRecord, Event, Lifecycle, Limits, SessionConfig, Timing};

pub(crate) const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    pong_timeout: Duration::from_secs(10),
    close_timeout: Duration::from_secs(3),
    max_age: None,
    reconnect_spread: Duration::ZERO,
};

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A drain without a delay.
pub(crate) fn drain() -> Event<'static> {
    Event::Drain { code: CloseCode::GOING_AWAY, after: Duration::ZERO, retry: None }
}

pub(crate) fn open() -> Lifecycle {
    open_with(Limits::default())
}

pub(crate) fn open_with(limits: Limits) -> Lifecycle {
    Lifecycle::new(Arc::new(SessionConfig { timing: TIMING, limits }), 0)
}

/// Returns the payload of the ping.
#[track_caller]
pub(crate) fn ping(action: Option<Action>) -> [u8; 4] {
    match action {
        Some(Action::Ping(payload)) => payload,
        other => panic!("expected a ping, not {other:?}"),
    }
}

/// Returns the close record of the end.
#[track_caller]
pub(crate) fn end(action: Option<Action>) -> CloseRecord {
    match action {
        Some(Action::End(record)) => record,
        other => panic!("expected the end, not {other:?}"),
    }
}

/// Returns the code and the reason of the Close frame.
#[track_caller]
pub(crate) fn close(action: Option<Action>) -> (u16, String) {
    match action {
        Some(Action::Close(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("expected a Close frame, not {other:?}"),
    }
}
