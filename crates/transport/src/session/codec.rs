//! From the bytes of reads to messages and control frames.
//!
//! Headers and control frames are read here. Data frames are tungstenite's: it removes their masks, joins
//! fragments and checks UTF-8. It is given no byte beyond the end of a frame, so it is known to be empty
//! between two messages, and sessions can share it.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::mem;

use tungstenite::error::Error;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use ws_core::{CloseFrame, Violation};

use super::control_frame::{ControlPayload, parse_close_frame};
use super::frame_header::{
    BINARY, ControlOpcode, DataOpcode, FIN, FrameHeader, MAX_HEADER_BYTES, Opcode, Rules,
};
use super::short_buffer::ShortBuffer;
use crate::compression::{InflateError, inflate};
use crate::message::Message;

/// The codec of a session that has read a part of a message or control frame.
#[derive(Debug)]
pub(crate) struct Codec {
    data: WebSocketContext,
    position: Position,
    /// The beginning of a header.
    header: ShortBuffer<MAX_HEADER_BYTES>,
    /// The beginning of the payload of a control frame.
    control: ControlPayload,
    /// The data message of which some but not all frames were read.
    message: Option<IncompleteMessage>,
    /// What the messages of the current read were inflated to.
    inflated_bytes: usize,
    /// The rest of a read after [`MAX_INFLATED_BYTES`], which is the next read.
    unread: Vec<u8>,
}

/// Where the input is.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// At or within a header.
    Header,
    /// At or within the payload of a control frame.
    Control { opcode: ControlOpcode, payload_len: usize, mask: [u8; 4] },
    /// Within a data frame, before so many bytes of its payload.
    Data(usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct IncompleteMessage {
    payload_len: usize,
    frames: usize,
    /// What it is when it is inflated. `None` if it is not compressed.
    inflates_to: Option<DataOpcode>,
}

/// What a session allows its peer to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    /// The most payload of a message, also when it is inflated.
    pub(crate) max_message_bytes: usize,
    /// Whether the compression of messages was negotiated.
    pub(crate) may_compress: bool,
    /// Whether compressed messages are inflated. Otherwise they are only read.
    pub(crate) inflates: bool,
}

/// A complete message or control frame from the peer, or an error in its input.
#[derive(Debug)]
pub(crate) enum Incoming {
    Close(Option<CloseFrame>),
    Message(Message),
    Ping(ControlPayload),
    Pong(ControlPayload),
    /// The codec must not be read again.
    Violation(Violation),
}

/// The size of tungstenite's read buffer. Most messages fit, and for larger ones it grows.
const READ_BUFFER_BYTES: usize = 128;

/// The frames that a message may have, whatever its size, ...
const MIN_FRAMES: usize = 256;

/// ... and so many bytes of the largest message allow one more. A frame takes no memory beside its
/// payload, but time, and an empty one counts towards no other limit.
const BYTES_PER_FRAME: usize = 64;

/// What DEFLATE may add to a message that it cannot compress, as a part of the message and in bytes: a
/// header for each block, and a sender with little memory makes blocks of 128 bytes.
const DEFLATE_OVERHEAD: usize = 16;
const DEFLATE_OVERHEAD_BYTES: usize = 64;

/// What the messages of one read are inflated to, before the session gets another turn. A read may
/// otherwise become a thousand times as large, for a peer that reads none of the answers.
const MAX_INFLATED_BYTES: usize = 64 * 1024;

thread_local! {
    /// A cached codec, without any state of the session that used it.
    static CODEC: Cell<Option<Box<Codec>>> = const { Cell::new(None) };
}

impl Codec {
    /// Takes the cached codec of the thread, or creates one.
    pub(crate) fn take() -> Box<Self> {
        CODEC.take().unwrap_or_else(|| {
            let config = WebSocketConfig::default()
                // tungstenite zeroes it for each read, so a larger one is slower.
                .read_buffer_size(READ_BUFFER_BYTES)
                // The headers are checked before tungstenite reads them.
                .max_frame_size(None)
                .max_message_size(None);
            Box::new(Self {
                data: WebSocketContext::new(Role::Server, Some(config)),
                position: Position::Header,
                header: ShortBuffer::new(),
                control: ControlPayload::new(),
                message: None,
                inflated_bytes: 0,
                unread: Vec::new(),
            })
        })
    }

