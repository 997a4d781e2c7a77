//! What is said of a session when it is over.

use core::fmt;
use core::ops::AddAssign;
use core::time::Duration;

use crate::close::{CloseCode, Reason};

/// The record of a session that has ended: the answer to "who closed this, and why?".
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, Cause, CloseCode, CloseFrame, ClosureCode, Event, Initiator};
/// # use ws_core::{Lifecycle, Limits, Rules, Timing};
/// # let time = Duration::from_secs(25);
/// # let timing =
/// #     Timing { ping_interval: time, pong_timeout: time, close_timeout: time, max_age: None };
/// # let rules = Rules { timing, limits: Limits::default() };
/// # let mut session = Lifecycle::new(Arc::new(rules), 0);
///
/// // The peer says goodbye, and the codec's answer is flushed a moment later.
/// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() };
/// session.handle(Event::PeerClose(Some(frame)), Duration::from_secs(7));
/// let end = session.handle(Event::Finished, Duration::from_secs(8));
///
/// let Some(Action::End(closure)) = end else { panic!() };
/// assert_eq!(closure.cause, Cause::PeerClosed);
/// assert_eq!(closure.code, ClosureCode::Frame(CloseCode::NORMAL));
/// assert_eq!(closure.reason.as_str(), "bye");
/// assert_eq!(closure.initiator, Initiator::Peer);
/// assert!(closure.clean);
/// assert_eq!(closure.duration, Duration::from_secs(8));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closure {
    /// Why the end began.
    pub cause: Cause,
    /// The code of the Close frame that began the closing handshake, or what stands for its lack.
    pub code: ClosureCode,
    /// The reason in that frame; the peer's own words if the peer sent it, so escape it.
    pub reason: Reason,
    /// How the end went: whether the closing handshake was completed (RFC 6455, section 7.1.4).
    pub clean: bool,
    /// Who began the closing handshake.
    pub initiator: Initiator,
    /// From opening to end.
    pub duration: Duration,
    /// The time from the latest answered ping to its pong; `None` if none was answered.
    pub round_trip: Option<Duration>,
    /// What the peer sent.
    pub received: Tally,
    /// What was handed to the codec for the peer, or sent by the codec itself.
    pub sent: Tally,
}

/// Why a session ended. The cause says why the end began; [`Closure::clean`] says how it went.
///
/// ```
/// use ws_core::Cause;
///
/// assert_eq!(Cause::PongTimeout.as_str(), "pong_timeout");
/// assert_eq!(Cause::PongTimeout.to_string(), "pong_timeout");
/// assert!(Cause::ALL.contains(&Cause::PongTimeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The stream ended or failed without a Close frame.
    Disconnected,
    /// This process shuts down.
    Drained,
    /// The application closed the session.
    HandlerClosed,
    /// A text message or a close reason was not UTF-8 (RFC 6455, section 8.1).
    InvalidUtf8,
    /// The session had reached the greatest age.
    MaxAge,
    /// A message was begun and not ended within the message timeout.
    MessageTimeout,
    /// The code that served the session panicked.
    Panicked,
    /// The peer sent a Close frame.
    PeerClosed,
    /// A ping was followed by nothing at all within the pong timeout.
    PongTimeout,
    /// The peer broke the framing rules (RFC 6455, section 5).
    ProtocolError,
    /// The peer sent messages or control frames more often than it may.
    RateLimited,
    /// A frame or a message was larger than allowed.
    TooBig,
    /// Output waited for the write timeout, and none of it went out.
    WriteTimeout,
}

impl Cause {
    /// Every cause, in the order of its word.
    pub const ALL: &'static [Self] = &[
        Self::Disconnected,
        Self::Drained,
        Self::HandlerClosed,
        Self::InvalidUtf8,
        Self::MaxAge,
        Self::MessageTimeout,
        Self::Panicked,
        Self::PeerClosed,
        Self::PongTimeout,
        Self::ProtocolError,
        Self::RateLimited,
        Self::TooBig,
        Self::WriteTimeout,
    ];

    /// The word for it, the same in logs, close reasons and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Drained => "drained",
            Self::HandlerClosed => "handler_closed",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MaxAge => "max_age",
            Self::MessageTimeout => "message_timeout",
            Self::Panicked => "panicked",
            Self::PeerClosed => "peer_closed",
            Self::PongTimeout => "pong_timeout",
            Self::ProtocolError => "protocol_error",
            Self::RateLimited => "rate_limited",
            Self::TooBig => "too_big",
            Self::WriteTimeout => "write_timeout",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The code of a closing: one that stood in a Close frame, or one that is only reported
/// (RFC 6455, sections 7.1.5 and 7.4.1).
///
/// ```
/// use ws_core::{CloseCode, ClosureCode};
///
/// assert_eq!(u16::from(ClosureCode::Frame(CloseCode::GOING_AWAY)), 1001);
/// assert_eq!(u16::from(ClosureCode::NoStatus), 1005);
/// assert_eq!(u16::from(ClosureCode::Abnormal), 1006);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosureCode {
    /// 1006: there was no Close frame.
    Abnormal,
    /// The code in the frame.
    Frame(CloseCode),
    /// 1005: the peer's Close frame held no code.
    NoStatus,
}

impl From<ClosureCode> for u16 {
    fn from(code: ClosureCode) -> u16 {
        match code {
            ClosureCode::Abnormal => 1006,
            ClosureCode::Frame(code) => code.into(),
            ClosureCode::NoStatus => 1005,
        }
    }
}

/// Who began a closing handshake. [`Closure`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This side did.
    Local,
    /// There was none: no Close frame was sent or seen.
    Nobody,
    /// The peer did.
    Peer,
}

/// What has been counted and measured of a session while it lasts.
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Pings that were sent, modulo 2³².
    pub pings: u32,
    /// Pings whose own pong came, modulo 2³².
    pub pongs: u32,
    /// The time from the latest answered ping to its pong; `None` if none was answered.
    pub round_trip: Option<Duration>,
    /// What the peer sent.
    pub received: Tally,
    /// What was handed to the codec for the peer, or sent by the codec itself.
    pub sent: Tally,
}

/// How much went in one direction: whole messages and control frames, and their payload.
///
/// ```
/// use ws_core::Tally;
///
/// let before = Tally { messages: 2, bytes: 10 };
/// let mut sum = before;
/// sum += Tally { messages: 1, bytes: 5 };
/// assert_eq!(sum.since(before), Tally { messages: 1, bytes: 5 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole messages and control frames.
    pub messages: u64,
    /// Their payload in bytes, without frame headers.
    pub bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.messages = self.messages.saturating_add(more.messages);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl Tally {
    /// What has come on top of `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    pub(crate) fn add(&mut self, payload_bytes: usize) {
        let bytes = u64::try_from(payload_bytes).unwrap_or(u64::MAX);
        *self += Self { messages: 1, bytes };
    }
}
