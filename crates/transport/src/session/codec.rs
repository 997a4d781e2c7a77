//! tungstenite's codec, without a stream.
//!
//! It reads from the bytes of one read, and writes into a buffer that accepts everything.

use std::cell::Cell;
use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode as CodecCloseCode;
use tungstenite::protocol::{
    CloseFrame as CodecCloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use ws_core::{CloseCode, CloseFrame, Reason, Violation};

use crate::message::Message;

/// The codec of a server.
#[derive(Debug)]
pub(crate) struct Codec {
    context: WebSocketContext,
    max_message_bytes: u32,
    /// Bytes read since the latest complete message or control frame.
    partial_bytes: usize,
    /// Bytes read, minus the shortest encoding of each returned message or control frame. At zero the
    /// codec buffers no input.
    unaccounted_bytes: usize,
    /// Bytes read since a Close frame was sent.
    bytes_after_close: usize,
}

/// The size of tungstenite's read buffer. Most control frames fit, and for larger frames it grows.
const READ_BUFFER_BYTES: usize = 128;

/// The reason that tungstenite substitutes, to the peer and to its caller, if a close code must not be
/// sent.
const SUBSTITUTE_REASON: &str = "Protocol violation";

/// The most that the frame headers of a message may take beside its payload. tungstenite exposes neither
/// that a message is incomplete nor its number of frames, so all bytes of it are counted together.
const FRAME_HEADERS_BYTES: usize = 1024;

/// The most input that is decoded after our Close frame was sent: it may have been in flight, and in the
/// socket buffers of both systems. A peer that sends more ignores the Close frame.
const AFTER_CLOSE_BYTES: usize = 256 * 1024;

/// The result of decoding input.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The closing handshake is complete. The codec must not be read again.
    Finished,
    Incoming(Incoming),
    /// The rest of the input is no complete message or control frame.
    NeedsInput,
    /// The peer sent more than [`AFTER_CLOSE_BYTES`]. The codec must not be read again.
    Overrun,
}

/// A complete message or control frame from the peer, or an error in its input.
#[derive(Debug)]
pub(crate) enum Incoming {
    Close(Option<CloseFrame>),
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    /// The codec must not be read again.
    Violation(Violation),
}

thread_local! {
    /// A cached codec, without any state of the session that used it.
    static CODEC: Cell<Option<Box<Codec>>> = const { Cell::new(None) };
}

impl Codec {
    /// Takes the cached codec of the thread, or creates one if none with this limit is cached.
    pub(crate) fn take(max_message_bytes: u32) -> Box<Self> {
        if let Some(codec) = CODEC.take()
            && codec.max_message_bytes == max_message_bytes
        {
            return codec;
        }
        let config = WebSocketConfig::default()
            // tungstenite zeroes it for each read, so a larger one is slower.
            .read_buffer_size(READ_BUFFER_BYTES)
            // Each frame is written at once, because the stream is a buffer itself.
            .write_buffer_size(0)
            .max_frame_size(Some(size(max_message_bytes)))
            .max_message_size(Some(size(max_message_bytes)));
        let context = WebSocketContext::new(Role::Server, Some(config));
        Box::new(Self {
            context,
            max_message_bytes,
            partial_bytes: 0,
            unaccounted_bytes: 0,
            bytes_after_close: 0,
        })
    }

