//! Control frames (RFC 6455, section 5.5): the payload of the peer's, and the encoding of ours.

use ws_core::{CloseCode, CloseFrame, Reason, Violation};

use super::short_buffer::ShortBuffer;

/// The most payload of a control frame.
pub(crate) const MAX_CONTROL_BYTES: usize = 125;

/// The payload of a control frame of the peer.
pub(crate) type ControlPayload = ShortBuffer<MAX_CONTROL_BYTES>;

/// The first bytes of our control frames: FIN and the opcode.
//= rfc7692#6.1-3
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// Appends a control frame to the output. No caller has a payload that is too long.
pub(crate) fn write_control_frame(first_byte: u8, payload: &[u8], output: &mut Vec<u8>) {
    debug_assert!(payload.len() <= MAX_CONTROL_BYTES, "{} bytes", payload.len());
    let len = u8::try_from(payload.len()).unwrap_or_default();
    //= rfc6455#5.1-2 rfc6455#5.2-5 rfc6455#5.5-2
    output.extend_from_slice(&[first_byte, len]);
    output.extend_from_slice(payload);
}

pub(crate) fn write_close_frame(frame: &CloseFrame, output: &mut Vec<u8>) {
    //= rfc6455#5.5.1-1
    let code = u16::from(frame.code).to_be_bytes();
    write_control_frame(CLOSE, &[&code, frame.reason.as_str().as_bytes()].concat(), output);
}

/// Parses the payload of a Close frame (RFC 6455, sections 5.5.1 and 7.4).
pub(crate) fn parse_close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, Violation> {
    //= rfc6455#5.5.1-1
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ProtocolError) };
    };
    let code =
        CloseCode::try_from(u16::from_be_bytes(*code)).map_err(|_| Violation::ProtocolError)?;
    //= rfc6455#8.1-1
    let reason = str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
    Ok(Some(CloseFrame { code, reason: Reason::from(reason.to_owned()) }))
}
