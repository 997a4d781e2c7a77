//! A message as it goes over the wire.

use bytes::Bytes;
use tungstenite::protocol::frame::Frame as CodecFrame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::handler::Message;

/// A message that is encoded already, for all who are to be sent it.
///
/// A server's frames have no mask (RFC 6455, section 5.1), so they are the same for everyone: clones
/// of a frame share its bytes, and a session writes them from where they are. See
/// [`Next::Share`](crate::Next::Share).
///
/// ```
/// use transport::{Frame, Message};
///
/// let frame = Frame::from(Message::from("all is well"));
/// assert_eq!(frame.payload_len(), 11);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    payload_len: usize,
}

impl Frame {
    /// The length of the message's payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// Its head and its payload.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same bytes with a count of their own of who uses them: cores that count in one place wait
    /// for each other.
    pub(crate) fn counted_apart(&self) -> Self {
        Self { bytes: Bytes::from_owner(self.bytes.clone()), payload_len: self.payload_len }
    }
}

impl From<Message> for Frame {
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
