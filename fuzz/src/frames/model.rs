//! What RFC 6455 says about the bytes of a client, read from their beginning to their end.

use super::inflate::{Inflated, inflate};

/// What a session allows its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_message_bytes: usize,
    pub(super) may_compress: bool,
}

/// A message that a handler receives: whether it is a text, and its payload.
pub(super) type Received = (bool, Vec<u8>);

/// What a session makes of its input.
#[derive(Debug)]
pub(super) struct Expected {
    /// The messages that its handler receives.
    pub(super) messages: Vec<Received>,
    /// The payloads of its pongs.
    pub(super) pongs: Vec<Vec<u8>>,
    pub(super) end: End,
}

/// How the input ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client's Close frame has this code, or none.
    Closed(Option<u16>),
    /// Nothing in the input ends the session.
    Open,
    /// The session closes with one of these codes. There are two for a compressed message that is too big
    /// before it is invalid: an inflater may notice either first.
    Violation(&'static [u16]),
}

const PROTOCOL_ERROR: End = End::Violation(&[1002]);
const INVALID_UTF8: End = End::Violation(&[1007]);
const TOO_BIG: End = End::Violation(&[1009]);
const TOO_BIG_OR_INVALID: End = End::Violation(&[1002, 1009]);

/// A data message of which the last frame is missing.
struct Message {
    is_text: bool,
    is_compressed: bool,
    declared: usize,
    frames: usize,
    payload: Vec<u8>,
}

/// The header of a frame.
struct Header {
    is_final: bool,
    is_compressed: bool,
    opcode: u8,
    length: usize,
    mask: [u8; 4],
}

/// Reads all bytes that a client sends.
pub(super) fn expect(wire: &[u8], rules: Rules) -> Expected {
    let mut expected = Expected { messages: Vec::new(), pongs: Vec::new(), end: End::Open };
    let mut message = None;
    let mut rest = wire;
    expected.end = loop {
        if let Err(end) = frame(&mut rest, &mut message, rules, &mut expected) {
            break end;
        }
    };
    expected
}

/// Reads a frame, or returns the end of the session or of its input.
fn frame(
    rest: &mut &[u8],
    message: &mut Option<Message>,
    rules: Rules,
    expected: &mut Expected,
) -> Result<(), End> {
    let header = header(rest, message.as_ref(), rules)?;
    let available = rest.len().min(header.length);
    let masked = take(rest, available)?;
    let payload = masked.iter().zip(header.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let payload: Vec<u8> = payload.collect();
    let is_whole = available == header.length;
    match header.opcode {
        8.. if !is_whole => Err(End::Open),
        8 => Err(closed(&payload)),
        9 => {
            expected.pongs.push(payload);
            Ok(())
        }
        10 => Ok(()),
        opcode => {
            let mut whole = message.take().unwrap_or_else(|| Message {
                is_text: opcode == 1,
                is_compressed: header.is_compressed,
                declared: 0,
                frames: 0,
                payload: Vec::new(),
            });
            whole.declared += header.length;
            whole.frames += 1;
            if whole.frames > 256 + rules.max_message_bytes / 64 {
                return Err(TOO_BIG);
            }
            whole.payload.extend(payload);
            if is_whole && header.is_final {
                expected.messages.push(complete(whole, rules)?);
                return Ok(());
            }
            // Section 8.1: invalid UTF-8 is known before the message ends, an incomplete character is not.
            if whole.is_text && !whole.is_compressed {
                match str::from_utf8(&whole.payload) {
                    Err(error) if error.error_len().is_some() => return Err(INVALID_UTF8),
                    Ok(_) | Err(_) => {}
                }
            }
            *message = Some(whole);
            if is_whole { Ok(()) } else { Err(End::Open) }
        }
    }
}

/// Reads a header (section 5.2). What is wrong with its beginning counts without its end.
fn header(rest: &mut &[u8], message: Option<&Message>, rules: Rules) -> Result<Header, End> {
    let first = byte(rest)?;
    let (is_final, rsv1, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0f);
    let is_control = opcode >= 8;
    let begins = matches!(opcode, 1 | 2);
    let is_known = matches!(opcode, 0..=2 | 8..=10);
    let is_in_order = if is_control { is_final } else { begins == message.is_none() };
    let is_reserved = first & 0x30 != 0 || rsv1 && !(rules.may_compress && begins);
    if !is_known || !is_in_order || is_reserved {
        return Err(PROTOCOL_ERROR);
    }

    let second = byte(rest)?;
    let short = second & 0x7f;
    if second & 0x80 == 0 || is_control && short > 125 {
        return Err(PROTOCOL_ERROR);
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (length, least) = match short {
        126 => (number(take(rest, 2)?), 126),
        127 => (number(take(rest, 8)?), 65_536),
        short => (short.into(), 0),
    };
    if length < least || length >= 1 << 63 {
        return Err(PROTOCOL_ERROR);
    }
    let max = rules.max_message_bytes;
    let max_compressed = max + max / 16 + 64;
    let is_compressed = message.map_or(rsv1, |message| message.is_compressed);
    let max = if is_compressed { max_compressed } else { max };
    let room = max.saturating_sub(message.map_or(0, |message| message.declared));
    let length = usize::try_from(length).map_err(|_| TOO_BIG)?;
    if !is_control && length > room {
        return Err(TOO_BIG);
    }
    let mask = take(rest, 4)?.try_into().expect("four bytes");
    Ok(Header { is_final, is_compressed: rsv1, opcode, length, mask })
}

/// Section 5.5.1: a code and a text, or nothing.
fn closed(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { End::Closed(None) } else { PROTOCOL_ERROR };
    };
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => match str::from_utf8(reason) {
            Ok(_) => End::Closed(Some(code)),
            Err(_) => INVALID_UTF8,
        },
        _ => PROTOCOL_ERROR,
    }
}

fn complete(message: Message, rules: Rules) -> Result<Received, End> {
    let payload = if message.is_compressed {
        match inflate(&[], &message.payload, rules.max_message_bytes) {
            Inflated::Invalid => return Err(PROTOCOL_ERROR),
            Inflated::Message(payload) => payload,
            Inflated::TooBig => return Err(TOO_BIG),
            Inflated::TooBigAndInvalid => return Err(TOO_BIG_OR_INVALID),
        }
    } else {
        message.payload
    };
    if message.is_text && str::from_utf8(&payload).is_err() {
        return Err(INVALID_UTF8);
    }
    Ok((message.is_text, payload))
}

fn byte(rest: &mut &[u8]) -> Result<u8, End> {
    take(rest, 1).map(|bytes| bytes[0])
}

/// Takes bytes from the input, which may end before.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], End> {
    let (taken, left) = rest.split_at_checked(count).ok_or(End::Open)?;
    *rest = left;
    Ok(taken)
}
