//! The latest handover, for the admin listener.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::time::milliseconds;

/// The handover in which this process takes part, or took part last. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandoverStatus(Arc<Mutex<Option<Handover>>>);

/// A handover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    pub(crate) role: Role,
    pub(crate) state: State,
    /// The process on the other side.
    pub(crate) pid: u32,
    /// Sessions that the successor has now.
    pub(crate) sessions: usize,
    /// Sessions that the successor refused.
    pub(crate) refused: usize,
    /// Sessions that the predecessor still has, as far as this process knows.
    pub(crate) predecessor_open: u64,
    /// The longest time for which a session was frozen.
    pub(crate) pause: Duration,
    pub(crate) duration: Duration,
}

/// The side of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Predecessor,
    Successor,
}

/// How far a handover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Completed,
    InProgress,
    Revoked,
}

impl HandoverStatus {
    pub(crate) fn set(&self, handover: Handover) {
        *self.0.lock() = Some(handover);
    }

    /// Sets how many sessions the process before this one has, unless a later handover has begun.
    pub(crate) fn set_predecessor_open(&self, pid: u32, open: u64) {
        if let Some(handover) = &mut *self.0.lock()
            && (handover.role, handover.pid) == (Role::Successor, pid)
        {
            handover.predecessor_open = open;
        }
    }

    /// Returns it for the admin listener, unless there was none.
    pub(crate) fn to_json(&self) -> Option<Value> {
        let handover = (*self.0.lock())?;
        Some(json!({
            "role": match handover.role {
                Role::Predecessor => "predecessor",
                Role::Successor => "successor",
            },
            "state": match handover.state {
                State::Completed => "completed",
                State::InProgress => "in_progress",
                State::Revoked => "revoked",
            },
            "pid": handover.pid,
            "sessions": handover.sessions,
            "refused": handover.refused,
            "predecessor_open": handover.predecessor_open,
            "pause_ms": milliseconds(handover.pause),
            "duration_ms": milliseconds(handover.duration),
        }))
    }
}
