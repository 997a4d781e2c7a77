//! Checks the request heads of an HTTP/1.1 connection before hyper reads them.
//!
//! hyper drops the fragment of a request target, reports one `Content-Length` where two were equal, and
//! limits a target only by the size of its buffer. The stream here detects these cases and reports an
//! end of file to hyper before them. So hyper reads no request behind them, and the server sends
//! the response.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use transport::Rejection;

use crate::http::request_limits::MAX_TARGET_BYTES;
use crate::net::forward::forward_write;
use crate::net::lingering_close::ReclaimOnDrop;
use crate::net::stream::Stream;

/// The start of a line that a head may have once.
const CONTENT_LENGTH: &[u8] = b"content-length:";

/// A stream that ends before a head's first violation.
#[derive(Debug)]
pub(crate) struct CheckedHttp1Stream {
    stream: ReclaimOnDrop,
    /// The position behind the bytes that were read.
    scanner: HeadScanner,
    /// The violation found at the next byte.
    next_violation: Option<Rejection>,
    findings: Arc<HeadFindings>,
}

/// State shared by the stream and the service.
#[derive(Debug, Default)]
pub(crate) struct HeadFindings {
    is_held: AtomicBool,
    is_stopped: AtomicBool,
    violation: OnceLock<Rejection>,
}

impl CheckedHttp1Stream {
    /// Wraps `stream`. The request line must be shorter than `max_line_bytes` and than
    /// [`MAX_TARGET_BYTES`].
    pub(crate) fn new(stream: ReclaimOnDrop, max_line_bytes: usize) -> (Self, Arc<HeadFindings>) {
        let findings = Arc::new(HeadFindings::default());
        let scanner = HeadScanner::new(max_line_bytes.min(MAX_TARGET_BYTES));
        let stream =
            Self { stream, scanner, next_violation: None, findings: Arc::clone(&findings) };
        (stream, findings)
    }
}

/// Takes the stream out of hyper's wrappers, with the bytes that hyper has read ahead.
pub(crate) fn reclaim(upgraded: Upgraded) -> Stream {
    let parts = upgraded.downcast::<TokioIo<CheckedHttp1Stream>>();
    let Parts { io, read_buf, .. } = parts.expect("the stream that hyper was given is upgraded");
    let mut stream = io.into_inner().stream.into_inner();
    stream.rewind(&read_buf);
    stream
}

impl HeadFindings {
    /// Lets hyper read nothing more until [`release`](Self::release). hyper reads on before it polls the
    /// future that answers a request: an error would end the connection before an answer that is ready, and
    /// whether the bytes are checked depends on the answer.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Lets hyper read on. It does so the next time that it is polled.
    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::Relaxed);
    }

    /// Passes all further bytes unchecked, because no request is read from them: the connection was
    /// upgraded, or its last response was sent and a body may follow.
    pub(crate) fn stop_checking(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Returns the violation before which hyper has read an end of file.
    pub(crate) fn violation(&self) -> Option<Rejection> {
        self.violation.get().copied()
    }
}

impl AsyncRead for CheckedHttp1Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, scanner, next_violation, findings } = &mut *self;
        if findings.is_held.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let is_checked = !findings.is_stopped.load(Ordering::Relaxed);
        if let Some(violation) = *next_violation
            && is_checked
        {
            let _ = findings.violation.set(violation);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
        if is_checked {
            let read = buffer.filled().get(before..).unwrap_or_default();
            if let Some((valid, violation)) = scanner.scan(read) {
                // If the request before it is upgraded, these bytes belong to the session.
                stream.rewind(read.get(valid..).unwrap_or_default());
                buffer.set_filled(before + valid);
                *next_violation = Some(violation);
                if valid == 0 {
                    return self.poll_read(cx, buffer);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The position of the next byte in a head. As for hyper, a line ends with a line feed, with or without
/// a carriage return before it.
#[derive(Debug)]
struct HeadScanner {
    max_line_bytes: usize,
    /// Whether the position is in the request line, or before it.
    is_request_line: bool,
    /// Bytes of the line so far, without a carriage return at its start.
    line_bytes: usize,
    /// The length of the line, while all of it matches [`CONTENT_LENGTH`].
    matched: Option<usize>,
    has_content_length: bool,
}

impl HeadScanner {
    fn new(max_line_bytes: usize) -> Self {
        Self {
            max_line_bytes,
            is_request_line: true,
            line_bytes: 0,
            matched: Some(0),
            has_content_length: false,
        }
    }

    /// Scans these bytes. Returns the first violation and the number of bytes before it.
    fn scan(&mut self, bytes: &[u8]) -> Option<(usize, Rejection)> {
        let mut index = 0;
        while let Some(byte) = bytes.get(index) {
            if let Some(violation) = self.advance(*byte) {
                return Some((index, violation));
            }
            index += 1;
            index += self.skip(bytes.get(index..).unwrap_or_default());
        }
        None
    }

    /// Skips bytes within a line that cannot be a violation, and returns their number. This loop is short,
    /// because every byte of a head passes here.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let rest = if self.line_bytes == 0 {
            0
        } else if self.is_request_line {
            let most = (self.max_line_bytes - 1).saturating_sub(self.line_bytes);
            let bytes = bytes.get(..most).unwrap_or(bytes);
            let stop = bytes.iter().position(|byte| matches!(byte, b'\n' | b'#'));
            stop.unwrap_or(bytes.len())
        } else if self.matched.is_none() {
            bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
        } else {
            0
        };
        self.line_bytes += rest;
        rest
    }

    fn advance(&mut self, byte: u8) -> Option<Rejection> {
        match byte {
            // An empty line ends a head, and empty lines may precede one (RFC 9112, section 2.2).
            b'\n' if self.line_bytes == 0 => {
                *self = Self::new(self.max_line_bytes);
                return None;
            }
            b'\n' => {
                (self.is_request_line, self.line_bytes, self.matched) = (false, 0, Some(0));
                return None;
            }
            b'\r' if self.line_bytes == 0 => return None,
            //= rfc6455#3-1
            b'#' if self.is_request_line => return Some(Rejection::Malformed),
            _ => self.line_bytes += 1,
        }
        if self.is_request_line {
            return (self.line_bytes >= self.max_line_bytes).then_some(Rejection::UriTooLong);
        }
        let expected = self.matched.and_then(|matched| CONTENT_LENGTH.get(matched));
        let is_match = expected.is_some_and(|expected| byte.eq_ignore_ascii_case(expected));
        self.matched = self.matched.filter(|_| is_match).map(|matched| matched + 1);
        let is_content_length = self.matched == Some(CONTENT_LENGTH.len());
        let is_repeated = is_content_length && self.has_content_length;
        self.has_content_length |= is_content_length;
        is_repeated.then_some(Rejection::HasBody)
    }
}

forward_write!(CheckedHttp1Stream);
