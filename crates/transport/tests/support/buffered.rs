//! A stream with a write buffer, as TLS and HTTP/2 streams have one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Buffers writes until a flush or until the buffer is full. While the buffer is empty, a write that is
/// larger than its capacity goes directly to the inner stream.
pub(crate) struct Buffered<S> {
    stream: S,
    buffer: Vec<u8>,
    capacity: usize,
}

impl<S> Buffered<S> {
    /// Puts a buffer of `capacity` bytes in front of `stream`.
    pub(crate) fn new(stream: S, capacity: usize) -> Self {
        Self { stream, buffer: Vec::new(), capacity }
    }
}

impl<S: AsyncWrite + Unpin> Buffered<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer))?;
            self.buffer.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= self.capacity {
            ready!(self.poll_empty(cx))?;
        }
        if self.buffer.is_empty() && bytes.len() > self.capacity {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let count = bytes.len().min(self.capacity - self.buffer.len());
        self.buffer.extend(bytes.iter().take(count));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
