//! Checks the request heads of an HTTP/2 connection before h2 reads them.
//!
//! A malformed request is a stream error (RFC 9113, section 8.1.1), and one client of a proxy must not
//! end the sessions of the others. h2 0.4 ends the connection for a field that the `http` crate rejects,
//! and for a head that is far too large. So the stream here decodes all header blocks and replaces them
//! by blocks that h2 accepts. The violations of a request are passed on in [`Faults`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use hyper::body::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use transport::Rejection;

use crate::http::http2::faults::Faults;
use crate::http::http2::frame::{
    CONTINUATION, END_HEADERS, END_STREAM, FRAME_HEADER_BYTES, FrameHeader, HEADERS,
    MAX_FRAME_SIZE, PREFACE,
};
use crate::http::http2::header_block::{
    HeaderBlock, block_fragment, is_block_frame, put_head, put_trailers,
};
use crate::http::http2::hpack::{DecodeError, Decoder};
use crate::http::http2::request_head::{HeadLimits, RequestHead, is_regular_field};
use crate::net::forward::forward_write;

/// The smallest limit of CONTINUATION frames in a head, whatever the configured size of a head.
const MIN_CONTINUATIONS: usize = 5;

/// The smallest limit of a decoded head, in bytes, whatever the configured size of a head. Proxies
/// forward smaller heads only, so that each of them is answered.
const MIN_DECODED_BYTES: usize = 128 << 10;

/// Returns the limit of the names and values of a head, in bytes, where `max_head_bytes` is the
/// configured size of a head. A larger one ends the connection.
///
/// `SETTINGS_MAX_HEADER_LIST_SIZE` announces it: a client that respects it gets a response to each head.
/// The setting counts each part of a `Cookie` as a field (RFC 9113, section 6.5.2), so with a smaller
/// value the client would not send heads that are within the limits. The list that h2 gets is larger by
/// 32 bytes for each of at most 2,006 fields.
pub(crate) fn max_decoded_bytes(max_head_bytes: usize) -> usize {
    max_head_bytes.saturating_mul(4).max(MIN_DECODED_BYTES)
}

/// A stream whose header blocks are replaced by blocks that h2 accepts.
#[derive(Debug)]
pub(crate) struct CheckedHttp2Stream<S> {
    stream: S,
    /// Boxed, because h2 and the tasks around it grow by a multiple of the stream's size.
    filter: Box<HeadFilter>,
}

/// The state between the stream and h2.
#[derive(Debug)]
struct HeadFilter {
    faults: Arc<Faults>,
    decoder: Decoder,
    limits: HeadLimits,
    /// The highest stream that the client has opened with a request.
    last_stream: u32,
    /// A header block that is incomplete.
    block: Option<HeaderBlock>,
    /// Bytes that h2 gets unchanged before the next frame header.
    passthrough: usize,
    /// Input that h2 has not read. Behind the bytes to pass through it starts with a frame header.
    input: Bytes,
    /// Frames that h2 reads before `input`.
    output: Bytes,
    state: InputState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputState {
    Open,
    Eof,
    /// A connection error was reported, and no more input is read.
    Failed,
}

impl<S> CheckedHttp2Stream<S> {
    /// Wraps a stream that begins with the connection preface, which h2 checks.
    pub(crate) fn new(stream: S, faults: Arc<Faults>, limits: HeadLimits) -> Self {
        let filter = HeadFilter {
            faults,
            decoder: Decoder::new(),
            limits,
            last_stream: 0,
            block: None,
            passthrough: PREFACE.len(),
            input: Bytes::new(),
            output: Bytes::new(),
            state: InputState::Open,
        };
        Self { stream, filter: Box::new(filter) }
    }
}

impl HeadFilter {
    /// Buffers bytes that were read, except a prefix that h2 gets unchanged. Returns the length of the
    /// prefix. No bytes are the end of input.
    fn receive(&mut self, read: &[u8]) -> usize {
        if read.is_empty() {
            // h2 gets an incomplete frame, too, and handles it.
            self.passthrough = self.input.len();
            self.state = InputState::Eof;
        }
        let is_between_blocks = self.input.is_empty() && self.block.is_none();
        let prefix = if is_between_blocks { self.unchanged_prefix(read) } else { 0 };
        if let Some(rest @ [_, ..]) = read.get(prefix..) {
            self.input = [&self.input, rest].concat().into();
        }
        prefix
    }

