//! Header blocks (RFC 9113, section 4.3): assembled from the client's frames, and encoded as frames for
//! h2.

use crate::http::http2::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHeader, HEADERS, MAX_FRAME_SIZE, PADDED,
    PRIORITY, PRIORITY_BYTES, PRIORITY_FLAG, put_frame,
};

/// A header block, as far as it was received.
#[derive(Debug)]
pub(crate) struct HeaderBlock {
    pub(crate) stream: u32,
    pub(crate) is_end_stream: bool,
    pub(crate) bytes: Vec<u8>,
    /// The number of CONTINUATION frames.
    pub(crate) continuations: usize,
}

/// Returns whether a frame is part of a header block. Frames that are too large, or that are on stream
/// 0, do not count: h2 ends the connection for them.
pub(crate) fn is_block_frame(header: FrameHeader) -> bool {
    matches!(header.kind, HEADERS | CONTINUATION)
        && header.length <= MAX_FRAME_SIZE.into()
        && header.stream != 0
}

/// Returns the fragment of a header block in the payload of HEADERS, without padding and priority (RFC
/// 9113, section 6.2). A priority is ignored, valid or not (RFC 9113, section 5.3.2).
pub(crate) fn block_fragment(flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, rest) = payload.split_first()?;
        padding = usize::from(*length);
        payload = rest;
    }
    if flags & PRIORITY_FLAG != 0 {
        payload = payload.get(PRIORITY_BYTES..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

/// Appends the head of a request: HEADERS, and CONTINUATION frames if needed.
pub(crate) fn put_head(stream: u32, is_end_stream: bool, fields: &[u8], output: &mut Vec<u8>) {
    let end_stream = if is_end_stream { END_STREAM } else { 0 };
    let mut fragments = fields.chunks(MAX_FRAME_SIZE.into()).peekable();
    let (mut kind, mut flags) = (HEADERS, end_stream);
    while let Some(fragment) = fragments.next() {
        if fragments.peek().is_none() {
            flags |= END_HEADERS;
        }
        put_frame(kind, flags, stream, fragment, output);
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// Appends a frame in place of trailers, whose fields are not used.
///
/// It is `DATA` with `END_STREAM`: h2 ends the connection for `HEADERS` on a stream that it has reset
/// and forgotten, and does not for `DATA`. If the trailers are malformed and the request was answered
/// before, it is `PRIORITY` with a stream that depends on itself: h2 resets the stream for that (RFC
/// 7540, section 5.3.1), with the same `PROTOCOL_ERROR`.
pub(crate) fn put_trailers(stream: u32, is_end: bool, output: &mut Vec<u8>) {
    if is_end {
        put_frame(DATA, END_STREAM, stream, &[], output);
    } else {
        let [a, b, c, d] = stream.to_be_bytes();
        put_frame(PRIORITY, 0, stream, &[a, b, c, d, 0], output);
    }
}
