//! The frames of HTTP/2, as far as they are looked at in front of h2 (RFC 9113, sections 4 and 6).

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The least that RFC 9113, section 4.2, has a frame be allowed. Larger ones are for downloads.
pub(crate) const FRAME_BYTES: u16 = 16 << 10;

/// The bytes of a frame's header.
pub(crate) const FRAME_HEADER: usize = 9;

/// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of frames. One means different things in different frames.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const HAS_PRIORITY: u8 = 0x20;

/// The bytes of a priority, in a frame of its own or in HEADERS.
pub(crate) const PRIORITY_BYTES: usize = 5;

/// What a frame begins with (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    /// Of the payload.
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// Reads it, if so many bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes.first_chunk::<FRAME_HEADER>()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        // The first bit is reserved.
        let stream = u32::from_be_bytes([d, e, f, g]) & (u32::MAX >> 1);
        Some(Self { length, kind, flags, stream })
    }
}

/// Appends a frame whose payload is no longer than a frame may be.
pub(crate) fn put_frame(kind: u8, flags: u8, stream: u32, payload: &[u8], to: &mut Vec<u8>) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    to.extend_from_slice(&length);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(payload);
}
