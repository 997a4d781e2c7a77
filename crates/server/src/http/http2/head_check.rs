//! The heads of an HTTP/2 connection's requests, checked before h2 sees them.
//!
//! A malformed request is an error of its stream (RFC 9113, section 8.1.1), and one client of a proxy must
//! not end the sessions of the others. h2 0.4 ends the connection for a field that the `http` crate refuses
//! and for a head that is far too large. So this stream decodes all header blocks itself and gives h2 such
//! as it takes in any case; what is wrong with a request is noted beside it.

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
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, FRAME_HEADER, FrameHeader,
    HAS_PRIORITY, HEADERS, PADDED, PREFACE, PRIORITY, PRIORITY_BYTES, put_frame,
};
use crate::http::http2::hpack::{DecodeError, Decoder};
use crate::http::http2::request_head::{HeadLimits, RequestHead, is_regular_field};
use crate::net::forward::forward_write;

/// Frames that a head may have between its first and its last, however small it has to be.
const MIN_CONTINUATIONS: usize = 5;

/// What the names and values of a head may have together before the connection ends for it, however small
/// it has to be. The heads that proxies pass on are smaller, so that each of them has an answer.
const MIN_DECODED_BYTES: usize = 128 << 10;

/// What the names and values of a head may have together before the connection ends for it, where a head may
/// be of `most_bytes`.
///
/// That is what `SETTINGS_MAX_HEADER_LIST_SIZE` says: a client that keeps to it has an answer to each head.
/// It counts each part of a `Cookie` as a field (RFC 9113, section 6.5.2), so a smaller one would have the
/// client hold back heads that fit. What h2 gets has 32 bytes more for each of 2,006 fields at most.
pub(crate) fn max_decoded_bytes(most_bytes: usize) -> usize {
    most_bytes.saturating_mul(4).max(MIN_DECODED_BYTES)
}

/// A stream whose header blocks are such as h2 takes.
#[derive(Debug)]
pub(crate) struct CheckedHttp2Stream<S> {
    stream: S,
    /// Apart, because h2 and the tasks around it grow by more than what is put into them.
    heads: Box<Heads>,
}

/// What is between the stream and h2.
#[derive(Debug)]
struct Heads {
    faults: Arc<Faults>,
    decoder: Decoder,
    limits: HeadLimits,
    /// The latest stream that a request came on.
    latest: u32,
    /// A header block whose end has not come.
    block: Option<Block>,
    /// Bytes that h2 gets as they are, before the next frame.
    passing: usize,
    /// What was read and h2 has not got. Behind what passes there begins a frame.
    unread: Bytes,
    /// What h2 gets before that.
    output: Bytes,
    reading: Reading,
}

/// Whether there is more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    AtEnd,
    /// The connection is to be ended.
    Failed,
}

/// A header block (RFC 9113, section 4.3).
#[derive(Debug)]
struct Block {
    stream: u32,
    is_end_stream: bool,
    bytes: Vec<u8>,
    /// Frames behind the first.
    continuations: usize,
}

impl<S> CheckedHttp2Stream<S> {
    /// Looks behind the preface, which h2 checks. A head may have so much.
    pub(crate) fn new(stream: S, faults: Arc<Faults>, limits: HeadLimits) -> Self {
        let heads = Heads {
            faults,
            decoder: Decoder::new(),
            limits,
            latest: 0,
            block: None,
            passing: PREFACE.len(),
            unread: Bytes::new(),
            output: Bytes::new(),
            reading: Reading::Open,
        };
        Self { stream, heads: Box::new(heads) }
    }
}

impl Heads {
    /// Takes what was read, but for so many bytes at its beginning that h2 gets as they are.
    fn receive(&mut self, read: &[u8]) -> usize {
        if read.is_empty() {
            // h2 learns whether there was half a frame.
            self.passing = self.unread.len();
            self.reading = Reading::AtEnd;
        }
        let is_between_blocks = self.unread.is_empty() && self.block.is_none();
        let passed = if is_between_blocks { self.pass(read) } else { 0 };
        if let Some(rest @ [_, ..]) = read.get(passed..) {
            self.unread = [&self.unread, rest].concat().into();
        }
        passed
    }

