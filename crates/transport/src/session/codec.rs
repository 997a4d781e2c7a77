//! tungstenite's codec, without a stream.
//!
//! It reads from the bytes of a wake-up, and writes into a buffer that always accepts.

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

/// A server's codec.
#[derive(Debug)]
pub(crate) struct Codec {
    context: WebSocketContext,
    max_message_bytes: u32,
    /// Bytes that it took since it last gave something whole.
    unfinished: usize,
    /// Bytes that it took, less what the things that it gave need at least. At zero nothing is left
    /// in it.
    undelivered: usize,
    /// Bytes that it took since a Close frame went out.
    after_close: usize,
}

/// How much the codec reads at once. Control frames fit, and larger frames get more.
const READ_BUFFER_BYTES: usize = 128;

/// What the codec puts in the place of a close code that must not be sent, for the peer and for us.
const SUBSTITUTE_REASON: &str = "Protocol violation";

/// What the heads of a message's frames may take, beside its payload. tungstenite shows neither that
/// a message is unfinished nor in how many parts it comes, so all of its bytes are counted together.
const HEADS_BYTES: usize = 1024;

/// What may be on its way when our Close frame goes out, with room for both systems' buffers. A peer
/// that sends more does not listen, and what it sends is not worth decoding.
const AFTER_CLOSE_BYTES: usize = 256 * 1024;

/// What a look at the input gave.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The peer has gone on for long after our Close frame. Nothing more is to be read from the codec.
    Overrun,
    /// The closing handshake is complete, and nothing more is to be read.
    Finished,
    Incoming(Incoming),
    /// There is no whole thing left.
    Nothing,
}

/// Something whole that the peer sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    Close(Option<CloseFrame>),
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    /// Nothing more is to be read from the codec after this.
    Violation(Violation),
}

thread_local! {
    /// A codec without a trace of the session that had it.
    static CODEC: Cell<Option<Box<Codec>>> = const { Cell::new(None) };
}

impl Codec {
    /// The thread's, or a new one if there is none with this limit.
    pub(crate) fn take(max_message_bytes: u32) -> Box<Self> {
        if let Some(codec) = CODEC.take()
            && codec.max_message_bytes == max_message_bytes
        {
            return codec;
        }
        let config = WebSocketConfig::default()
            // It is filled with zeros for each read, so a larger one is slower.
            .read_buffer_size(READ_BUFFER_BYTES)
            // Hand over each frame at once: the buffer behind is ours.
            .write_buffer_size(0)
            .max_frame_size(Some(size(max_message_bytes)))
            .max_message_size(Some(size(max_message_bytes)));
        let context = WebSocketContext::new(Role::Server, Some(config));
        Box::new(Self { context, max_message_bytes, unfinished: 0, undelivered: 0, after_close: 0 })
    }

    /// The next thing in `input`, which is used up on the way.
    ///
    /// Pings and close frames are answered here by themselves (RFC 6455, sections 5.5.1, 5.5.2).
    pub(crate) fn read(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Decoded {
        if self.after_close > AFTER_CLOSE_BYTES {
            return Decoded::Overrun;
        }
        let is_closing = !self.context.can_write();
        let most = size(self.max_message_bytes).saturating_add(HEADS_BYTES);
        let budget = most.saturating_sub(self.unfinished);
        let mut wire = Wire { input, output, budget };
        let result = self.context.read(&mut wire);
        let took = budget.saturating_sub(wire.budget);
        self.unfinished += took;
        self.undelivered += took;
        if is_closing {
            self.after_close += took;
        }
        let violation = match result {
            Ok(message) => {
                self.count_delivered(&message);
                return incoming(message).map_or(Decoded::Nothing, Decoded::Incoming);
            }
            // The wire's only error is that there is no more, of input or of the budget.
            Err(Error::Io(_)) if self.unfinished < most => return Decoded::Nothing,
            Err(Error::Io(_)) => Violation::TooBig,
            Err(Error::AlreadyClosed | Error::ConnectionClosed) => return Decoded::Finished,
            Err(Error::Capacity(_)) => Violation::TooBig,
            Err(Error::Utf8(_)) => Violation::InvalidUtf8,
            // Reading gives none of these but `Protocol`.
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

    /// Writes the answers that are due, and says whether more may be written: a pong that is due must not
    /// come after a close frame, and to a bad close frame the codec has said all there is to say.
    pub(crate) fn may_write(&mut self, output: &mut Vec<u8>) -> bool {
        let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
        self.context.flush(&mut wire).is_ok() && self.context.can_write()
    }

    /// Writes a frame, which has to be allowed.
    pub(crate) fn write(&mut self, message: tungstenite::Message, output: &mut Vec<u8>) {
        let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
        let written = self.context.write(&mut wire, message);
        written.expect("the wire takes everything while we may write");
    }

    /// Whether there is a beginning of something whose end has not come.
    pub(crate) fn is_partial(&self) -> bool {
        self.unfinished > 0
    }

    /// Leaves it to the thread, for whichever session needs one next.
    pub(crate) fn release(self: Box<Self>) {
        CODEC.set(Some(self));
    }

    /// Whether nothing is left in it of the session that has it.
    pub(crate) fn is_reusable(&self) -> bool {
        self.undelivered == 0 && self.context.can_write()
    }

    fn count_delivered(&mut self, message: &tungstenite::Message) {
        let bytes = least_wire_bytes(message);
        self.undelivered = self.undelivered.saturating_sub(bytes);
        // A control frame may come in the middle of a message (RFC 6455, section 5.4). Behind a data
        // message nothing is taken to be unfinished, though the codec has read up to its buffer's
        // length ahead.
        let is_control = message.is_ping() || message.is_pong();
        self.unfinished = if is_control { self.unfinished.saturating_sub(bytes) } else { 0 };
    }
}

/// The least that a client's message or control frame takes: a head with a mask, its length in as few
/// bytes as it needs (RFC 6455, section 5.2), and the payload.
fn least_wire_bytes(message: &tungstenite::Message) -> usize {
    let payload = message.len();
    let head = match payload {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    };
    head + payload
}

/// What the codec takes for its stream.
struct Wire<'a, 'b> {
    input: &'a mut &'b [u8],
    output: &'a mut Vec<u8>,
    /// How much more input the codec may take.
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
        // Reading never gives a single frame.
        tungstenite::Message::Frame(_) => return None,
    })
}

/// The codec has checked the code, and put 1002 in the place of one that must not be sent.
fn close_frame(frame: &CodecCloseFrame) -> Option<CloseFrame> {
    let code = CloseCode::try_from(u16::from(frame.code)).ok()?;
    Some(CloseFrame { code, reason: Reason::from(frame.reason.to_string()) })
}

/// A limit as it is kept, in half the memory, as a length.
pub(crate) fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
