//! Data messages, and messages that are encoded once for many sessions.

use bytes::Bytes;
use tungstenite::protocol::frame::Frame as CodecFrame;
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
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Appends the message to `output`, in one frame that is not masked (RFC 6455, section 5.1).
    ///
    /// # Panics
    ///
    /// Never: a write to a vector does not fail.
    pub(crate) fn write_frame(self, output: &mut Vec<u8>) {
        let frame = match self {
            Self::Binary(bytes) => CodecFrame::message(bytes, OpCode::Data(Data::Binary), true),
            Self::Text(text) => CodecFrame::message(text, OpCode::Data(Data::Text), true),
        };
        output.reserve(frame.len());
        frame.format(output).expect("a write to a vector never fails");
    }
}

/// A message that is encoded once, to be sent by any number of sessions.
///
/// The frames of a server are not masked (RFC 6455, section 5.1), so they are the same for every client.
/// Clones share the bytes, and sessions write them without a copy. See
/// [`Next::SendPrepared`](crate::Next::SendPrepared).
///
/// ```
/// use transport::{Message, PreparedMessage};
///
/// let prepared = PreparedMessage::from(Message::from("all is well"));
/// assert_eq!(prepared.payload_len(), 11);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedMessage {
    bytes: Bytes,
    payload_len: usize,
}

impl PreparedMessage {
    /// Returns the length of the message's payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// Returns the frame: its header and its payload.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the same bytes with a reference count of their own. The bytes are not copied.
    ///
    /// All clones of a prepared message share one reference count, for whose cache line the cores
    /// contend. A handler of many sessions takes one of these for each thread, and sends clones of it.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let prepared = PreparedMessage::from(Message::from("all is well"));
    /// assert_eq!(prepared.with_own_refcount(), prepared);
    /// ```
    #[must_use]
    pub fn with_own_refcount(&self) -> Self {
        Self { bytes: Bytes::from_owner(self.bytes.clone()), payload_len: self.payload_len }
    }
}

impl From<Message> for PreparedMessage {
    fn from(message: Message) -> Self {
        let payload_len = message.payload_len();
        let mut bytes = Vec::new();
        message.write_frame(&mut bytes);
        Self { bytes: bytes.into(), payload_len }
    }
}
