//! What is decided for a session before it begins: how long it waits, and what its peer may do.

use core::time::Duration;

use crate::rate::Rate;
use crate::time::at_least_1_ms;

/// How long things take. A value below a millisecond counts as one.
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// From a ping to the moment when a peer that has said nothing since is given up.
    pub pong_timeout: Duration,
    /// From a Close frame to the moment when an unfinished closing handshake is given up.
    pub close_timeout: Duration,
    /// How old a session gets before it is closed; `None` is as old as it likes.
    pub max_age: Option<Duration>,
}

impl Timing {
    pub(crate) fn ping_interval(&self) -> Duration {
        at_least_1_ms(self.ping_interval)
    }
}

/// What a peer may make a session do, beyond what the codec limits. `None` is no limit.
///
/// ```
/// use std::time::Duration;
/// use ws_core::{Limits, Rate};
///
/// let limits = Limits {
///     messages: Rate::new(10, 20),
///     write_timeout: Some(Duration::from_secs(10)),
///     ..Limits::default()
/// };
/// assert_eq!(limits.control_frames, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How often a ping, or a pong that nobody asked for, may come.
    pub control_frames: Option<Rate>,
    /// From the first byte of a message to its end.
    pub message_timeout: Option<Duration>,
    /// How often a data message may come.
    pub messages: Option<Rate>,
    /// How long output may wait without any of it going out.
    /// While it waits, neither the pong timeout nor the message timeout runs: what they wait for may
    /// sit in what is not read then. Without it they run on, so that such a session ends at all.
    pub write_timeout: Option<Duration>,
}

/// What holds for every session of an endpoint. The sessions share it. [`Lifecycle`](crate::Lifecycle)
/// has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// When to ping, and how long to wait for the peer.
    pub timing: Timing,
    /// What the peer may do beyond what the protocol forbids.
    pub limits: Limits,
}
