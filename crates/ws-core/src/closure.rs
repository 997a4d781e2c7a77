//! What is said of a session when it is over.

use core::fmt;
use core::ops::AddAssign;
use core::time::Duration;

use crate::close::{CloseCode, Reason};

/// The record of a session that has ended: the answer to "who closed this, and why?".
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    pub const ALL: [Self; 13] = [
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

/// Who began a closing handshake.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
