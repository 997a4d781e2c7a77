//! A stream that HTTP or a session runs on: of whatever kind, and with what was read of it already.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
#[cfg(target_os = "linux")]
use std::time::Duration;

use hyper::body::Bytes;
#[cfg(target_os = "linux")]
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;

use crate::net::http2_stream::SessionStream;
use crate::net::tcp_write::TcpWriter;
use crate::tls::stream::{TlsStream, poll_discard};

/// As many as the head of a request mostly has.
const PEEK_BYTES: usize = 1024;

/// What is read of a client before everybody else gets a turn.
///
/// Whatever runs on the stream (TLS, HTTP/2, a session, the lingering at the end) reads until there is
/// nothing more, and a client that sends fast enough always has more.
const READ_BUDGET_BYTES: u16 = 32 << 10;

/// How long the system goes on with what it still has for a client when we have let go of it.
#[cfg(target_os = "linux")]
const CLOSE_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream to a client.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// Bytes that were read since the client last had nothing to say or others had their turn.
    read_in_turn: u16,
    /// Of use for TCP.
    writer: TcpWriter,
    /// What was read and belongs to whoever reads next, which is rarely anything.
    unread: Option<Box<Bytes>>,
}

/// All but the most frequent are in a box, so that it takes no more than that one does.
#[derive(Debug)]
enum Socket {
    /// One of the streams of an HTTP/2 connection, which is over one of the others.
    Http2(Box<SessionStream>),
    Tcp(TcpStream),
    /// TLS over TCP or a Unix socket.
    Tls(Box<TlsStream<Stream>>),
    Unix(Box<UnixStream>),
}

const _: () = assert!(size_of::<Socket>() == size_of::<TcpStream>());