    /// Caches the codec for the next session of the thread that needs one, unless it is
    /// [partial](Self::is_partial).
    pub(crate) fn release(mut self: Box<Self>) {
        if !self.is_partial() {
            self.inflated_bytes = 0;
            CODEC.set(Some(self));
        }
    }

    /// Returns whether a message or a control frame is incomplete. Otherwise the codec holds no state of
    /// the session, unless it returned a violation.
    pub(crate) fn is_partial(&self) -> bool {
        let is_at_header = matches!(self.position, Position::Header) && self.header.len() == 0;
        !is_at_header || self.message.is_some() || !self.unread.is_empty()
    }

    /// Begins a read. Returns the rest of the one before, if it was not decoded.
    pub(crate) fn begin_read(&mut self) -> Vec<u8> {
        self.inflated_bytes = 0;
        mem::take(&mut self.unread)
    }

    /// Reads the next message or control frame, and advances `input` past it. Returns `None` if the input
    /// has the end of none, or if its rest is left to the next read.
    pub(crate) fn read(&mut self, input: &mut &[u8], options: ReadOptions) -> Option<Incoming> {
        if self.inflated_bytes >= MAX_INFLATED_BYTES {
            self.unread = mem::take(input).to_vec();
        }
        loop {
            let step = match self.position {
                Position::Header => self.read_header(input, options),
                Position::Control { opcode, payload_len, mask } => {
                    self.read_control_payload(opcode, payload_len, mask, input)
                }
                Position::Data(remaining) => self.read_data(&[], remaining, input, options),
            };
            match step {
                Ok(Step::Incoming(incoming)) => return Some(incoming),
                Ok(Step::NeedsInput) => return None,
                Ok(Step::Next) => {}
                Err(violation) => return Some(Incoming::Violation(violation)),
            }
        }
    }

    fn read_header(&mut self, input: &mut &[u8], options: ReadOptions) -> Result<Step, Violation> {
        let before = self.message.unwrap_or_default();
        let ReadOptions { max_message_bytes, may_compress, .. } = options;
        let max_compressed_len = max_message_bytes
            .saturating_add(max_message_bytes / DEFLATE_OVERHEAD)
            .saturating_add(DEFLATE_OVERHEAD_BYTES);
        let max_len =
            if before.inflates_to.is_some() { max_compressed_len } else { max_message_bytes };
        let rules = Rules {
            is_in_message: self.message.is_some(),
            may_compress,
            max_payload_len: max_len.saturating_sub(before.payload_len),
            max_compressed_len,
        };
        let Some((header, mut bytes)) = self.take_header(input, rules)? else {
            return Ok(Step::NeedsInput);
        };
        let FrameHeader { payload_len, mask, .. } = header;
        let opcode = match header.opcode {
            Opcode::Control(opcode) => {
                self.position = Position::Control { opcode, payload_len, mask };
                return Ok(Step::Next);
            }
            Opcode::Data(opcode) => opcode,
        };
        let mut message = before;
        message.payload_len += payload_len;
        message.frames += 1;
        if message.frames > MIN_FRAMES + max_message_bytes / BYTES_PER_FRAME {
            return Err(Violation::TooBig);
        }
        if header.is_compressed {
            message.inflates_to = Some(opcode);
            // tungstenite refuses RSV1, and would look for UTF-8 in a compressed text.
            bytes.set_first(BINARY | if header.is_final { FIN } else { 0 });
        }
        self.message = Some(message);
        self.read_data(bytes.as_slice(), payload_len, input, options)
    }

