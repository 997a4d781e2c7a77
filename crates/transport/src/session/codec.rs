//! From the bytes of reads to messages and control frames (RFC 6455, section 5).
//!
//! It reads no more than it is given, and knows the end of each frame. So it is empty between two messages,
//! and sessions can share it. It also writes the pongs, because pings that arrive together are one event.

use std::cell::Cell;
use std::mem;

use bytes::BytesMut;
use ws_core::{CloseFrame, Violation};

use super::control_frame::{self, ControlPayload, parse_close_frame, write_control_frame};
use super::frame_header::{
    ControlOpcode, DataOpcode, FrameHeader, MAX_HEADER_BYTES, Opcode, Rules,
};
use super::short_buffer::ShortBuffer;
use super::write_buffer::Output;
use crate::compression::{InflateError, inflate};
use crate::message::{Message, Utf8Bytes};

/// The codec of a session that has read a part of a message or control frame.
#[derive(Debug)]
pub(crate) struct Codec {
    position: Position,
    /// The beginning of a header.
    header: ShortBuffer<MAX_HEADER_BYTES>,
    /// The payload of the latest control frame, as far as it was read.
    control: ControlPayload,
    /// The data message that is incomplete.
    message: Option<IncompleteMessage>,
    /// Its payload so far, without masks.
    payload: BytesMut,
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
    /// At or within the payload of a data frame. `mask` begins with the byte for the next one.
    Data { is_final: bool, remaining: usize, mask: [u8; 4] },
}

#[derive(Clone, Copy, Debug)]
struct IncompleteMessage {
    is_text: bool,
    is_compressed: bool,
    /// The payload of the frames so far, of which the last may be incomplete.
    payload_len: usize,
    frames: usize,
    /// How much of a text was found to be UTF-8.
    valid_len: usize,
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
    /// Consecutive pings, which are answered already, and their payload in total.
    Pings {
        count: u16,
        bytes: usize,
    },
    /// [`Codec::control_payload`] has its payload.
    Pong,
    /// The codec must not be read again.
    Violation(Violation),
}

