//! Requests and responses of HTTP/1.1, read byte by byte as they arrive: what is late, too long or not HTTP
//! is what is looked for here.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::escape::escape;

/// A longer head of a response is not read.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;

const MAX_HEADERS: usize = 100;

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Whether the version is HTTP/1.1.
    pub(crate) is_http11: bool,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first value of a header, in whatever case its name is.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.values(name);
        values.next()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.headers.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.trim_ascii())
    }

    /// Whether a list header has this element.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        let elements = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        elements.into_iter().any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Why there is no head of a response.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The connection ended after this number of bytes.
    Ended(usize),
    /// The connection failed.
    Failed(io::Error),
    /// What arrived is not HTTP/1; these are the first bytes.
    NotHttp(Vec<u8>),
    /// The time was over after this number of bytes.
    TimedOut(usize),
    /// The head is longer than [`MAX_HEAD_BYTES`], or has too many fields.
    TooLarge,
}

impl fmt::Display for NoHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(0) => f.write_str("the connection was closed without an answer"),
            Self::Ended(count) => {
                write!(
                    f,
                    "the connection was closed after {count} bytes, within the head of the answer"
                )
            }
            Self::Failed(error) => write!(f, "the connection failed: {error}"),
            Self::NotHttp(bytes) => write!(f, "the answer is not HTTP/1: \"{}\"", escape(bytes)),
            Self::TimedOut(0) => f.write_str("there was no answer in time"),
            Self::TimedOut(count) => {
                write!(f, "only {count} bytes of the head of the answer arrived in time")
            }
            Self::TooLarge => {
                write!(
                    f,
                    "the head of the answer has more than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} \
                     fields"
                )
            }
        }
    }
}

/// Sends a request, or a part of one.
///
/// # Errors
///
/// The connection failed, or took nothing for so long.
pub(crate) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    until: Instant,
) -> Result<(), NoHead> {
    let written = timeout_at(until, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        // The response may have been sent before the connection ended.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Ok(Err(error)) => Err(NoHead::Failed(error)),
        Err(_) => Err(NoHead::TimedOut(0)),
    }
}

/// Reads the head of the final response; interim ones (RFC 9110, section 15.2) are skipped. What follows
/// stays in `input`, and so does an incomplete head.
///
/// # Errors
///
/// See [`NoHead`].
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    until: Instant,
) -> Result<Head, NoHead> {
    let mut total = input.len();
    loop {
        while let Some((head, length)) = parse_head(input)? {
            let _ = input.split_to(length);
            if head.status == 101 || !(100..200).contains(&head.status) {
                return Ok(head);
            }
        }
        if total > MAX_HEAD_BYTES {
            return Err(NoHead::TooLarge);
        }
        match timeout_at(until, stream.read_buf(input)).await {
            Ok(Ok(0)) => return Err(NoHead::Ended(total)),
            Ok(Ok(count)) => total += count,
            Ok(Err(error)) => return Err(NoHead::Failed(error)),
            Err(_) => return Err(NoHead::TimedOut(total)),
        }
    }
}

fn parse_head(input: &[u8]) -> Result<Option<(Head, usize)>, NoHead> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    let not_http = || NoHead::NotHttp(input.get(..64).unwrap_or(input).to_vec());
    match response.parse(input) {
        Ok(httparse::Status::Complete(length)) => {
            let headers = response.headers.iter();
            let headers = headers.map(|field| (field.name.to_owned(), field.value.to_vec()));
            let status = response.code.ok_or_else(not_http)?;
            let is_http11 = response.version == Some(1);
            Ok(Some((Head { status, is_http11, headers: headers.collect() }, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(NoHead::TooLarge),
        Err(_) => Err(not_http()),
    }
}

/// Reads what arrives of a body, up to a limit and for a limited time. A body that is cut short is no error:
/// it is shown to people.
pub(crate) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    head: &Head,
    mut input: BytesMut,
    max_bytes: usize,
    limit: Duration,
) -> Vec<u8> {
    let until = Instant::now() + limit;
    let is_chunked = head.has_token("transfer-encoding", "chunked");
    let length =
        head.header("content-length").and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    let length = length.filter(|_| !is_chunked).unwrap_or(max_bytes).min(max_bytes);
    while input.len() < length && !(is_chunked && input.ends_with(b"0\r\n\r\n")) {
        match timeout_at(until, stream.read_buf(&mut input)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => break,
        }
    }
    if is_chunked {
        return without_chunks(&input);
    }
    input.truncate(length);
    input.to_vec()
}

/// Joins the chunks of a body (RFC 9112, section 7.1), as far as they are valid.
fn without_chunks(mut input: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(input) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let rest = input.get(start..).unwrap_or_default();
        let chunk = rest.get(..size.min(rest.len())).unwrap_or_default();
        body.extend_from_slice(chunk);
        input = rest.get(chunk.len()..).unwrap_or_default();
        input = input.strip_prefix(b"\r\n").unwrap_or(input);
        if size == 0 {
            break;
        }
    }
    body
}
