//! WebSockets on the streams of an HTTP/2 connection (RFC 8441).

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use hyper::Response;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A response as HTTP/2 says it: without headers that are about a connection (RFC 9113, section
/// 8.2.2), and with those that hyper adds to its answers over HTTP/1.1.
pub(crate) fn response(response: Response<String>) -> (Response<()>, String) {
    let (head, body) = response.into_parts();
    let mut response = Response::from_parts(head, ());
    let headers = response.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    if !body.is_empty() {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    headers.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
    (response, body)
}

/// A stream of an HTTP/2 connection, as bytes. [`Answer::over_http2`](crate::Answer::over_http2) makes
/// one of a request.
///
/// What is written is on its way when it is taken: the connection writes it. Dropping it before both
/// sides have ended it resets the stream.
#[derive(Debug)]
pub struct Http2Stream {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
    unread: Bytes,
}

impl Http2Stream {
    pub(crate) fn new(sender: SendStream<Bytes>, receiver: RecvStream) -> Self {
        Self { sender, receiver, unread: Bytes::new() }
    }

    /// Takes what has come into a buffer of its own, because whoever cannot write does not read, and
    /// each frame that h2 holds keeps alive the 8 KiB that it was read with. The window stays as it is
    /// and bounds it; an error or the end is there again for the next to read.
    fn hoard(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(data))) = self.receiver.poll_data(cx) {
            let mut unread = Vec::from(mem::take(&mut self.unread));
            unread.extend_from_slice(&data);
            self.unread = unread.into();
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receiver.poll_data(cx)) {
                Some(data) => self.unread = data.map_err(io_error)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = buffer.remaining().min(self.unread.len());
        buffer.put_slice(self.unread.get(..count).unwrap_or_default());
        self.unread.advance(count);
        // Even an empty one keeps all that the connection has read at once.
        if self.unread.is_empty() {
            self.unread = Bytes::new();
        }
        self.receiver.flow_control().release_capacity(count).map_err(io_error)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sender.reserve_capacity(bytes.len());
        let mut capacity = self.sender.capacity();
        if capacity == 0 {
            capacity = match self.sender.poll_capacity(cx) {
                Poll::Ready(Some(capacity)) => capacity.map_err(io_error)?,
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending => {
                    self.hoard(cx);
                    return Poll::Pending;
                }
            };
        }
        let taken = bytes.get(..capacity.min(bytes.len())).unwrap_or_default();
        self.sender.send_data(Bytes::copy_from_slice(taken), false).map_err(io_error)?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends our side; the client's is still read (RFC 8441, section 5).
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sender.send_data(Bytes::new(), true).map_err(io_error))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    match error.reason() {
        // A client that has lost interest is one that hangs up.
        Some(Reason::CANCEL | Reason::NO_ERROR) => io::ErrorKind::ConnectionReset.into(),
        _ => io::Error::other(error),
    }
}
