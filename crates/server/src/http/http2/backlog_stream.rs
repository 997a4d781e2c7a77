//! Detects that the output of an HTTP/2 connection is blocked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::net::forward::forward_read;
use crate::net::http2_stream::Http2Connection;

/// A stream that begins a backlog when output blocks, and ends it when all output is flushed or on drop.
#[derive(Debug)]
pub(crate) struct BacklogStream<S> {
    stream: S,
    connection: Arc<Http2Connection>,
}

impl<S> BacklogStream<S> {
    pub(crate) fn new(stream: S, connection: Arc<Http2Connection>) -> Self {
        Self { stream, connection }
    }
}

impl<S> Drop for BacklogStream<S> {
    fn drop(&mut self) {
        self.connection.backlog.end();
    }
}

forward_read!(BacklogStream<S>);

impl<S: AsyncWrite + Unpin> AsyncWrite for BacklogStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            self.connection.backlog.begin();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        match flushed {
            Poll::Pending => self.connection.backlog.begin(),
            Poll::Ready(_) => self.connection.backlog.end(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if written.is_pending() {
            self.connection.backlog.begin();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