/// The same for every kind of socket.
macro_rules! each {
    ($socket:expr, $it:ident => $do:expr) => {
        match $socket {
            Socket::Http2($it) => $do,
            Socket::Tcp($it) => $do,
            Socket::Tls($it) => $do,
            Socket::Unix($it) => $do,
        }
    };
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self { socket, read_in_turn: 0, writer: TcpWriter::default(), unread: None }
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
    /// The stream within TLS, of which the handshake comes first.
    pub(crate) fn into_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Socket::Tls(Box::new(TlsStream::new(self, config)?)).into())
    }

    /// Waits for the handshake of TLS, if there is one.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tls(stream) => stream.handshake().await,
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
        }
    }

    /// Whether the client has broken a rule of TLS.
    pub(crate) fn has_broken_tls(&self) -> bool {
        matches!(&self.socket, Socket::Tls(stream) if stream.is_broken())
    }

    /// What both sides have agreed to speak, if they had means to.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.socket {
            Socket::Tls(stream) => stream.alpn(),
            Socket::Http2(_) | Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    /// What has been looked at, and still belongs to whoever reads next.
    pub(crate) fn peeked(&self) -> &[u8] {
        self.unread.as_deref().map_or(&[], |bytes| bytes)
    }

    /// Waits for bytes, or the end, and has a look at them. Says how many; 0 is the end. Cancel safe.
    ///
    /// To wait until there are some is not enough: the system may say so when there are none.
    pub(crate) async fn peek_more(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            // On the stack, and no part of the future.
            let mut buffer = [0; PEEK_BYTES];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(self.poll_socket(cx, &mut read))?;
            let bytes = [self.peeked(), read.filled()].concat();
            self.keep(bytes.into());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    /// Waits until something can be seen, or the end. Cancel safe.
    pub(crate) async fn peek_any(&mut self) -> io::Result<()> {
        if self.unread.is_none() {
            self.peek_more().await?;
        }
        Ok(())
    }

    /// Whether it begins with these bytes, as soon as that is certain. The end is a no.
    pub(crate) async fn begins_with(&mut self, wanted: &[u8]) -> io::Result<bool> {
        loop {
            if self.peeked().starts_with(wanted) {
                return Ok(true);
            }
            if !wanted.starts_with(self.peeked()) || self.peek_more().await? == 0 {
                return Ok(false);
            }
        }
    }

    /// Reads away so many bytes, which begin with those that were seen. The end before that is an error.
    pub(crate) async fn skip(&mut self, mut count: usize) -> io::Result<()> {
        loop {
            let seen = self.peeked().len().min(count);
            self.keep(Bytes::copy_from_slice(self.peeked().get(seen..).unwrap_or_default()));
            count -= seen;
            if count == 0 {
                return Ok(());
            }
            if self.peek_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Gives back what was read too much.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.keep([bytes, self.peeked()].concat().into());
    }

    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_in_turn >= READ_BUDGET_BYTES {
            self.read_in_turn = 0;
            // Its first poll is never ready, and has the runtime wake this task after all others.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = each!(&mut self.socket, it => Pin::new(it).poll_read(cx, buffer));
        let count = u16::try_from(buffer.filled().len() - before).unwrap_or(u16::MAX);
        self.read_in_turn =
            if result.is_pending() { 0 } else { self.read_in_turn.saturating_add(count) };
        result
    }

    fn keep(&mut self, bytes: Bytes) {
        self.unread = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Box::new);
    }

    /// Waits for bytes and throws them away, and says how many; 0 is the end. What is within TLS is
    /// not even decrypted. Cancel safe.
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

/// A client that reads nothing more must not keep a socket of the system's for minutes. Before that the
/// timeouts of the session are better: the system's does not tell a slow reader from a dead one.
impl Drop for Stream {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Socket::Tcp(stream) = &self.socket {
            let millis = u32::try_from(CLOSE_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
            // Where that fails, the system goes by its own.
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
        if let Some(mut bytes) = self.unread.take() {
            buffer.put_slice(&bytes.split_to(buffer.remaining().min(bytes.len())));
            self.unread = Some(bytes).filter(|bytes| !bytes.is_empty());
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
            Socket::Http2(it) => Pin::new(it).poll_write(cx, bytes),
            Socket::Tls(it) => {
                // How much is worth being taken at once depends on the TCP connection beneath.
                let most = it.get_ref().writer.chunk(bytes.len());
                Pin::new(it).poll_write(cx, bytes.get(..most).unwrap_or(bytes))
            }
            Socket::Unix(it) => Pin::new(it).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.socket, it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.socket, it => Pin::new(it).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, writer, .. } = &mut *self;
        match socket {
            Socket::Tcp(stream) => writer.poll_write_vectored(stream, cx, slices),
            Socket::Http2(it) => Pin::new(it).poll_write_vectored(cx, slices),
            Socket::Tls(it) => Pin::new(it).poll_write_vectored(cx, slices),
            Socket::Unix(it) => Pin::new(it).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.socket, it => it.is_write_vectored())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream as BlockingUnixStream;
    use std::time::Instant;

    use super::*;

    /// How much is read before the stream says that there is nothing, though there is.
    async fn turn(stream: &mut Stream) -> usize {
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
    async fn a_client_that_always_has_more_gets_so_much_in_a_turn_and_the_rest_in_the_next() {
        let (ours, mut theirs) = BlockingUnixStream::pair().expect("there are files");
        ours.set_nonblocking(true).expect("it is a socket");
        let all = 3 * usize::from(READ_BUDGET_BYTES);
        theirs.write_all(&vec![0; all]).expect("the system keeps so much");
        let mut stream = Stream::from(UnixStream::from_std(ours).expect("there is a runtime"));
        let (begin, mut turns) = (Instant::now(), Vec::new());
        while turns.iter().sum::<usize>() < all {
            assert!(begin.elapsed() < Duration::from_secs(10), "{turns:?}");
            turns.extend(Some(turn(&mut stream).await).filter(|count| *count > 0));
            yield_now().await;
        }
        assert_eq!(turns, [33_000, 33_000, all - 66_000]);
    }
}
