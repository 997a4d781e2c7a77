//! A message, and a message as it goes over the wire.

use bytes::Bytes;
use tungstenite::protocol::frame::Frame as CodecFrame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A whole data message (RFC 6455, section 5.6).
///
/// This is less than the codec's own type on purpose: control frames are the session's business,
/// and a handler cannot send one behind its back.
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
/// RFC 6455 has no other kinds, and a handler has to do something with each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes.
    Binary(Bytes),
    /// UTF-8.
    Text(Utf8Bytes),
}

/// The text of a [`Message`], which is tungstenite's own type: shared bytes that are UTF-8.
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
    /// The length of the payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

/// A message that is encoded already, for all who are to be sent it.
///
/// A server's frames have no mask (RFC 6455, section 5.1), so they are the same for everyone: clones
/// of a frame share its bytes, and a session writes them from where they are. See
/// [`Next::SendPrepared`](crate::Next::SendPrepared).
///
/// ```
/// use transport::{PreparedMessage, Message};
///
/// let frame = PreparedMessage::from(Message::from("all is well"));
/// assert_eq!(frame.payload_len(), 11);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedMessage {
    bytes: Bytes,
    payload_len: usize,
}

impl PreparedMessage {
    /// The length of the message's payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// Its head and its payload.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same bytes with a count of their own of who uses them.
    ///
    /// All clones of a frame are counted in one place, and cores that count in one place wait for each
    /// other. A handler that many sessions have takes one of these for each thread, and gives its
    /// sessions clones of that. The bytes are not copied.
    ///
    /// ```
    /// use transport::{PreparedMessage, Message};
    ///
    /// let frame = PreparedMessage::from(Message::from("all is well"));
    /// assert_eq!(frame.with_own_refcount(), frame);
    /// ```
    #[must_use]
    pub fn with_own_refcount(&self) -> Self {
        Self { bytes: Bytes::from_owner(self.bytes.clone()), payload_len: self.payload_len }
    }
}

impl From<Message> for PreparedMessage {
    fn from(message: Message) -> Self {
        let payload_len = message.payload_len();
        let frame = match message {
            Message::Binary(bytes) => CodecFrame::message(bytes, OpCode::Data(Data::Binary), true),
            Message::Text(text) => CodecFrame::message(text, OpCode::Data(Data::Text), true),
        };
        let mut bytes = Vec::with_capacity(frame.len());
        frame.format(&mut bytes).expect("a vector takes everything");
        Self { bytes: bytes.into(), payload_len }
    }
}
