//! The end of a connection that HTTP is through with, while its client may still be sending.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::net::stream::Stream;

/// A stream that comes home when whoever has it drops it. If nobody waits for it there, because it
/// was upgraded, it is dropped.
///
/// hyper keeps a stream to itself and hangs up where a client is still sending, which resets the
/// connection, and then the client may never see the answer.
#[derive(Debug)]
pub(crate) struct ReclaimOnDrop(Option<(Stream, oneshot::Sender<Stream>)>);

impl ReclaimOnDrop {
    /// The stream to lend, and where it will come home.
    pub(crate) fn new(stream: Stream) -> (Self, oneshot::Receiver<Stream>) {
        let (home, returned) = oneshot::channel();
        (Self(Some((stream, home))), returned)
    }

    /// Gives back what was read too much.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        if let Some((stream, _)) = &mut self.0 {
            stream.unread(bytes);
        }
    }

    /// The stream, which does not come home then.
    pub(crate) fn into_inner(mut self) -> Stream {
        let (stream, _) = self.0.take().expect("only what ends this takes it out");
        stream
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut Stream> {
        let (stream, _) = self.get_mut().0.as_mut().expect("only what ends this takes it out");
        Pin::new(stream)
    }
}

impl Drop for ReclaimOnDrop {
    fn drop(&mut self) {
        if let Some((stream, home)) = self.0.take() {
            let _ = home.send(stream);
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

/// Half-closes the stream and reads away what the client still sends, until it hangs up. How long
/// that may take is the caller's business.
pub(crate) async fn lingering_close(mut stream: Stream) {
    if poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.is_ok() {
        while let Ok(1..) = stream.discard().await {}
    }
}

/// Answers in hyper's place, without a body as hyper does it where a request cannot be read, and lingers.
pub(crate) async fn refuse_and_close(mut stream: Stream, status: StatusCode) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n"
    );
    let mut rest = head.as_bytes();
    while !rest.is_empty()
        && let Ok(count @ 1..) = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, rest)).await
    {
        rest = rest.get(count..).unwrap_or_default();
    }
    lingering_close(stream).await;
}
