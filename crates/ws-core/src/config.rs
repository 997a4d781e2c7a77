//! The configuration of a session: its timeouts and the limits on its peer.

use core::time::Duration;

use crate::rate::Rate;
use crate::time::{at_least_1_ms, scaled};

/// The intervals and timeouts of a session. A value below 1 ms counts as 1 ms.
///
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time from one ping to the next. The first comes up to a tenth earlier, as
    /// [`Jitter::ping`](crate::Jitter::ping) says.
    pub ping_interval: Duration,
    /// Time from a ping until the session is given up, unless the peer sends a whole message, a ping
    /// or a pong.
    pub pong_timeout: Duration,
    /// Time from a Close frame until an unfinished closing handshake is given up.
    pub close_timeout: Duration,
    /// Age at which a session is closed, reduced by up to a tenth as
    /// [`Jitter::end`](crate::Jitter::end) says. `None` is no limit.
    pub max_age: Option<Duration>,
    /// Time over which clients come back whose sessions reach their greatest age, counted from nine
    /// tenths of it: the reason of each Close says when ([`retry_after`](crate::retry_after)). Zero says
    /// nothing.
    pub reconnect_spread: Duration,
}

/// Returns the time after which a client may come back whose session is closed in an operation that is
/// spread over many sessions, such as a drain. `None` if `reconnect_spread` is zero.
///
/// The operation closes the sessions over the time `spread`, this one at `position`, from 0 to
/// [`u32::MAX`]. Together the clients then come back at an even rate over `reconnect_spread`, counted from
/// the beginning of the operation, or over `spread` if that is longer.
///
/// ```
/// use std::time::Duration;
/// use ws_core::retry_after;
///
/// let seconds = Duration::from_secs;
/// // The last session is closed after 10 s, and its client comes back 30 s after the beginning.
/// assert_eq!(retry_after(seconds(30), seconds(10), u32::MAX), Some(seconds(20)));
/// assert_eq!(retry_after(seconds(30), seconds(10), 0), Some(Duration::ZERO));
/// // The sessions are closed more slowly than their clients may come back.
/// assert_eq!(retry_after(seconds(30), seconds(60), u32::MAX), Some(Duration::ZERO));
/// assert_eq!(retry_after(Duration::ZERO, seconds(10), u32::MAX), None);
/// ```
#[must_use]
pub fn retry_after(
    reconnect_spread: Duration,
    spread: Duration,
    position: u32,
) -> Option<Duration> {
    if reconnect_spread.is_zero() {
        return None;
    }
    Some(scaled(reconnect_spread.saturating_sub(spread), position))
}

impl Timing {
    pub(crate) fn ping_interval(&self) -> Duration {
        at_least_1_ms(self.ping_interval)
    }
}

/// Limits on the peer, beyond those of the codec. `None` is no limit; a time below 1 ms counts as 1 ms.
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
    /// Rate of pings, and of pongs that do not answer the latest ping. A faster peer is closed with
    /// 1008, `rate_limited`.
    pub control_frames: Option<Rate>,
    /// Time from the first byte of a message to its end. A slower peer is closed with 1008,
    /// `message_timeout`.
    pub message_timeout: Option<Duration>,
    /// Rate of data messages. A faster peer is closed with 1008, `rate_limited`.
    pub messages: Option<Rate>,
    /// Time that output may wait while no byte of it is written. The session then ends without a
    /// Close frame.
    ///
    /// While output waits, the pong timeout and the message timeout are suspended: the frames that
    /// they wait for may be in the input, which is not read then. If this is `None` they keep running,
    /// so that such a session ends at all.
    pub write_timeout: Option<Duration>,
}

/// The configuration that all sessions of an endpoint share.
///
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Intervals and timeouts.
    pub timing: Timing,
    /// Limits on the peer, beyond those of RFC 6455.
    pub limits: Limits,
}