    /// Takes a header from the input, and returns it with its bytes. Several reads may share it.
    fn take_header(
        &mut self,
        input: &mut &[u8],
        rules: Rules,
    ) -> Result<Option<(FrameHeader, ShortBuffer<MAX_HEADER_BYTES>)>, Violation> {
        let (mut bytes, mut rest) = (self.header, *input);
        bytes.fill(MAX_HEADER_BYTES, &mut rest);
        let Some(header) = FrameHeader::read(bytes.as_slice(), rules)? else {
            self.header = bytes;
            *input = rest;
            return Ok(None);
        };
        bytes.truncate(header.len);
        *input = input.get(header.len - self.header.len()..).unwrap_or_default();
        self.header = ShortBuffer::new();
        Ok(Some((header, bytes)))
    }

    fn read_control_payload(
        &mut self,
        opcode: ControlOpcode,
        payload_len: usize,
        mask: [u8; 4],
        input: &mut &[u8],
    ) -> Result<Step, Violation> {
        self.control.fill(payload_len, input);
        if self.control.len() < payload_len {
            return Ok(Step::NeedsInput);
        }
        self.position = Position::Header;
        let mut payload = mem::replace(&mut self.control, ControlPayload::new());
        for (byte, mask) in payload.as_mut_slice().iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Step::Incoming(match opcode {
            ControlOpcode::Close => Incoming::Close(parse_close_frame(payload.as_slice())?),
            ControlOpcode::Ping => Incoming::Ping(payload),
            ControlOpcode::Pong => Incoming::Pong(payload),
        }))
    }

    /// Passes a header and the payload behind it on to tungstenite, up to the end of the frame.
    fn read_data(
        &mut self,
        header: &[u8],
        remaining: usize,
        input: &mut &[u8],
        options: ReadOptions,
    ) -> Result<Step, Violation> {
        // A frame without a payload ends with its header.
        if header.is_empty() && input.is_empty() {
            return Ok(Step::NeedsInput);
        }
        let payload = input.split_off(..remaining.min(input.len())).unwrap_or_default();
        self.position = match remaining - payload.len() {
            0 => Position::Header,
            remaining => Position::Data(remaining),
        };
        match self.data.read(&mut DataFrame { header, payload }) {
            Ok(tungstenite::Message::Binary(bytes)) => {
                let inflates_to = self.message.take().and_then(|message| message.inflates_to);
                let message = match inflates_to.filter(|_| options.inflates) {
                    Some(opcode) => inflated(&bytes, opcode, options.max_message_bytes)?,
                    None => return Ok(Step::Incoming(Incoming::Message(Message::Binary(bytes)))),
                };
                self.inflated_bytes += message.payload_len();
                Ok(Step::Incoming(Incoming::Message(message)))
            }
            Ok(tungstenite::Message::Text(text)) => {
                self.message = None;
                Ok(Step::Incoming(Incoming::Message(Message::Text(text))))
            }
            // The only error of `DataFrame` is that there is no more of it.
            Err(Error::Io(_)) => Ok(Step::Next),
            Err(Error::Utf8(_)) => Err(Violation::InvalidUtf8),
            // Never: headers were checked, and control frames are not passed on.
            Ok(_) | Err(_) => Err(Violation::ProtocolError),
        }
    }
}

fn inflated(payload: &[u8], opcode: DataOpcode, max_bytes: usize) -> Result<Message, Violation> {
    let bytes = inflate(payload, max_bytes).map_err(|error| match error {
        InflateError::Invalid => Violation::ProtocolError,
        InflateError::TooBig => Violation::TooBig,
    })?;
    if opcode == DataOpcode::Text {
        let text = String::from_utf8(bytes).map_err(|_| Violation::InvalidUtf8)?;
        Ok(Message::from(text))
    } else {
        Ok(Message::from(bytes))
    }
}

/// The result of reading a part of a frame.
enum Step {
    Incoming(Incoming),
    NeedsInput,
    Next,
}

/// The stream of tungstenite: a part of one data frame.
struct DataFrame<'a> {
    header: &'a [u8],
    payload: &'a [u8],
}

impl Read for DataFrame<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let header_len = self.header.read(buffer)?;
        let behind_header = buffer.get_mut(header_len..).unwrap_or_default();
        match header_len + self.payload.read(behind_header)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

/// tungstenite writes nothing: it answers control frames only, and has none.
impl Write for DataFrame<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
