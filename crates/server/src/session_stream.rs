//! A session's stream of an HTTP/2 connection, whose DATA frames earn the connection its answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::Http2Stream;

use crate::metered::Meter;

/// The least that earns an answer where the client's window has cut a frame short: by windows of a byte
/// a client would make us send as many frames as it likes, and be paid for each.
const LEAST_PART: usize = 256;

/// A stream whose frames the connection's [`Meter`] is told of.
#[derive(Debug)]
pub(crate) struct SessionStream {
    stream: Http2Stream,
    meter: Arc<Meter>,
    /// By which it waits in the connection's backlog.
    key: u64,
}

impl SessionStream {
    pub(crate) fn new(stream: Http2Stream, meter: Arc<Meter>) -> Self {
        let key = meter.backlog.key();
        Self { stream, meter, key }
    }
}

impl SessionStream {
    /// Waits until the connection gets rid of what it was given: what h2 takes before is no progress.
    fn poll_backlog(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = self.meter.backlog.poll_end(self.key, cx);
        if is_over.is_pending() {
            self.stream.buffer_input(cx);
        }
        is_over
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SessionStream {
    /// What is taken at once is one frame.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_backlog(cx));
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if count == bytes.len() || count >= LEAST_PART {
            self.meter.earn();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.poll_backlog(cx).map(Ok)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
