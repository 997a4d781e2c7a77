//! The stream of a connection or session: TCP, Unix socket, TLS, or a stream of HTTP/2; with peeking.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
#[cfg(target_os = "linux")]
use std::time::Duration;

use hyper::body::Bytes;
use rustix::io::ioctl_fionbio;
#[cfg(target_os = "linux")]
use rustix::net::sockopt;
use rustix::net::{AddressFamily, getsockname};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use transport::Peer;

use crate::net::http2_stream::SessionStream;
use crate::net::tcp_write::TcpWriter;
use crate::tls::stream::{TlsStream, poll_discard};

/// Bytes peeked at once: most request heads fit.
const PEEK_BYTES: usize = 1024;

/// Bytes read from a client before its task yields.
///
/// Every reader of the stream (TLS, HTTP/2, a session, a lingering close) reads until no input is left,
/// and a client that sends fast enough always has more.
const READ_BUDGET_BYTES: u16 = 32 << 10;

/// How long the system retries to send buffered output after the socket is closed (`TCP_USER_TIMEOUT`).
#[cfg(target_os = "linux")]
const CLOSE_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream to a client.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// Bytes read since the task last yielded or found no input.
    read_since_yield: u16,
    /// Used for TCP only.
    writer: TcpWriter,
    /// Bytes that were peeked or put back, for the next read. Rarely any.
    buffered: Option<Box<Bytes>>,
    /// Whether another process has the connection, or may have it.
    is_disowned: bool,
}

/// All variants but the most frequent are boxed, so that the enum is as small as a `TcpStream`.
#[derive(Debug)]
enum Socket {
    /// A stream of an HTTP/2 connection.
    Http2(Box<SessionStream>),
    Tcp(TcpStream),
    /// TLS over TCP or a Unix socket.
    Tls(Box<TlsStream<Stream>>),
    Unix(Box<UnixStream>),
}

const _: () = assert!(size_of::<Socket>() == size_of::<TcpStream>());

/// Evaluates the same expression for every kind of socket.
macro_rules! delegate {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Http2($stream) => $call,
            Socket::Tcp($stream) => $call,
            Socket::Tls($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self {
            socket,
            read_since_yield: 0,
            writer: TcpWriter::default(),
            buffered: None,
            is_disowned: false,
        }
    }
}

impl From<SessionStream> for Stream {
    fn from(stream: SessionStream) -> Self {
        Socket::Http2(Box::new(stream)).into()
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Socket::Tcp(stream).into()
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Socket::Unix(Box::new(stream)).into()
    }
}