    /// Copies bytes for h2 into `buffer`. Returns whether there were any.
    fn copy_to(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let is_passthrough = self.output.is_empty();
        let source = if is_passthrough { &mut self.input } else { &mut self.output };
        let max = if is_passthrough { self.passthrough } else { source.len() };
        let count = max.min(source.len()).min(buffer.remaining());
        buffer.put_slice(&source.split_to(count));
        if is_passthrough {
            self.passthrough -= count;
        }
        count > 0
    }

    /// Returns the number of leading bytes that h2 gets unchanged: those before the first header block,
    /// and before an incomplete frame header.
    fn unchanged_prefix(&mut self, bytes: &[u8]) -> usize {
        let mut prefix = 0;
        loop {
            let count = self.passthrough.min(bytes.len() - prefix);
            self.passthrough -= count;
            prefix += count;
            match bytes.get(prefix..).and_then(FrameHeader::parse) {
                Some(header) if !is_block_frame(header) => {
                    self.passthrough = FRAME_HEADER_BYTES + header.length;
                }
                Some(_) | None => return prefix,
            }
        }
    }

    /// Processes the next frame. Returns false if it is incomplete.
    fn process_frame(&mut self) -> bool {
        let Some(header) = FrameHeader::parse(&self.input) else { return false };
        let length = FRAME_HEADER_BYTES + header.length;
        if !is_block_frame(header) {
            // No other frame may come within a header block (RFC 9113, section 4.3).
            if self.block.is_some() {
                self.fail(Reason::PROTOCOL_ERROR);
            }
            self.passthrough = length;
            return true;
        }
        if self.input.len() < length {
            return false;
        }
        let frame = self.input.split_to(length);
        let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let FrameHeader { kind, flags, stream, .. } = header;
        let block = match self.block.take() {
            None if kind == HEADERS => match block_fragment(flags, payload) {
                Some(fragment) => {
                    let is_end_stream = flags & END_STREAM != 0;
                    let bytes = fragment.to_vec();
                    HeaderBlock { stream, is_end_stream, bytes, continuations: 0 }
                }
                // Its padding or priority does not fit: h2 ends the connection for this frame.
                None => {
                    self.output = frame;
                    return true;
                }
            },
            Some(mut block) if (kind, stream) == (CONTINUATION, block.stream) => {
                block.bytes.extend_from_slice(payload);
                block.continuations += 1;
                block
            }
            None | Some(_) => {
                self.fail(Reason::PROTOCOL_ERROR);
                return true;
            }
        };
        if flags & END_HEADERS != 0 {
            self.replace_block(&block);
        } else if block.continuations > self.max_continuations() {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        } else {
            self.block = Some(block);
        }
        true
    }

    /// The limit that h2 has: the frames that the largest head fills, and a quarter more.
    fn max_continuations(&self) -> usize {
        let full_frames = self.limits.bytes / usize::from(MAX_FRAME_SIZE);
        (full_frames + full_frames / 4).max(MIN_CONTINUATIONS)
    }

    /// Decodes a complete block, and sets `output` to the frames that replace it.
    fn replace_block(&mut self, block: &HeaderBlock) {
        let max_bytes = max_decoded_bytes(self.limits.bytes);
        let mut output = Vec::new();
        let decoded = if block.stream > self.last_stream {
            self.last_stream = block.stream;
            let mut head = RequestHead::new(self.limits);
            let add = |name: &[u8], value: &[u8]| head.add(name, value);
            let decoded = self.decoder.decode(&block.bytes, max_bytes, add);
            let (fields, rejection) = head.finish(block.is_end_stream);
            if let Some(rejection) = rejection {
                self.faults.refuse_request(block.stream, rejection);
            }
            put_head(block.stream, block.is_end_stream, &fields, &mut output);
            decoded
        } else {
            // Trailers end a request (RFC 9113, section 8.1).
            let mut is_valid = block.is_end_stream;
            let add = |name: &[u8], value: &[u8]| is_valid &= is_regular_field(name, value);
            let decoded = self.decoder.decode(&block.bytes, max_bytes, add);
            let is_refused =
                !is_valid && self.faults.refuse_request(block.stream, Rejection::Malformed);
            put_trailers(block.stream, is_valid || is_refused, &mut output);
            decoded
        };
        match decoded {
            Ok(()) => self.output = output.into(),
            Err(DecodeError::TooLarge) => self.fail(Reason::ENHANCE_YOUR_CALM),
            Err(DecodeError::Undecodable) => self.fail(Reason::COMPRESSION_ERROR),
        }
    }

