//! An accepted stream: of whatever kind, and with what was read of it already.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// As many as the head of a request mostly has.
const FIRST_BYTES: usize = 1024;

/// A stream that was accepted, by TCP or by a Unix socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// What was read and belongs to whoever reads next, which is rarely anything.
    unread: Option<Box<Bytes>>,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same for both kinds of sockets.
macro_rules! either {
    ($socket:expr, $it:ident => $do:expr) => {
        match $socket {
            Socket::Tcp($it) => $do,
            Socket::Unix($it) => $do,
        }
    };
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self { socket, unread: None }
    }
}

impl Stream {
    /// Waits until there is a byte or the end, as far as the system can tell.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.unread.is_some() {
            return Ok(());
        }
        either!(&self.socket, it => it.readable().await)
    }

    /// Waits for the first bytes, or the end, and keeps them for whoever reads next. Cancel safe.
    ///
    /// To wait until it is readable is not enough: the system may say so when there is nothing.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        if self.unread.is_some() {
            return Ok(());
        }
        poll_fn(|cx| {
            // On the stack, and no part of the future.
            let mut buffer = [0; FIRST_BYTES];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut read))?;
            self.unread(read.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Reads what there is, and waits for it. Cancel safe.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut read = ReadBuf::new(buffer);
            Pin::new(&mut *self).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
        })
        .await
    }

    /// Throws away some of what there is, and says how much; 0 is the end.
    pub(crate) fn discard(&mut self) -> io::Result<usize> {
        self.unread = None;
        either!(&self.socket, it => it.try_read(&mut [0; 4096]))
    }

    /// Gives back what was read too much.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let behind = self.unread.take().unwrap_or_default();
            self.unread = Some(Box::new([bytes, &behind].concat().into()));
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(&self.socket, it => it.as_fd())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut bytes) = self.unread.take() {
            buffer.put_slice(&bytes.split_to(buffer.remaining().min(bytes.len())));
            self.unread = Some(bytes).filter(|bytes| !bytes.is_empty());
            return Poll::Ready(Ok(()));
        }
        either!(&mut self.socket, it => Pin::new(it).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.socket, it => Pin::new(it).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.socket, it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.socket, it => Pin::new(it).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.socket, it => Pin::new(it).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
