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

/// The most payload of one DATA frame, and so the most output of a stream that h2 queues.
const FRAME_BYTES: usize = 4096;

/// Converts a response to HTTP/2: removes the connection-specific headers (RFC 9113, section 8.2.2), and
/// adds those that hyper adds over HTTP/1.1.
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

/// A stream of an HTTP/2 connection, as a byte stream. [`Answer::over_http2`](crate::Answer::over_http2)
/// creates one for a request that is admitted.
///
/// h2 queues the data that it is given. It counts the bytes but not the frames that these become, and
/// does not expose how much is unsent. So this stream gives h2 one DATA frame at a time, of at most 4
/// KiB, and a flush is complete when h2 has moved that frame to the write buffer of the connection. A
/// write timeout sees progress in steps of 4 KiB, and the streams of a connection share the rate at
/// which the client reads.
///
/// Dropping it before both sides have closed resets the stream.
#[derive(Debug)]
pub struct Http2Stream {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
    /// Input that was received while output was blocked, or did not fit into the reader's buffer.
    buffered: Option<Box<Bytes>>,
    /// Present while h2 holds our frame. No value is sent: it completes when h2 drops the frame.
    queued: Option<oneshot::Receiver<Infallible>>,
}

/// The payload of a DATA frame. h2 drops it, with `_on_drop`, when the frame is written or the stream is
/// reset. h2 does so under its lock, where the drop only wakes a task, as h2 itself does.
struct Payload {
    bytes: Vec<u8>,
    _on_drop: oneshot::Sender<Infallible>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Http2Stream {
    /// Creates the byte stream of a request that was answered with 200.
    #[must_use]
    pub fn new(sender: SendStream<Bytes>, receiver: RecvStream) -> Self {
        Self { sender, receiver, buffered: None, queued: None }
    }

    /// Waits until h2 holds no frame of this stream.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(queued) = &mut self.queued else { return Poll::Ready(Ok(())) };
        if Pin::new(queued).poll(cx).is_pending() {
            self.buffer_input(cx);
            return Poll::Pending;
        }
        self.queued = None;
        // h2 also drops the frame if the stream was reset.
        match self.sender.poll_reset(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(reset) => {
                Poll::Ready(Err(io_error(reset.map_or_else(Into::into, Into::into))))
            }
        }
    }

    /// Copies the received input into a buffer of this stream, for the next reads. The flow-control
    /// window is not released, and bounds the buffer. An error, or the end of the stream, is returned by
    /// a later read.
    ///
    /// The stream calls this when it blocks output, and a wrapper that blocks output has to call it as
    /// well: a session that cannot write does not read, and each frame that h2 holds keeps alive the 8
    /// KiB buffer that it was read into.
    pub fn buffer_input(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(data))) = self.receiver.poll_data(cx) {
            let buffered = self.buffered.take();
            let mut buffered = buffered.map(|bytes| Vec::from(*bytes)).unwrap_or_default();
            buffered.extend_from_slice(&data);
            self.buffered = Some(Box::new(buffered.into()));
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut data = match self.buffered.take() {
            Some(buffered) => *buffered,
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
        // Even an empty slice would keep the buffer alive that the connection has read it into.
        self.buffered = Some(data).filter(Buf::has_remaining).map(Box::new);
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
        let accepted = bytes.get(..capacity).unwrap_or(bytes);
        let (on_drop, queued) = oneshot::channel();
        let payload = Payload { bytes: accepted.to_vec(), _on_drop: on_drop };
        self.sender.send_data(Bytes::from_owner(payload), false).map_err(io_error)?;
        self.queued = Some(queued);
        Poll::Ready(Ok(accepted.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    /// Closes our side, after the data that h2 holds. The client's side can still be read (RFC 8441,
    /// section 5).
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        //= rfc8441#5-7
        Poll::Ready(self.sender.send_data(Bytes::new(), true).map_err(io_error))
    }
}

fn io_error(error: h2::Error) -> io::Error {
    // The client reset the stream, or closed the connection because of an error of ours.
    //= rfc8441#5-8
    if error.is_remote() || matches!(error.reason(), Some(Reason::CANCEL | Reason::NO_ERROR)) {
        return io::ErrorKind::ConnectionReset.into();
    }
    let kind = error.get_io().map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, error)
}
