//! What a Close frame says: a code that may be sent, and a reason that fits.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use crate::closure::Cause;

/// The body of a Close frame (RFC 6455, section 5.5.1).
///
/// ```
/// use ws_core::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "goodbye".into() };
/// assert_eq!(frame.payload_len(), 2 + 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The status code.
    pub code: CloseCode,
    /// The text behind it, often empty.
    pub reason: Reason,
}

impl CloseFrame {
    /// The frame that this side sends for `cause`: its reason is the word in the record.
    pub(crate) fn for_cause(cause: Cause, code: CloseCode) -> Self {
        Self { code, reason: cause.as_str().into() }
    }

    /// The payload's length in bytes: two of the code, and those of the reason.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        2 + self.reason.as_str().len()
    }
}

/// A status code that may stand in a Close frame (RFC 6455, section 7.4).
///
/// Those are 1000 to 1003, 1007 to 1014 and 3000 to 4999.
/// 1005, 1006 and 1015 are only ever reported: see [`ClosureCode`](crate::ClosureCode).
/// 1012 to 1014 are not in the RFC but in the registry that its section 11.7 set up.
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
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that the endpoint cannot take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data that does not fit its kind, such as a text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer broke a policy for which there is no better code.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message that is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: this side met something unexpected.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; come back after a while.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
}

impl TryFrom<u16> for CloseCode {
    type Error = UnsendableCode;

    fn try_from(code: u16) -> Result<Self, UnsendableCode> {
        match code {
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

/// A number that must not stand in a Close frame (RFC 6455, section 7.4).
///
/// ```
/// use ws_core::{CloseCode, UnsendableCode};
///
/// let error = CloseCode::try_from(1005).unwrap_err();
/// assert_eq!(error, UnsendableCode(1005));
/// assert_eq!(error.to_string(), "1005 must not stand in a close frame");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsendableCode(pub u16);

impl fmt::Display for UnsendableCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must not stand in a close frame", self.0)
    }
}

impl core::error::Error for UnsendableCode {}

/// The text of a Close frame, at most [`Reason::MAX_BYTES`] long.
///
/// A longer text is cut at the last character that fits: a reason explains a closing and must not
/// be what makes it fail.
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
    /// A control frame holds 125 bytes (RFC 6455, section 5.5), and the code takes two of them.
    pub const MAX_BYTES: usize = 123;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(fitting(text)))
    }
}

impl From<String> for Reason {
    fn from(mut text: String) -> Self {
        text.truncate(fitting(&text).len());
        Self(Cow::Owned(text))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest beginning of `text` that is whole characters and fits a Close frame.
fn fitting(text: &str) -> &str {
    let mut end = text.len().min(Reason::MAX_BYTES);
    loop {
        match text.get(..end) {
            Some(beginning) => return beginning,
            None => end -= 1,
        }
    }
}
