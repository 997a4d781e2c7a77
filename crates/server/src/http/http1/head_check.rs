//! The heads of an HTTP/1.1 connection's requests, looked at before hyper reads them.
//!
//! hyper drops the fragment of a target, shows one `Content-Length` where two were the same, and knows a
//! target that is too long only by the size of its buffer. A stream in front of it finds these and ends for
//! hyper there, so that nothing behind it is read as a request, and the server gives the answer.

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

/// How a line begins of which a head has one at most.
const CONTENT_LENGTH: &[u8] = b"content-length:";

/// A stream that ends where a head breaks one of these rules.
#[derive(Debug)]
pub(crate) struct CheckedHttp1Stream {
    stream: ReclaimOnDrop,
    /// Where the bytes are that were read.
    head: Head,
    /// What is wrong with the bytes that come next.
    found: Option<Rejection>,
    checks: Arc<HeadFindings>,
}

/// What the stream and the service tell each other.
#[derive(Debug, Default)]
pub(crate) struct HeadFindings {
    have_ended: AtomicBool,
    found: OnceLock<Rejection>,
}

impl CheckedHttp1Stream {
    /// A request's first line may have fewer than so many bytes.
    pub(crate) fn new(stream: ReclaimOnDrop, most_bytes: usize) -> (Self, Arc<HeadFindings>) {
        let checks = Arc::new(HeadFindings::default());
        let head = Head::new(most_bytes.min(MAX_TARGET_BYTES));
        (Self { stream, head, found: None, checks: Arc::clone(&checks) }, checks)
    }
}

/// The stream that was lent, out of all that hyper has put around it.
pub(crate) fn reclaim(upgraded: Upgraded) -> Stream {
    let parts = upgraded.downcast::<TokioIo<CheckedHttp1Stream>>();
    let Parts { io, read_buf, .. } = parts.expect("only what was lent is upgraded");
    let mut stream = io.into_inner().stream.into_inner();
    stream.unread(&read_buf);
    stream
}

impl HeadFindings {
    /// Has what follows pass as it is, because no request is read of it: the connection was upgraded, or has
    /// had its last answer, and a body may be there.
    pub(crate) fn end(&self) {
        self.have_ended.store(true, Ordering::Relaxed);
    }

    /// Why hyper was told that the stream ends.
    pub(crate) fn found(&self) -> Option<Rejection> {
        self.found.get().copied()
    }
}

impl AsyncRead for CheckedHttp1Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, head, found, checks } = &mut *self;
        let is_checked = !checks.have_ended.load(Ordering::Relaxed);
        if let Some(fault) = *found
            && is_checked
        {
            let _ = checks.found.set(fault);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
        if is_checked {
            let read = buffer.filled().get(before..).unwrap_or_default();
            if let Some((good, fault)) = head.check(read) {
                // An upgrade may have been asked for before it, and then this belongs to the session.
                stream.unread(read.get(good..).unwrap_or_default());
                buffer.set_filled(before + good);
                *found = Some(fault);
                if good == 0 {
                    return self.poll_read(cx, buffer);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Where in a head the next byte is. Its lines end as hyper has it: with a line feed, behind a carriage
/// return or not.
#[derive(Debug)]
struct Head {
    most_bytes: usize,
    /// Whether it is in the first line, or before it.
    is_first_line: bool,
    /// The bytes of the line so far, without a carriage return at its beginning.
    line: usize,
    /// How much of the line is how a `Content-Length` begins, if all of it is.
    matched: Option<usize>,
    has_length: bool,
}

impl Head {
    fn new(most_bytes: usize) -> Self {
        Self { most_bytes, is_first_line: true, line: 0, matched: Some(0), has_length: false }
    }

    /// Goes on behind these bytes, or says how many of them are good, and what is wrong behind them.
    fn check(&mut self, bytes: &[u8]) -> Option<(usize, Rejection)> {
        bytes.iter().enumerate().find_map(|(good, byte)| Some((good, self.take(*byte)?)))
    }

    fn take(&mut self, byte: u8) -> Option<Rejection> {
        match byte {
            // An empty line ends a head, and there may be some before one (RFC 9112, section 2.2).
            b'\n' if self.line == 0 => {
                *self = Self::new(self.most_bytes);
                return None;
            }
            b'\n' => {
                (self.is_first_line, self.line, self.matched) = (false, 0, Some(0));
                return None;
            }
            b'\r' if self.line == 0 => return None,
            b'#' if self.is_first_line => return Some(Rejection::Malformed),
            _ => self.line += 1,
        }
        if self.is_first_line {
            return (self.line >= self.most_bytes).then_some(Rejection::UriTooLong);
        }
        let wanted = self.matched.and_then(|matched| CONTENT_LENGTH.get(matched));
        let is_begun = wanted.is_some_and(|wanted| byte.eq_ignore_ascii_case(wanted));
        self.matched = self.matched.filter(|_| is_begun).map(|matched| matched + 1);
        let is_length = self.matched == Some(CONTENT_LENGTH.len());
        let is_another = is_length && self.has_length;
        self.has_length |= is_length;
        is_another.then_some(Rejection::HasBody)
    }
}

forward_write!(CheckedHttp1Stream);