impl Stream {
    /// Wraps the stream in TLS. The [`handshake`](Self::handshake) has to complete first.
    pub(crate) fn into_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Socket::Tls(Box::new(TlsStream::new(self, config)?)).into())
    }

    /// Returns whether another process can continue the stream: it has no state in this one.
    pub(crate) fn can_be_handed_over(&self) -> bool {
        self.buffered.is_none() && matches!(self.socket, Socket::Tcp(_) | Socket::Unix(_))
    }

    /// Duplicates the descriptor of the socket. `None` if the stream has state in this process, or if there are
    /// too many open files.
    pub(crate) fn duplicate_descriptor(&self) -> Option<OwnedFd> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd().try_clone_to_owned().ok(),
            Socket::Unix(stream) => stream.as_fd().try_clone_to_owned().ok(),
            Socket::Http2(_) | Socket::Tls(_) => None,
        }
    }

    /// Creates the stream of a connection that another process has as well, and that is
    /// [disowned](Self::disown).
    ///
    /// Must be called within a tokio runtime.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        // It is already, unless the other process is none of this program; tokio panics otherwise.
        ioctl_fionbio(&descriptor, true)?;
        let mut stream = match getsockname(&descriptor)?.address_family() {
            AddressFamily::UNIX => {
                Self::from(UnixStream::from_std(net::UnixStream::from(descriptor))?)
            }
            _ => Self::from(TcpStream::from_std(descriptor.into())?),
        };
        stream.disown();
        Ok(stream)
    }

    /// From now on, dropping the stream does not affect the connection, which another process has.
    pub(crate) fn disown(&mut self) {
        self.is_disowned = true;
    }

    /// The connection is this process's alone.
    pub(crate) fn own(&mut self) {
        self.is_disowned = false;
        // One that ended has limited it, as for each connection that it drops.
        #[cfg(target_os = "linux")]
        if let Socket::Tcp(stream) = &self.socket {
            let _ = sockopt::set_tcp_user_timeout(stream, 0);
        }
    }

    /// Returns the address of the peer of the socket.
    pub(crate) fn socket_peer(&self) -> Peer {
        match &self.socket {
            Socket::Tcp(stream) => stream.peer_addr().map_or(Peer::Local, Peer::Address),
            Socket::Http2(_) | Socket::Tls(_) | Socket::Unix(_) => Peer::Local,
        }
    }

    /// Waits for the TLS handshake, if the stream has TLS.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tls(stream) => stream.handshake().await,
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
        }
    }

    /// Returns whether the client has violated the TLS protocol.
    pub(crate) fn has_tls_error(&self) -> bool {
        matches!(&self.socket, Socket::Tls(stream) if stream.has_protocol_error())
    }

    /// Returns the protocol negotiated by ALPN (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Tls(stream) => stream.alpn(),
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    /// Returns the client's certificate, which was verified, in DER.
    pub(crate) fn client_certificate(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Tls(stream) => stream.client_certificate(),
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    /// Returns the buffered bytes, which the next read returns.
    pub(crate) fn peeked(&self) -> &[u8] {
        self.buffered.as_deref().map_or(&[], |bytes| bytes)
    }

    /// Reads more bytes into the buffer, and returns their number; 0 is the end of input. Cancel safe.
    ///
    /// Waiting for readiness instead would not suffice: the system may report it when there is no input.
    pub(crate) async fn peek_more(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            // On the stack, and not in the future's state.
            let mut buffer = [0; PEEK_BYTES];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(self.poll_socket(cx, &mut read))?;
            let bytes = [self.peeked(), read.filled()].concat();
            self.set_buffered(bytes.into());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    /// Waits until there are buffered bytes, or for the end of input. Cancel safe.
    pub(crate) async fn peek_any(&mut self) -> io::Result<()> {
        if self.buffered.is_none() {
            self.peek_more().await?;
        }
        Ok(())
    }

    /// Peeks until it is certain whether the input starts with `prefix`. Returns false if the input ends
    /// before.
    pub(crate) async fn starts_with(&mut self, prefix: &[u8]) -> io::Result<bool> {
        loop {
            if self.peeked().starts_with(prefix) {
                return Ok(true);
            }
            if !prefix.starts_with(self.peeked()) || self.peek_more().await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Discards `count` bytes, buffered ones first. An earlier end of input is an error.
    pub(crate) async fn discard_exact(&mut self, mut count: usize) -> io::Result<()> {
        loop {
            let peeked = self.peeked().len().min(count);
            let rest = Bytes::copy_from_slice(self.peeked().get(peeked..).unwrap_or_default());
            self.set_buffered(rest);
            count -= peeked;
            if count == 0 {
                return Ok(());
            }
            if self.peek_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Puts back bytes that were read: the next read returns them first.
    pub(crate) fn rewind(&mut self, bytes: &[u8]) {
        self.set_buffered([bytes, self.peeked()].concat().into());
    }

    /// Reads from the socket, or yields if [`READ_BUDGET_BYTES`] is used up.
    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_since_yield >= READ_BUDGET_BYTES {
            self.read_since_yield = 0;
            // Its first poll is never ready, and makes tokio schedule this task after the others.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = delegate!(&mut self.socket, stream => Pin::new(stream).poll_read(cx, buffer));
        let count = u16::try_from(buffer.filled().len() - before).unwrap_or(u16::MAX);
        self.read_since_yield =
            if result.is_pending() { 0 } else { self.read_since_yield.saturating_add(count) };
        result
    }

    fn set_buffered(&mut self, bytes: Bytes) {
        self.buffered = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Box::new);
    }

    /// Reads and discards bytes, and returns their number; 0 is the end of input. TLS records are not
    /// decrypted. Cancel safe.
    pub(crate) async fn discard(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_discard(cx)).await
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tls(stream) => poll_discard(stream.get_mut(), cx),
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => poll_discard(self, cx),
        }
    }
}

/// Sets `TCP_USER_TIMEOUT`, so that a client that does not read cannot occupy a closed socket for
/// minutes. On an open connection the session's timeouts apply: the system's does not distinguish a slow
/// reader from a dead one.
impl Drop for Stream {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Socket::Tcp(stream) = &self.socket
            && !self.is_disowned
        {
            let millis = u32::try_from(CLOSE_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
            // Best effort: on failure the system default applies.
            let _ = sockopt::set_tcp_user_timeout(stream, millis);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut bytes) = self.buffered.take() {
            buffer.put_slice(&bytes.split_to(buffer.remaining().min(bytes.len())));
            self.buffered = Some(bytes).filter(|bytes| !bytes.is_empty());
            return Poll::Ready(Ok(()));
        }
        self.poll_socket(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, writer, .. } = &mut *self;
        match socket {
            Socket::Tcp(stream) => writer.poll_write(stream, cx, bytes),
            Socket::Http2(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => {
                // The chunk size depends on the TCP connection below.
                let max = stream.get_ref().writer.chunk_size(bytes.len());
                Pin::new(stream).poll_write(cx, bytes.get(..max).unwrap_or(bytes))
            }
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.socket, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.socket, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, writer, .. } = &mut *self;
        match socket {
            Socket::Tcp(stream) => writer.poll_write_vectored(stream, cx, slices),
            Socket::Http2(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(&self.socket, stream => stream.is_write_vectored())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream as BlockingUnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// Reads until the stream is pending, and returns the number of bytes.
    async fn read_until_pending(stream: &mut Stream) -> usize {
        poll_fn(|cx| {
            let mut count = 0;
            loop {
                let mut buffer = [0; 1000];
                let mut read = ReadBuf::new(&mut buffer);
                match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                    Poll::Ready(result) => result.expect("the socket is whole"),
                    Poll::Pending => return Poll::Ready(count),
                }
                count += read.filled().len();
            }
        })
        .await
    }

    #[tokio::test]
    async fn a_client_that_always_has_more_is_read_in_portions() {
        let (ours, mut theirs) = BlockingUnixStream::pair().expect("there are files");
        ours.set_nonblocking(true).expect("it is a socket");
        let total = 3 * usize::from(READ_BUDGET_BYTES);
        theirs.write_all(&vec![0; total]).expect("it fits into the socket buffer");
        let mut stream = Stream::from(UnixStream::from_std(ours).expect("there is a runtime"));
        let (begin, mut portions) = (Instant::now(), Vec::new());
        while portions.iter().sum::<usize>() < total {
            assert!(begin.elapsed() < Duration::from_secs(10), "{portions:?}");
            portions.extend(Some(read_until_pending(&mut stream).await).filter(|count| *count > 0));
            yield_now().await;
        }
        assert_eq!(portions, [33_000, 33_000, total - 66_000]);
    }
}