    /// Decodes the next message or control frame, and advances `input` past the bytes that were read.
    ///
    /// tungstenite answers pings and Close frames itself (RFC 6455, sections 5.5.1, 5.5.2).
    pub(crate) fn read(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Decoded {
        if self.bytes_after_close > AFTER_CLOSE_BYTES {
            return Decoded::Overrun;
        }
        let is_closing = !self.context.can_write();
        let limit = size(self.max_message_bytes).saturating_add(FRAME_HEADERS_BYTES);
        let budget = limit.saturating_sub(self.partial_bytes);
        let mut wire = Wire { input, output, budget };
        let result = self.context.read(&mut wire);
        let count = budget.saturating_sub(wire.budget);
        self.partial_bytes += count;
        self.unaccounted_bytes += count;
        if is_closing {
            self.bytes_after_close += count;
        }
        let violation = match result {
            Ok(message) => {
                self.account_for(&message);
                return incoming(message).map_or(Decoded::NeedsInput, Decoded::Incoming);
            }
            // The only error of the wire is that the input or the budget is exhausted.
            Err(Error::Io(_)) if self.partial_bytes < limit => return Decoded::NeedsInput,
            Err(Error::Io(_)) => Violation::TooBig,
            Err(Error::AlreadyClosed | Error::ConnectionClosed) => return Decoded::Finished,
            Err(Error::Capacity(_)) => Violation::TooBig,
            Err(Error::Utf8(_)) => Violation::InvalidUtf8,
            // Reading returns only `Protocol` of these.
            Err(
                Error::AttackAttempt
                | Error::Http(_)
                | Error::HttpFormat(_)
                | Error::Protocol(_)
                | Error::Tls(_)
                | Error::Url(_)
                | Error::WriteBufferFull(_),
            ) => Violation::ProtocolError,
        };
        Decoded::Incoming(Incoming::Violation(violation))
    }

    /// Writes the pending answers, and returns whether another frame may be written. A pending pong must
    /// not follow a Close frame, and after the answer to a bad Close frame nothing may be written.
    pub(crate) fn may_write(&mut self, output: &mut Vec<u8>) -> bool {
        let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
        self.context.flush(&mut wire).is_ok() && self.context.can_write()
    }

    /// Writes a frame. [`may_write`](Self::may_write) must have returned `true`.
    pub(crate) fn write(&mut self, message: tungstenite::Message, output: &mut Vec<u8>) {
        let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
        let written = self.context.write(&mut wire, message);
        written.expect("the wire accepts everything while the codec may write");
    }

    /// Returns whether a message or a control frame is incomplete.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial_bytes > 0
    }

    /// Caches the codec for the next session of the thread that needs one.
    pub(crate) fn release(self: Box<Self>) {
        CODEC.set(Some(self));
    }

    /// Returns whether the codec holds no state of the session that used it.
    pub(crate) fn is_reusable(&self) -> bool {
        self.unaccounted_bytes == 0 && self.context.can_write()
    }

    /// Subtracts a returned message or control frame from the bytes read.
    fn account_for(&mut self, message: &tungstenite::Message) {
        let bytes = min_wire_bytes(message);
        self.unaccounted_bytes = self.unaccounted_bytes.saturating_sub(bytes);
        // A control frame may occur between the fragments of a message (RFC 6455, section 5.4). After a
        // data message nothing counts as partial, though the codec may have read as much as its buffer
        // holds of the next one.
        let is_control = message.is_ping() || message.is_pong();
        self.partial_bytes = if is_control { self.partial_bytes.saturating_sub(bytes) } else { 0 };
    }
}

/// Returns the least that a client's message or control frame takes: a frame header with a mask and the
/// shortest encoding of the length (RFC 6455, section 5.2), and the payload.
fn min_wire_bytes(message: &tungstenite::Message) -> usize {
    let payload = message.len();
    let header = match payload {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    };
    header + payload
}

/// The in-memory stream of the codec.
struct Wire<'a, 'b> {
    input: &'a mut &'b [u8],
    output: &'a mut Vec<u8>,
    /// How much more input the codec may read.
    budget: usize,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.input.len()).min(self.budget);
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.budget -= length;
        self.input.read(buffer.get_mut(..length).unwrap_or_default())
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn incoming(message: tungstenite::Message) -> Option<Incoming> {
    Some(match message {
        tungstenite::Message::Binary(bytes) => Incoming::Message(Message::Binary(bytes)),
        tungstenite::Message::Text(text) => Incoming::Message(Message::Text(text)),
        tungstenite::Message::Ping(payload) => Incoming::Ping(payload),
        tungstenite::Message::Pong(payload) => Incoming::Pong(payload),
        tungstenite::Message::Close(Some(frame))
            if frame.code == CodecCloseCode::Protocol && frame.reason == SUBSTITUTE_REASON =>
        {
            Incoming::Violation(Violation::ProtocolError)
        }
        tungstenite::Message::Close(frame) => Incoming::Close(frame.as_ref().and_then(close_frame)),
        // Reading never returns a raw frame.
        tungstenite::Message::Frame(_) => return None,
    })
}

/// tungstenite has checked the code, and replaced one that must not be sent with 1002.
fn close_frame(frame: &CodecCloseFrame) -> Option<CloseFrame> {
    let code = CloseCode::try_from(u16::from(frame.code)).ok()?;
    Some(CloseFrame { code, reason: Reason::from(frame.reason.to_string()) })
}

/// Converts a limit, which is stored in half the memory, to a length.
pub(crate) fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
