//! WebSockets on the streams of an HTTP/2 connection (RFC 8441).

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use hyper::Response;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The most that one DATA frame carries, and so the most that h2 holds of a stream.
const FRAME_BYTES: usize = 4096;

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
/// h2 queues what it is given, counts its bytes and not the frames that these become, and tells nobody
/// how much it still has. So it has at most one DATA frame of a stream at a time, of 4 KiB at most, and
/// a flush is complete when h2 has put that frame into what the connection writes. A write timeout sees
/// progress in these steps of 4 KiB, and the streams of a connection share what its client reads.
///
/// Dropping it before both sides have ended it resets the stream.
#[derive(Debug)]
pub struct Http2Stream {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
    /// What came while output was blocked, or did not fit into the reader's buffer; mostly nothing.
    unread: Option<Box<Bytes>>,
    /// There while h2 has a frame of ours. Nothing is ever sent: it ends when h2 drops the frame.
    queued: Option<oneshot::Receiver<Infallible>>,
}

/// The payload of a DATA frame. h2 drops it, with `_queued`, when the frame is written or the stream is
/// reset. That is within h2's lock, so the drop only wakes a task, as h2 itself does there.
struct Payload {
    bytes: Vec<u8>,
    _queued: oneshot::Sender<Infallible>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Http2Stream {
    pub(crate) fn new(sender: SendStream<Bytes>, receiver: RecvStream) -> Self {
        Self { sender, receiver, unread: None, queued: None }
    }

    /// Waits until h2 has no frame of ours.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(queued) = &mut self.queued else { return Poll::Ready(Ok(())) };
        if Pin::new(queued).poll(cx).is_pending() {
            self.buffer_input(cx);
            return Poll::Pending;
        }
        self.queued = None;
        // A frame of a stream that was reset is dropped, too.
        match self.sender.poll_reset(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(reset) => {
                Poll::Ready(Err(io_error(reset.map_or_else(Into::into, Into::into))))
            }
        }
    }

    /// Takes what has come into a buffer of its own, for the next to read. The window stays as it is and
    /// bounds it; an error or the end is there again.
    ///
    /// A stream that refuses output does this by itself, and so has to do what refuses it around the
    /// stream: a session that cannot write does not read, and each frame that h2 holds keeps alive the
    /// 8 KiB that it was read with.
    pub fn buffer_input(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(data))) = self.receiver.poll_data(cx) {
            let mut unread = self.unread.take().map(|bytes| Vec::from(*bytes)).unwrap_or_default();
            unread.extend_from_slice(&data);
            self.unread = Some(Box::new(unread.into()));
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut data = match self.unread.take() {
            Some(unread) => *unread,
            None => loop {
                match ready!(self.receiver.poll_data(cx)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(data) => break data.map_err(io_error)?,
                    None => return Poll::Ready(Ok(())),
                }
            },
        };
        let count = buffer.remaining().min(data.len());
        buffer.put_slice(&data.split_to(count));
        // Even an empty one keeps all that the connection has read at once.
        self.unread = Some(data).filter(Buf::has_remaining).map(Box::new);
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
        ready!(self.poll_written(cx))?;
        let bytes = bytes.get(..FRAME_BYTES).unwrap_or(bytes);
        self.sender.reserve_capacity(bytes.len());
        let mut capacity = self.sender.capacity();
        if capacity == 0 {
            capacity = match self.sender.poll_capacity(cx) {
                Poll::Ready(Some(capacity)) => capacity.map_err(io_error)?,
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending => {
                    self.buffer_input(cx);
                    return Poll::Pending;
                }
            };
        }
        let taken = bytes.get(..capacity).unwrap_or(bytes);
        let (dropped, queued) = oneshot::channel();
        let payload = Payload { bytes: taken.to_vec(), _queued: dropped };
        self.sender.send_data(Bytes::from_owner(payload), false).map_err(io_error)?;
        self.queued = Some(queued);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    /// Ends our side, behind what h2 still has; the client's is still read (RFC 8441, section 5).
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sender.send_data(Bytes::new(), true).map_err(io_error))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    // A client that resets the stream, or ends the connection for a fault of ours.
    if error.is_remote() || matches!(error.reason(), Some(Reason::CANCEL | Reason::NO_ERROR)) {
        return io::ErrorKind::ConnectionReset.into();
    }
    let kind = error.get_io().map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error)
}