/// The first size of the buffer for payloads. Most messages fit, and for larger ones it grows.
const PAYLOAD_BUFFER_BYTES: usize = 128;

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
            Box::new(Self {
                position: Position::Header,
                header: ShortBuffer::new(),
                control: ControlPayload::new(),
                message: None,
                payload: BytesMut::with_capacity(PAYLOAD_BUFFER_BYTES),
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
            self.control.clear();
            CODEC.set(Some(self));
        }
    }

    /// Returns whether a message or a control frame is incomplete. Otherwise the codec holds no state of
    /// the session, unless it returned a violation.
    pub(crate) fn is_partial(&self) -> bool {
        let is_at_header = matches!(self.position, Position::Header) && self.header.len() == 0;
        !is_at_header || self.message.is_some() || !self.unread.is_empty()
    }

    /// Returns the payload of the control frame that was read last.
    pub(crate) fn control_payload(&self) -> &ControlPayload {
        &self.control
    }

    /// Begins a read. Returns the rest of the one before, if it was not decoded.
    pub(crate) fn begin_read(&mut self) -> Vec<u8> {
        self.inflated_bytes = 0;
        mem::take(&mut self.unread)
    }

    /// Reads the next message or control frame, and advances `input` past it. Returns `None` if the input
    /// has the end of none, or if its rest is left to the next read.
    ///
    /// Pings that arrive together are one event. They are answered in `pongs`, if frames may be sent.
    pub(crate) fn read(
        &mut self,
        input: &mut &[u8],
        options: ReadOptions,
        pongs: Option<&mut Output>,
    ) -> Option<Incoming> {
        if self.inflated_bytes >= MAX_INFLATED_BYTES {
            self.unread = mem::take(input).to_vec();
        }
        self.read_frames(input, options, pongs).unwrap_or_else(|it| Some(Incoming::Violation(it)))
    }

    /// Reads frames up to the end of a message or of a control frame.
    fn read_frames(
        &mut self,
        input: &mut &[u8],
        options: ReadOptions,
        mut pongs: Option<&mut Output>,
    ) -> Result<Option<Incoming>, Violation> {
        loop {
            if let Position::Header = self.position {
                let rules = self.rules(options);
                let pings = self.answer_pings(input, rules, pongs.as_deref_mut());
                if pings.is_some() {
                    return Ok(pings);
                }
                self.read_header(input, rules, options)?;
            }
            match self.position {
                Position::Header => return Ok(None),
                Position::Control { opcode, payload_len, mask } => {
                    return self.read_control_payload(opcode, payload_len, mask, input, pongs);
                }
                Position::Data { is_final, remaining, mask } => {
                    if let Some(message) =
                        self.read_data(is_final, remaining, mask, input, options)?
                    {
                        return Ok(Some(Incoming::Message(message)));
                    }
                    if let Position::Data { .. } = self.position {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Returns what the next header may say.
    fn rules(&self, options: ReadOptions) -> Rules {
        let ReadOptions { max_message_bytes, may_compress, .. } = options;
        let max_compressed_len = max_message_bytes
            .saturating_add(max_message_bytes / DEFLATE_OVERHEAD)
            .saturating_add(DEFLATE_OVERHEAD_BYTES);
        let max_payload_len = self.message.map_or(max_message_bytes, |message| {
            let max = if message.is_compressed { max_compressed_len } else { max_message_bytes };
            max.saturating_sub(message.payload_len)
        });
        let is_in_message = self.message.is_some();
        Rules { is_in_message, may_compress, max_payload_len, max_compressed_len }
    }

    /// Reads and answers the pings at the beginning of the input whose end is there.
    fn answer_pings(
        &self,
        input: &mut &[u8],
        rules: Rules,
        mut pongs: Option<&mut Output>,
    ) -> Option<Incoming> {
        let (mut count, mut bytes) = (0, 0);
        while self.header.len() == 0
            && input.first() == Some(&control_frame::PING)
            && count < u16::MAX
            && let Ok(Some(FrameHeader { len, payload_len, mask, .. })) =
                FrameHeader::read(input, rules)
            && let Some((frame, rest)) = input.split_at_checked(len + payload_len)
        {
            answer_ping(frame.get(len..).unwrap_or_default(), mask, pongs.as_deref_mut());
            *input = rest;
            count += 1;
            bytes += payload_len;
        }
        (count > 0).then_some(Incoming::Pings { count, bytes })
    }

    /// Reads a header, unless its end is missing.
    fn read_header(
        &mut self,
        input: &mut &[u8],
        rules: Rules,
        options: ReadOptions,
    ) -> Result<(), Violation> {
        let Some(header) = self.take_header(input, rules)? else { return Ok(()) };
        let FrameHeader { is_final, is_compressed, payload_len, mask, .. } = header;
        match header.opcode {
            //= rfc6455#5.4-4
            Opcode::Control(opcode) => {
                self.control.clear();
                self.position = Position::Control { opcode, payload_len, mask };
            }
            Opcode::Data(opcode) => {
                //= rfc6455#5.4-5 rfc6455#5.4-6 rfc6455#6.2-3
                let message = self.message.get_or_insert(IncompleteMessage {
                    is_text: opcode == DataOpcode::Text,
                    is_compressed,
                    payload_len: 0,
                    frames: 0,
                    valid_len: 0,
                });
                message.payload_len += payload_len;
                message.frames += 1;
                //= rfc6455#10.4-1
                if message.frames > MIN_FRAMES + options.max_message_bytes / BYTES_PER_FRAME {
                    return Err(Violation::TooBig);
                }
                self.position = Position::Data { is_final, remaining: payload_len, mask };
            }
        }
        Ok(())
    }

    /// Takes a header from the input. Several reads may share it.
    fn take_header(
        &mut self,
        input: &mut &[u8],
        rules: Rules,
    ) -> Result<Option<FrameHeader>, Violation> {
        let header = if self.header.len() == 0 {
            FrameHeader::read(input, rules)?
        } else {
            let mut bytes = self.header;
            bytes.fill(MAX_HEADER_BYTES, &mut { *input });
            FrameHeader::read(bytes.as_slice(), rules)?
        };
        match header {
            Some(header) => {
                *input = input.get(header.len - self.header.len()..).unwrap_or_default();
                self.header.clear();
            }
            None => self.header.fill(MAX_HEADER_BYTES, input),
        }
        Ok(header)
    }

    fn read_control_payload(
        &mut self,
        opcode: ControlOpcode,
        payload_len: usize,
        mask: [u8; 4],
        input: &mut &[u8],
        pongs: Option<&mut Output>,
    ) -> Result<Option<Incoming>, Violation> {
        self.control.fill(payload_len, input);
        if self.control.len() < payload_len {
            return Ok(None);
        }
        self.position = Position::Header;
        let payload = self.control.as_mut_slice();
        //= rfc6455#6.2-2
        Ok(Some(match opcode {
            ControlOpcode::Ping => {
                answer_ping(payload, mask, pongs);
                Incoming::Pings { count: 1, bytes: payload_len }
            }
            ControlOpcode::Close => {
                unmask(payload, mask);
                Incoming::Close(parse_close_frame(payload)?)
            }
            ControlOpcode::Pong => {
                unmask(payload, mask);
                Incoming::Pong
            }
        }))
    }

    /// Reads the payload of a data frame. Returns the message that ends with it.
    fn read_data(
        &mut self,
        is_final: bool,
        remaining: usize,
        mut mask: [u8; 4],
        input: &mut &[u8],
        options: ReadOptions,
    ) -> Result<Option<Message>, Violation> {
        let masked = input.split_off(..remaining.min(input.len())).unwrap_or_default();
        let before = self.payload.len();
        //= rfc6455#5.4-2
        self.payload.extend_from_slice(masked);
        //= rfc6455#6.2-5
        unmask(self.payload.get_mut(before..).unwrap_or_default(), mask);
        let remaining = remaining - masked.len();
        if remaining == 0 && is_final {
            self.position = Position::Header;
            return self.complete(options).map(Some);
        }
        self.check_text()?;
        if remaining == 0 {
            self.position = Position::Header;
            return Ok(None);
        }
        mask.rotate_left(masked.len() % 4);
        self.position = Position::Data { is_final, remaining, mask };
        Ok(None)
    }

    /// Returns the message whose last frame has ended.
    fn complete(&mut self, options: ReadOptions) -> Result<Message, Violation> {
        let payload = self.payload.split().freeze();
        let Some(IncompleteMessage { is_text, is_compressed, .. }) = self.message.take() else {
            return Ok(Message::Binary(payload)); // Never: a frame begins a message.
        };
        //= rfc7692#6.2-1
        if is_compressed && options.inflates {
            let message = inflated(&payload, is_text, options.max_message_bytes)?;
            self.inflated_bytes += message.payload_len();
            return Ok(message);
        }
        //= rfc7692#6.2-2
        if is_text && !is_compressed {
            //= rfc6455#5.6-1 rfc6455#8.1-1
            let text = Utf8Bytes::try_from(payload).map_err(|_| Violation::InvalidUtf8)?;
            return Ok(Message::Text(text));
        }
        Ok(Message::Binary(payload))
    }

    /// Checks that the beginning of a text is UTF-8, as far as its last character is there (RFC 6455,
    /// section 8.1).
    fn check_text(&mut self) -> Result<(), Violation> {
        let Some(message) = self.message.as_mut().filter(|it| it.is_text && !it.is_compressed)
        else {
            return Ok(());
        };
        let unchecked = self.payload.get(message.valid_len..).unwrap_or_default();
        //= rfc6455#5.6-1 rfc6455#8.1-1
        message.valid_len += match str::from_utf8(unchecked) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Violation::InvalidUtf8),
        };
        Ok(())
    }
}

/// Sends a pong with the payload of a ping (RFC 6455, section 5.5.3).
fn answer_ping(masked: &[u8], mask: [u8; 4], pongs: Option<&mut Output>) {
    //= rfc6455#5.5.2-1 rfc6455#5.5.2-2 rfc6455#5.5.3-1
    if let Some(pongs) = pongs {
        let pongs = pongs.get_or_insert_default().encoded();
        write_control_frame(control_frame::PONG, masked, pongs);
        let payload = pongs.len() - masked.len();
        unmask(pongs.get_mut(payload..).unwrap_or_default(), mask);
    }
}

/// Removes a mask (RFC 6455, section 5.3).
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut();
    let mask_word = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ mask_word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

fn inflated(payload: &[u8], is_text: bool, max_bytes: usize) -> Result<Message, Violation> {
    let bytes = inflate(payload, max_bytes).map_err(|error| match error {
        InflateError::Invalid => Violation::ProtocolError,
        InflateError::TooBig => Violation::TooBig,
    })?;
    if is_text {
        //= rfc6455#5.6-1 rfc6455#8.1-1 rfc7692#6.1-6
        let text = String::from_utf8(bytes).map_err(|_| Violation::InvalidUtf8)?;
        Ok(Message::from(text))
    } else {
        Ok(Message::from(bytes))
    }
}
