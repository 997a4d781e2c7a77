//! The frames of a server's data messages, of which each is one frame.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

use crate::compression::{MAX_INPUT_BYTES, WindowId, compress};
use crate::message::Message;

/// Returns the frame of a payload: the header, whose length is returned as well, and the payload.
pub(crate) fn plain_frame(opcode: OpCode, payload: &[u8]) -> (Vec<u8>, u8) {
    let mut frame = Vec::new();
    //= rfc6455#5.2-6 rfc6455#6.1-2 rfc6455#6.1-4 rfc7692#6.1-2
    append(&FrameHeader { opcode, ..FrameHeader::default() }, payload, &mut frame);
    let header_len = u8::try_from(frame.len() - payload.len());
    (frame, header_len.expect("a header has at most 10 bytes"))
}

/// Appends the frame of a message.
pub(crate) fn append_frame(message: &Message, output: &mut Vec<u8>) {
    //= rfc6455#5.2-6 rfc6455#6.1-2 rfc6455#6.1-4 rfc7692#6.1-2
    let header = FrameHeader { opcode: message.opcode(), ..FrameHeader::default() };
    append(&header, message.payload(), output);
}

/// Returns the frame of a compressed message (RFC 7692, section 6.1), or `None` if it would not be shorter
/// than the message as it is.
pub(crate) fn compressed_frame(
    opcode: OpCode,
    payload: &[u8],
    dictionary: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    append_compressed(opcode, payload, dictionary, &mut frame).then_some(frame)
}

/// Appends the frame of a message that was compressed for one session, and returns `true`. Appends
/// nothing if the frame would not be shorter than that of the message as it is, or if the message is
/// longer than [`MAX_INPUT_BYTES`]. `window` is that of the session's client.
pub(crate) fn append_compressed_frame(
    message: &Message,
    window: &mut WindowId,
    output: &mut Vec<u8>,
) -> bool {
    //= rfc7692#7.2.1-3
    let is_compressed = append_compressed(message.opcode(), message.payload(), None, output);
    if is_compressed {
        *window = WindowId::default();
    }
    is_compressed
}

fn append_compressed(
    opcode: OpCode,
    payload: &[u8],
    dictionary: Option<&[u8]>,
    output: &mut Vec<u8>,
) -> bool {
    if payload.len() > MAX_INPUT_BYTES {
        return false;
    }
    let compressed = compress(payload, dictionary);
    let is_shorter = compressed.len() < payload.len();
    if is_shorter {
        //= rfc7692#6.1-1 rfc7692#6.1-5
        let header = FrameHeader { opcode, rsv1: true, ..FrameHeader::default() };
        append(&header, &compressed, output);
    }
    is_shorter
}

fn append(header: &FrameHeader, payload: &[u8], output: &mut Vec<u8>) {
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let additional = header.len(length) + payload.len();
    if output.is_empty() {
        output.reserve_exact(additional); // A prepared message retains it.
    } else {
        output.reserve(additional);
    }
    //= rfc6455#5.1-2 rfc6455#5.2-5
    header.format(length, output).expect("a write to a vector never fails");
    output.extend_from_slice(payload);
}
