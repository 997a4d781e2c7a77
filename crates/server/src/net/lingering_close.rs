//! Lingering close: ends a connection after the last response, while the client may still be sending.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::net::stream::Stream;

/// Returns the inner stream through a oneshot channel when dropped. If the receiver has been dropped,
/// because the stream was upgraded, the stream is dropped as well.
///
/// hyper owns its stream and closes it while the client may still be sending. That resets the
/// connection, and the client may never read the response.
#[derive(Debug)]
pub(crate) struct ReclaimOnDrop(Option<(Stream, oneshot::Sender<Stream>)>);

impl ReclaimOnDrop {
    /// Wraps `stream`. The receiver yields it after the drop.
    pub(crate) fn new(stream: Stream) -> (Self, oneshot::Receiver<Stream>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some((stream, sender))), receiver)
    }

    /// Puts back bytes that were read, see [`Stream::rewind`].
    pub(crate) fn rewind(&mut self, bytes: &[u8]) {
        if let Some((stream, _)) = &mut self.0 {
            stream.rewind(bytes);
        }
    }

    /// Takes the stream out. The receiver gets nothing.
    pub(crate) fn into_inner(mut self) -> Stream {
        let (stream, _) = self.0.take().expect("it is only taken by value and in drop");
        stream
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut Stream> {
        let (stream, _) = self.get_mut().0.as_mut().expect("it is only taken by value and in drop");
        Pin::new(stream)
    }
}

impl Drop for ReclaimOnDrop {
    fn drop(&mut self) {
        if let Some((stream, sender)) = self.0.take() {
            let _ = sender.send(stream);
        }
    }
}

impl AsyncRead for ReclaimOnDrop {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for ReclaimOnDrop {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }
}

/// Shuts down the write half, and reads and discards input until the client closes the connection. The
/// caller sets the timeout.
pub(crate) async fn lingering_close(mut stream: Stream) {
    if poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.is_ok() {
        while let Ok(1..) = stream.discard().await {}
    }
}
