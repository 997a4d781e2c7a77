//! Data messages.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A complete data message (RFC 6455, section 5.6).
///
/// There are no control frames here, unlike in the codec's own type: only the session sends these.
///
/// ```
/// use transport::Message;
///
/// assert_eq!(Message::from("Zoë").payload_len(), 4);
/// assert_eq!(Message::from(vec![1, 2, 3]).payload_len(), 3);
/// let Message::Text(text) = Message::from("Zoë") else { panic!() };
/// assert_eq!(text.as_str(), "Zoë");
/// ```
///
/// Not `#[non_exhaustive]`: RFC 6455 has no other kinds of data, and a handler has to handle each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes.
    Binary(Bytes),
    /// UTF-8.
    //= rfc6455#5.6-2
    Text(Utf8Bytes),
}

/// The text of a [`Message`]: shared bytes that are UTF-8. The type is tungstenite's.
pub use tungstenite::protocol::frame::Utf8Bytes;

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl Message {
    /// Returns the length of the payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload().len()
    }

    /// Returns the payload.
    ///
    /// ```
    /// use transport::Message;
    ///
    /// assert_eq!(Message::from("Zoë").payload(), "Zoë".as_bytes());
    /// ```
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// Returns the opcode of its only or first frame (RFC 6455, section 5.6).
    pub(crate) fn opcode(&self) -> OpCode {
        //= rfc6455#6.1-3
        OpCode::Data(match self {
            Self::Binary(_) => Data::Binary,
            Self::Text(_) => Data::Text,
        })
    }
}