    fn fail(&mut self, reason: Reason) {
        self.state = InputState::Failed;
        self.faults.fail_connection(reason);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedHttp2Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, filter } = &mut *self;
        loop {
            if filter.state == InputState::Failed {
                return Poll::Pending;
            }
            if filter.copy_to(buffer) || filter.state == InputState::Eof {
                return Poll::Ready(Ok(()));
            }
            if filter.process_frame() {
                continue;
            }
            // Read into h2's buffer directly, because most input passes through unchanged.
            let before = buffer.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
            let prefix = filter.receive(buffer.filled().get(before..).unwrap_or_default());
            buffer.set_filled(before + prefix);
            if prefix > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

forward_write!(CheckedHttp2Stream<S>);

#[cfg(test)]
mod tests {
    use std::iter;

    use h2::ext::Protocol;
    use hyper::header::{COOKIE, HeaderValue};
    use hyper::{HeaderMap, Method, Request, Uri};
    use tokio::io::{AsyncWrite, DuplexStream, duplex};

    use super::*;

    type Received = (Method, Uri, HeaderMap, Option<Protocol>);

    /// Sends [`requests`] with a client of h2, and returns what a server of h2 receives.
    async fn received<S>(wrap: impl FnOnce(DuplexStream) -> S) -> Vec<Received>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client_end, server_end) = duplex(1 << 10);
        let stream = wrap(server_end);
        let server = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            // The client sends an update of the table size for that.
            builder.enable_connect_protocol().header_table_size(300);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.expect("a handshake");
            let mut received = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let protocol = request.extensions().get().cloned();
                let (head, _) = request.into_parts();
                received.push((head.method, head.uri, head.headers, protocol));
                let _ = respond.send_response(hyper::Response::new(()), true);
            }
            received
        });
        let (mut client, connection) =
            h2::client::handshake(client_end).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        for request in requests() {
            client = client.ready().await.expect("a free stream");
            let (response, _) = client.send_request(request, true).expect("a valid request");
            response.await.expect("a response");
        }
        drop(client);
        connection.await.expect("no panic").expect("no error");
        server.await.expect("no panic")
    }

    /// Requests with repeated fields, and with fields larger than a frame and than the dynamic table.
    fn requests() -> impl Iterator<Item = Request<()>> {
        (0..40).map(|round| {
            let builder = Request::builder();
            let mut request = match round % 3 {
                0 => builder.uri("https://example.com/ws/status?a=%20b"),
                1 => builder
                    .method(Method::POST)
                    .uri("http://example.com:80/")
                    .header("te", "trailers"),
                _ => builder
                    .method(Method::CONNECT)
                    .uri("https://example.com/ws/status")
                    .extension(Protocol::from_static("websocket")),
            };
            for cookie in 0..round {
                request = request.header("cookie", format!("name{cookie}=value"));
            }
            let long: String = iter::repeat_n('~', round * 500).collect();
            let request = request.header("x-long", long).header("origin", "https://example.com");
            let request = request.header("x-bytes", [0xe9, b'\t', round_byte(round)].as_slice());
            request.body(()).expect("a valid request")
        })
    }

    fn round_byte(round: usize) -> u8 {
        b'a' + u8::try_from(round % 26).unwrap_or_default()
    }

    const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, fields: 64 };

    /// Joins the `Cookie` fields into one (RFC 9113, section 8.2.3).
    fn with_one_cookie((method, uri, mut headers, protocol): Received) -> Received {
        let cookies: Vec<&[u8]> =
            headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if !cookies.is_empty() {
            let cookie = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
            headers.insert(COOKIE, cookie.expect("valid cookies"));
        }
        (method, uri, headers, protocol)
    }

    #[tokio::test]
    async fn valid_heads_are_unchanged() {
        let faults = Arc::new(Faults::default());
        let checked =
            received(|stream| CheckedHttp2Stream::new(stream, Arc::clone(&faults), LIMITS)).await;
        let unchecked = received(|stream| stream).await;
        assert_eq!(checked.len(), 40);
        assert_eq!(checked, unchecked.into_iter().map(with_one_cookie).collect::<Vec<Received>>());
        assert_eq!(faults.pending(), 0);
    }
}
