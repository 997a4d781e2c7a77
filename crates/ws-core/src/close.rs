//! The end of a session: Close frames and close codes, causes, the close record and the counters.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::AddAssign;
use core::time::Duration;

use crate::time::Millis;

/// The body of a Close frame (RFC 6455, section 5.5.1).
///
/// ```
/// use ws_core::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "done".into() };
/// assert_eq!(frame.payload_len(), 2 + 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The status code.
    pub code: CloseCode,
    /// The text after the code, often empty.
    pub reason: Reason,
}

impl CloseFrame {
    /// Creates the frame that this side sends for `cause`, with the word of the cause as its reason.
    pub(crate) fn for_cause(cause: Cause, code: CloseCode) -> Self {
        Self { code, reason: cause.as_str().into() }
    }

    /// Creates the frame that this side sends for `cause`, which also says when the client may come back:
    /// after `retry`, as in `drained retry=4200`.
    pub(crate) fn with_retry(cause: Cause, code: CloseCode, retry: Millis) -> Self {
        Self { code, reason: format!("{cause} retry={}", retry.get()).into() }
    }

    /// Returns the payload length in bytes: two for the code, plus the reason; at most 125.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        2 + self.reason.as_str().len()
    }
}

/// A status code that a Close frame may contain (RFC 6455, section 7.4).
///
/// These are 1000 to 1003, 1007 to 1014 and 3000 to 4999; `try_from` fails with [`UnsendableCode`] for
/// every other number.
/// 1005, 1006 and 1015 are never sent, only reported: see [`CloseStatus`](crate::CloseStatus).
/// 1012 to 1014, 3000 and 3003 are not defined by the RFC, but by the registry of its section 11.7.
///
/// ```
/// use ws_core::CloseCode;
///
/// assert_eq!(CloseCode::try_from(1001), Ok(CloseCode::GOING_AWAY));
/// assert!(CloseCode::try_from(1006).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of data that the endpoint does not accept.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data inconsistent with its type, such as a text message that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer violated a policy for which there is no more specific code.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message that is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: this side encountered an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; the client may reconnect after a delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; the client may try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 3000: the client has to authenticate, possibly again.
    pub const UNAUTHORIZED: Self = Self(3000);
    /// 3003: the client is authenticated, but not permitted.
    pub const FORBIDDEN: Self = Self(3003);
}

impl TryFrom<u16> for CloseCode {
    type Error = UnsendableCode;

    fn try_from(code: u16) -> Result<Self, UnsendableCode> {
        match code {
            //= rfc6455#7.4.1-1 rfc6455#7.4.1-2 rfc6455#7.4.1-3 rfc6455#7.4.2-1
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => Err(UnsendableCode(code)),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error for a number that a Close frame must not contain (RFC 6455, section 7.4).
///
/// ```
/// use ws_core::{CloseCode, UnsendableCode};
///
/// let error = CloseCode::try_from(1005).unwrap_err();
/// assert_eq!(error, UnsendableCode(1005));
/// assert_eq!(error.to_string(), "1005 must not be sent in a Close frame");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsendableCode(pub u16);

impl fmt::Display for UnsendableCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must not be sent in a Close frame", self.0)
    }
}

impl core::error::Error for UnsendableCode {}

/// The reason of a Close frame (RFC 6455, section 5.5.1): at most [`Reason::MAX_BYTES`] of text.
///
/// A longer text is truncated after the last character that fits, so that a long reason cannot make the
/// close fail.
///
/// ```
/// use ws_core::Reason;
///
/// assert_eq!(Reason::from("drained").as_str(), "drained");
/// assert_eq!(Reason::from("é".repeat(100)).as_str(), "é".repeat(Reason::MAX_BYTES / 2));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// Maximum length in bytes: the payload of a control frame has at most 125 (RFC 6455,
    /// section 5.5), and the code takes two of them.
    pub const MAX_BYTES: usize = 123;

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(truncated(text)))
    }
}