    /// Gives h2 what there is for it, as far as there is room.
    fn deliver(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let is_passing = self.output.is_empty();
        let from = if is_passing { &mut self.unread } else { &mut self.output };
        let most = if is_passing { self.passing } else { from.len() };
        let count = most.min(from.len()).min(buffer.remaining());
        buffer.put_slice(&from.split_to(count));
        if is_passing {
            self.passing -= count;
        }
        count > 0
    }

    /// How many of these bytes h2 gets as they are: all before a header block, and before a frame's header
    /// that is not there as a whole.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let count = self.passing.min(bytes.len() - passed);
            self.passing -= count;
            passed += count;
            match bytes.get(passed..).and_then(FrameHeader::parse) {
                Some(header) if !is_of_block(header) => self.passing = FRAME_HEADER + header.length,
                Some(_) | None => return passed,
            }
        }
    }

    /// Looks at the next frame; false if there is not enough of it.
    fn take_frame(&mut self) -> bool {
        let Some(header) = FrameHeader::parse(&self.unread) else { return false };
        let length = FRAME_HEADER + header.length;
        if !is_of_block(header) {
            // RFC 9113, section 4.3: nothing comes between the parts of a header block.
            if self.block.is_some() {
                self.fail(Reason::PROTOCOL_ERROR);
            }
            self.passing = length;
            return true;
        }
        if self.unread.len() < length {
            return false;
        }
        let frame = self.unread.split_to(length);
        let payload = frame.get(FRAME_HEADER..).unwrap_or_default();
        let FrameHeader { kind, flags, stream, .. } = header;
        let block = match self.block.take() {
            None if kind == HEADERS => match fragment(flags, payload) {
                Some(fragment) => {
                    let is_end_stream = flags & END_STREAM != 0;
                    Block { stream, is_end_stream, bytes: fragment.to_vec(), continuations: 0 }
                }
                // For h2 that is the end of the connection.
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
            self.finish(&block);
        } else if block.continuations > self.max_continuations() {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        } else {
            self.block = Some(block);
        }
        true
    }

    /// As many as h2 takes: what the largest head fills, and a quarter more.
    fn max_continuations(&self) -> usize {
        let full = self.limits.bytes / usize::from(FRAME_BYTES);
        (full + full / 4).max(MIN_CONTINUATIONS)
    }

    /// Makes of a whole block what h2 gets for it.
    fn finish(&mut self, block: &Block) {
        let most = max_decoded_bytes(self.limits.bytes);
        let mut output = Vec::new();
        let decoded = if block.stream > self.latest {
            self.latest = block.stream;
            let mut head = RequestHead::new(self.limits);
            let add = |name: &[u8], value: &[u8]| head.add(name, value);
            let decoded = self.decoder.decode(&block.bytes, most, add);
            let (fields, fault) = head.finish(block.is_end_stream);
            if let Some(rejection) = fault {
                self.faults.add_of_request(block.stream, rejection);
            }
            put_head(block, &fields, &mut output);
            decoded
        } else {
            // RFC 9113, section 8.1: trailers end a request.
            let mut is_good = block.is_end_stream;
            let add = |name: &[u8], value: &[u8]| is_good &= is_regular_field(name, value);
            let decoded = self.decoder.decode(&block.bytes, most, add);
            let is_refused =
                !is_good && self.faults.add_of_request(block.stream, Rejection::Malformed);
            put_trailers(block.stream, is_good || is_refused, &mut output);
            decoded
        };
        match decoded {
            Ok(()) => self.output = output.into(),
            Err(DecodeError::TooLarge) => self.fail(Reason::ENHANCE_YOUR_CALM),
            Err(DecodeError::Undecodable) => self.fail(Reason::COMPRESSION_ERROR),
        }
    }

    fn fail(&mut self, reason: Reason) {
        self.reading = Reading::Failed;
        self.faults.add_of_connection(reason);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedHttp2Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, heads } = &mut *self;
        loop {
            if heads.reading == Reading::Failed {
                return Poll::Pending;
            }
            if heads.deliver(buffer) || heads.reading == Reading::AtEnd {
                return Poll::Ready(Ok(()));
            }
            if heads.take_frame() {
                continue;
            }
            // Into h2's own buffer, because most of it may stay there.
            let before = buffer.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
            let passed = heads.receive(buffer.filled().get(before..).unwrap_or_default());
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Whether a frame is a part of a header block. One that is too large, or on no stream, is for h2, which
/// ends the connection.
fn is_of_block(header: FrameHeader) -> bool {
    matches!(header.kind, HEADERS | CONTINUATION)
        && header.length <= FRAME_BYTES.into()
        && header.stream != 0
}

/// The part of a header block that HEADERS have, without padding and priority (RFC 9113, section 6.2).
/// A priority says nothing to us, wrong or right (RFC 9113, section 5.3.2).
fn fragment(flags: u8, mut payload: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, rest) = payload.split_first()?;
        padding = usize::from(*length);
        payload = rest;
    }
    if flags & HAS_PRIORITY != 0 {
        payload = payload.get(PRIORITY_BYTES..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

/// The head of a request, in as many frames as it takes.
fn put_head(head: &Block, fields: &[u8], output: &mut Vec<u8>) {
    let end_stream = if head.is_end_stream { END_STREAM } else { 0 };
    let mut parts = fields.chunks(FRAME_BYTES.into()).peekable();
    let (mut kind, mut flags) = (HEADERS, end_stream);
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        put_frame(kind, flags, head.stream, part, output);
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// What stands for trailers, whose fields nobody reads.
///
/// They are DATA with an end, because h2 ends the connection for HEADERS on a stream that it has reset and
/// forgotten, and for DATA it does not. Where they are malformed and it is too late for a refusal, it is a
/// priority that h2 resets the stream for (RFC 7540, section 5.3.1), with `PROTOCOL_ERROR` as well.
fn put_trailers(stream: u32, is_an_end: bool, output: &mut Vec<u8>) {
    if is_an_end {
        put_frame(DATA, END_STREAM, stream, &[], output);
    } else {
        let [a, b, c, d] = stream.to_be_bytes();
        put_frame(PRIORITY, 0, stream, &[a, b, c, d, 0], output);
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

    type Seen = (Method, Uri, HeaderMap, Option<Protocol>);

    /// What a server of h2's makes of the requests of a client of h2's.
    async fn seen<S>(wrap: impl FnOnce(DuplexStream) -> S) -> Vec<Seen>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (near, far) = duplex(1 << 10);
        let stream = wrap(far);
        let served = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            // It makes the client say that its table is smaller now.
            builder.enable_connect_protocol().header_table_size(300);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.expect("it begins");
            let mut seen = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let protocol = request.extensions().get().cloned();
                let (head, _) = request.into_parts();
                seen.push((head.method, head.uri, head.headers, protocol));
                let _ = respond.send_response(hyper::Response::new(()), true);
            }
            seen
        });
        let (mut client, connection) = h2::client::handshake(near).await.expect("it begins");
        let connection = tokio::spawn(connection);
        for request in requests() {
            client = client.ready().await.expect("there is room");
            let (response, _) = client.send_request(request, true).expect("it is good");
            response.await.expect("it is answered");
        }
        drop(client);
        connection.await.expect("no panic").expect("a good end");
        served.await.expect("no panic")
    }

    /// Heads with lines that come again, and with those that are larger than a frame and than a table.
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
            request.body(()).expect("it is a request")
        })
    }

    fn round_byte(round: usize) -> u8 {
        b'a' + u8::try_from(round % 26).unwrap_or_default()
    }

    const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, lines: 64 };

    /// RFC 9113, section 8.2.3: they are one field for whoever is behind HTTP/2.
    fn with_one_cookie((method, uri, mut headers, protocol): Seen) -> Seen {
        let cookies: Vec<&[u8]> =
            headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if !cookies.is_empty() {
            let cookie = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
            headers.insert(COOKIE, cookie.expect("its parts are good"));
        }
        (method, uri, headers, protocol)
    }

    #[tokio::test]
    async fn good_heads_are_the_same_behind_this_stream() {
        let faults = Arc::new(Faults::default());
        let checked =
            seen(|stream| CheckedHttp2Stream::new(stream, Arc::clone(&faults), LIMITS)).await;
        let unchecked = seen(|stream| stream).await;
        assert_eq!(checked.len(), 40);
        assert_eq!(checked, unchecked.into_iter().map(with_one_cookie).collect::<Vec<Seen>>());
        assert_eq!(faults.requests(), 0);
    }
}
