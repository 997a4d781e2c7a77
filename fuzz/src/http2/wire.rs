//! Frames of HTTP/2 (RFC 9113, section 4) and header blocks (RFC 7541), valid or not.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Frame flags.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// A header field.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// A valid handshake (RFC 8441, section 5).
pub(super) const CONNECT: [Field<'static>; 6] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/ws/status"),
    (b":authority", b"a"),
    (b"sec-websocket-version", b"13"),
];

/// How a field is represented (RFC 7541, section 6.2): the first byte of a literal with a new name.
pub(super) const REPRESENTATIONS: [u8; 4] = [0x00, 0x40, 0x10, 0x00];

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_declaring(payload.len() as u32, kind, flags, stream, payload)
}

/// A frame whose header says another length than that of its payload.
pub(super) fn frame_declaring(
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> Vec<u8> {
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Appends a literal field (RFC 7541, section 6.2).
pub(super) fn append_field(block: &mut Vec<u8>, representation: u8, (name, value): Field<'_>) {
    block.push(representation);
    for text in [name, value] {
        append_length(block, text.len());
        block.extend(text);
    }
}

/// Appends the length of a string that is not Huffman-coded (RFC 7541, section 5.1).
fn append_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A frame of the server.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Takes a whole frame from the beginning of the bytes.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if bytes.len() < 9 + length {
            return None;
        }
        let payload = bytes.drain(..9 + length).skip(9).collect();
        Some(Self { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
    }

    /// Returns whether these are the headers of a response with status 200, which is an entry of the
    /// static table. Size updates may come before it.
    pub(super) fn is_success(&self) -> bool {
        let mut fields = self.payload.iter().skip_while(|byte| **byte >> 5 == 1);
        self.kind == HEADERS && fields.next() == Some(&0x88)
    }
}
