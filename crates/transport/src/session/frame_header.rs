//! The header of a client's frame (RFC 6455, section 5.2), and what it may say.
//!
//! Each field of a header is judged as soon as it is whole: a peer that violates the protocol is told at
//! once, and not when a payload has arrived that it may never send.

use ws_core::Violation;

/// A valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) opcode: Opcode,
    pub(crate) is_final: bool,
    /// RSV1 on the first frame of a message (RFC 7692, section 7.2.3.1).
    pub(crate) is_compressed: bool,
    pub(crate) payload_len: usize,
    pub(crate) mask: [u8; 4],
    /// The bytes of the header itself.
    pub(crate) len: usize,
}

/// The opcodes that RFC 6455 defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Control(ControlOpcode),
    Data(DataOpcode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlOpcode {
    Close,
    Ping,
    Pong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataOpcode {
    Binary,
    Continuation,
    Text,
}

/// What a header may say at this point of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether a fragmented message is incomplete.
    pub(crate) is_in_message: bool,
    /// Whether a message may be compressed.
    pub(crate) may_compress: bool,
    /// The most payload of a data frame, and of one that begins a compressed message.
    pub(crate) max_payload_len: usize,
    pub(crate) max_compressed_len: usize,
}

/// The most bytes that a header takes: two, eight for the length, four for the mask.
pub(crate) const MAX_HEADER_BYTES: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

impl FrameHeader {
    /// Reads the header that `bytes` begins with. Returns `None` if its end is missing, and nothing of it
    /// is a violation so far.
    pub(crate) fn read(bytes: &[u8], rules: Rules) -> Result<Option<Self>, Violation> {
        //= rfc6455#6.2-1 rfc6455#10.7-1
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::ProtocolError)?;
        let is_final = first & FIN != 0;
        let is_compressed = first & RSV1 != 0;
        let (is_in_place, is_first) = match opcode {
            // Section 5.4: a control frame is not fragmented, and may be between fragments.
            //= rfc6455#5.4-1
            Opcode::Control(_) => (is_final, false),
            //= rfc6455#5.4-3 rfc6455#6.2-4
            Opcode::Data(DataOpcode::Continuation) => (rules.is_in_message, false),
            Opcode::Data(DataOpcode::Text | DataOpcode::Binary) => (!rules.is_in_message, true),
        };
        //= rfc7692#6.1-4
        let may_have_rsv1 = is_first && rules.may_compress;
        //= rfc6455#5.2-1 rfc6455#5.8-1
        let reserved = if may_have_rsv1 { RESERVED_BITS & !RSV1 } else { RESERVED_BITS };
        ensure(is_in_place && first & reserved == 0)?;

        let Some((second, rest)) = rest.split_first() else { return Ok(None) };
        // Section 5.1: a client masks all frames.
        //= rfc6455#5.1-1
        ensure(second & MASKED != 0)?;
        let is_control = matches!(opcode, Opcode::Control(_));
        let (payload_len, rest) = match second & !MASKED {
            // Section 5.5: the payload of a control frame has at most 125 bytes.
            //= rfc6455#5.5-1
            126 | 127 if is_control => return Err(Violation::ProtocolError),
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u16::from_be_bytes(*length);
                // Section 5.2: the shortest encoding is the only one.
                //= rfc6455#5.2-4
                ensure(length > 125)?;
                (u64::from(length), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                //= rfc6455#5.2-3 rfc6455#5.2-4
                ensure(length > u64::from(u16::MAX) && length >> 63 == 0)?;
                (length, rest)
            }
            length => (u64::from(length), rest),
        };
        let payload_len = usize::try_from(payload_len).map_err(|_| Violation::TooBig)?;
        let max_len = if is_compressed { rules.max_compressed_len } else { rules.max_payload_len };
        //= rfc6455#10.4-1 rfc6455#10.4-2
        if !is_control && payload_len > max_len {
            return Err(Violation::TooBig);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let len = bytes.len() - rest.len();
        Ok(Some(Self { opcode, is_final, is_compressed, payload_len, mask: *mask, len }))
    }
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Data(DataOpcode::Continuation)),
            0x1 => Some(Self::Data(DataOpcode::Text)),
            0x2 => Some(Self::Data(DataOpcode::Binary)),
            0x8 => Some(Self::Control(ControlOpcode::Close)),
            0x9 => Some(Self::Control(ControlOpcode::Ping)),
            0xa => Some(Self::Control(ControlOpcode::Pong)),
            //= rfc6455#5.2-2
            _ => None,
        }
    }
}

fn ensure(condition: bool) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation::ProtocolError) }
}
