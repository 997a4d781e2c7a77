//! What another process needs to continue a session.

use core::time::Duration;

use crate::close::{Cause, CloseCode, Stats};

/// The state of an open session at a moment when no input is incomplete and no output waits.
///
/// [`Lifecycle::snapshot`](crate::Lifecycle::snapshot) takes it, and
/// [`Lifecycle::restore`](crate::Lifecycle::restore) continues the session, also in another process. Every
/// time is counted from the opening of the session, unless its field says otherwise; the caller has to
/// transfer the age of the session beside it.
///
/// Minor versions may add fields. The default is a session that is pinged at once; a field that is missing
/// in a stored snapshot keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// When the next regular ping is due.
    pub ping_due: Duration,
    /// When the latest ping was sent; `None` once its pong was received.
    pub ping_sent_at: Option<Duration>,
    /// When the session is given up, unless the peer sends something before; `None` if no ping waits.
    pub pong_deadline: Option<Duration>,
    /// Whether that deadline was extended already, because this side was late.
    pub pong_deadline_is_extended: bool,
    /// The close that is scheduled.
    pub scheduled_close: Option<ScheduledClose>,
    /// When the session's permission ends.
    pub expiry: Option<Duration>,
    /// The token bucket for the peer's messages.
    pub messages: BucketSnapshot,
    /// The token bucket for the peer's control frames.
    pub control_frames: BucketSnapshot,
    /// The end of the latest stall, while its input may still arrive.
    pub stalled_at: Option<Duration>,
    /// The counters and measurements so far.
    pub stats: Stats,
}

/// A close by this side at a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledClose {
    /// When the Close frame is sent.
    pub at: Duration,
    /// The cause for the close record.
    pub cause: Cause,
    /// The code of the Close frame.
    pub code: CloseCode,
    /// When the client may come back, counted from the close, in whole milliseconds.
    pub retry: Option<Duration>,
}

/// The state of a token bucket. The default is a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSnapshot {
    /// When the bucket is full again.
    pub full_at: Duration,
    /// What a stall earned beyond the size of the bucket, as time of refilling.
    pub credit: Duration,
}