impl From<String> for Reason {
    fn from(mut text: String) -> Self {
        text.truncate(truncated(&text).len());
        Self(Cow::Owned(text))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the longest prefix of `text` that has whole characters and fits a Close frame.
fn truncated(text: &str) -> &str {
    //= rfc6455#5.5-2
    let mut end = text.len().min(Reason::MAX_BYTES);
    loop {
        match text.get(..end) {
            Some(prefix) => return prefix,
            None => end -= 1,
        }
    }
}

/// The record of a session that has ended: which side closed it, and why.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, Cause, CloseCode, CloseFrame, CloseStatus, Event, Initiator};
/// # use ws_core::{Lifecycle, Limits, SessionConfig, Timing};
/// # let time = Duration::from_secs(25);
/// # let timing =
/// #     Timing { ping_interval: time, pong_timeout: time, close_timeout: time, max_age: None, reconnect_spread: Duration::ZERO };
/// # let config = SessionConfig { timing, limits: Limits::default() };
/// # let mut session = Lifecycle::new(Arc::new(config), 0);
///
/// // The peer sends a Close frame; the codec's echo is flushed a second later.
/// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() };
/// session.handle(Event::PeerClose(Some(frame)), Duration::from_secs(7));
/// let end = session.handle(Event::Finished, Duration::from_secs(8));
///
/// let Some(Action::End(record)) = end else { panic!() };
/// assert_eq!(record.cause, Cause::PeerClosed);
/// assert_eq!(record.code, CloseStatus::Frame(CloseCode::NORMAL));
/// assert_eq!(record.reason.as_str(), "bye");
/// assert_eq!(record.initiator, Initiator::Peer);
/// assert!(record.clean);
/// assert_eq!(record.duration, Duration::from_secs(8));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseRecord {
    /// Why the session ended.
    pub cause: Cause,
    /// The code of the Close frame that began the closing handshake. RFC 6455, section 7.1.5, means the peer's,
    /// also where this side began it.
    pub code: CloseStatus,
    /// The reason in that frame. If the peer sent it, it is untrusted text: escape it.
    pub reason: Reason,
    /// Whether the closing handshake was completed (RFC 6455, section 7.1.4).
    pub clean: bool,
    /// Which side began the closing handshake.
    pub initiator: Initiator,
    /// Time from the opening of the session to its end.
    pub duration: Duration,
    /// Time from the latest answered ping to its pong; `None` if no ping was answered.
    pub round_trip: Option<Duration>,
    /// Messages from the peer, and the payload of all its frames.
    pub received: Counters,
    /// Messages to the peer, and the payload of all frames, with the codec's own pongs and Close frames.
    pub sent: Counters,
}

/// Why a session ended. [`CloseRecord::clean`] says whether the closing handshake was completed.
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
    /// The operator or the application ended this session from outside
    /// ([`Event::disconnect_requested`](crate::Event::disconnect_requested)).
    DisconnectRequested,
    /// The stream ended or failed without a Close frame.
    Disconnected,
    /// This process shut down or released the session ([`Event::Drain`](crate::Event::Drain)).
    Drained,
    /// The session's permission ended ([`Lifecycle::expiring_at`](crate::Lifecycle::expiring_at)).
    Expired,
    /// The application closed the session.
    HandlerClosed,
    /// A text message or a close reason was not UTF-8 (RFC 6455, section 8.1).
    InvalidUtf8,
    /// The session reached its maximum age.
    MaxAge,
    /// A message began and did not end within the message timeout.
    MessageTimeout,
    /// The code that served the session panicked.
    Panicked,
    /// The peer sent a Close frame.
    PeerClosed,
    /// After a ping, the peer sent no whole message, ping or pong within the pong timeout.
    PongTimeout,
    /// The peer broke the framing rules (RFC 6455, section 5).
    ProtocolError,
    /// The peer exceeded the rate limit for messages or for control frames.
    RateLimited,
    /// A frame or a message exceeded the size limit.
    TooBig,
    /// Output waited for the write timeout, and no byte of it was written.
    WriteTimeout,
}

impl Cause {
    /// Every cause, sorted by its word.
    pub const ALL: &'static [Self] = &[
        Self::DisconnectRequested,
        Self::Disconnected,
        Self::Drained,
        Self::Expired,
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

    /// Returns the word for the cause, the same in logs, close reasons and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DisconnectRequested => "disconnect_requested",
            Self::Disconnected => "disconnected",
            Self::Drained => "drained",
            Self::Expired => "expired",
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

/// The status of a close: the code of a Close frame, or a code that is only reported and never sent
/// (RFC 6455, sections 7.1.5 and 7.4.1).
///
/// ```
/// use ws_core::{CloseCode, CloseStatus};
///
/// assert_eq!(u16::from(CloseStatus::Frame(CloseCode::GOING_AWAY)), 1001);
/// assert_eq!(u16::from(CloseStatus::NoStatus), 1005);
/// assert_eq!(u16::from(CloseStatus::Abnormal), 1006);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseStatus {
    /// 1006: no Close frame was sent or received.
    Abnormal,
    /// The code in the Close frame.
    Frame(CloseCode),
    /// 1005: the peer's Close frame had no code.
    NoStatus,
}

impl From<CloseStatus> for u16 {
    fn from(code: CloseStatus) -> u16 {
        match code {
            CloseStatus::Abnormal => 1006,
            CloseStatus::Frame(code) => code.into(),
            CloseStatus::NoStatus => 1005,
        }
    }
}

/// The side that began the closing handshake. [`CloseRecord`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This side.
    Local,
    /// Neither side: no Close frame was sent or received.
    None,
    /// The peer.
    Peer,
}

/// The counters and measurements of a session so far.
///
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Number of pings sent, modulo 2¹⁶.
    pub pings: u16,
    /// Number of pings answered by their own pong, modulo 2¹⁶.
    pub pongs: u16,
    /// Time from the latest answered ping to its pong; `None` if no ping was answered.
    pub round_trip: Option<Duration>,
    /// Messages from the peer, and the payload of all its frames.
    pub received: Counters,
    /// Messages to the peer, and the payload of all frames, with the codec's own pongs and Close frames.
    pub sent: Counters,
    /// Number of control frames from the peer, modulo 2¹⁶: compare two values to count an increase.
    pub control_frames_received: u16,
    /// Number of control frames to the peer, with the codec's own, modulo 2¹⁶.
    pub control_frames_sent: u16,
}

/// The counters of one direction. They saturate at `u64::MAX`.
///
/// ```
/// use ws_core::Counters;
///
/// let before = Counters { messages: 2, bytes: 10 };
/// let mut sum = before;
/// sum += Counters { messages: 1, bytes: 5 };
/// assert_eq!(sum.since(before), Counters { messages: 1, bytes: 5 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Number of data messages. Control frames (pings, pongs, Close) are counted in [`Stats`].
    pub messages: u64,
    /// Total length of the payloads of messages and control frames in bytes, without frame headers.
    pub bytes: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.messages = self.messages.saturating_add(more.messages);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

impl Counters {
    /// Returns the counts since `earlier`, at least zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    /// Adds a data message.
    pub(crate) fn add_message(&mut self, payload_len: usize) {
        self.messages = self.messages.saturating_add(1);
        self.add_bytes(payload_len);
    }

    /// Adds the payload of a frame.
    pub(crate) fn add_bytes(&mut self, payload_len: usize) {
        let bytes = u64::try_from(payload_len).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
