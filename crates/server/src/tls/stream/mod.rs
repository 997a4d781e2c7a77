//! A server-side TLS stream over rustls' unbuffered API, so that an idle connection holds no buffers.
//!
//! It is generic over the underlying stream and knows nothing of sockets. `records` drives the state machine
//! of rustls, `buffers` has the buffers that the connections of a thread share.

mod buffers;
mod records;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::buffers::ThreadBuffers;
use self::records::{Outbound, process_records};

/// Maximum plaintext per record. It is also the granularity at which the progress of a slow reader is
/// visible.
const RECORD_BYTES: usize = 4096;

/// Maximum size of incomplete input: a record, or the longest handshake message that rustls accepts.
const MAX_INCOMING: usize = 96 * 1024;

/// The server's side of TLS over a stream.
pub(crate) struct TlsStream<S> {
    stream: S,
    tls: UnbufferedServerConnection,
    /// Received bytes of an incomplete record.
    incoming: Vec<u8>,
    /// Decrypted bytes that are not read yet.
    plaintext: Bytes,
    /// Encrypted bytes that the stream has not accepted yet.
    outgoing: Vec<u8>,
    /// Whether the client has closed its side.
    is_read_closed: bool,
    state: TlsState,
}

/// Whether rustls may still process records. After an error or our `close_notify` it may not: it panics
/// when it has to send a second alert.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsState {
    /// `close_notify` was sent, or nothing can be encrypted any more.
    Closed,
    /// The client violated the protocol, and the error was returned to the reader.
    Failed,
    /// The client violated the protocol. The error follows the plaintext received before it.
    Failing,
    Open,
}

/// Omits the state of TLS, which has secrets.
impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.stream).finish()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Creates a stream whose [`handshake`](Self::handshake) is still to be performed.
    pub(crate) fn new(stream: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            stream,
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            incoming: Vec::new(),
            plaintext: Bytes::new(),
            outgoing: Vec::new(),
            is_read_closed: false,
            state: TlsState::Open,
        })
    }

    /// Performs the handshake (RFC 8446, section 4). If it fails, the client is sent an alert.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    /// Whether the client violated the protocol. The last record sent to it is then an alert.
    pub(crate) fn has_protocol_error(&self) -> bool {
        matches!(self.state, TlsState::Failed | TlsState::Failing)
    }

    /// Returns the negotiated application protocol (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Returns the client's certificate, which was verified, in DER.
    pub(crate) fn client_certificate(&self) -> Option<&[u8]> {
        self.tls.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Returns the underlying stream.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the underlying stream mutably.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            // TLS 1.3 allows the server to send before the client is authenticated; this waits instead.
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_read_closed {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Reads from the stream once, and decrypts all complete records.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let received = self.with_thread_buffers(|this, read_buffer| {
            let mut read = ReadBuf::new(read_buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            // An end without close_notify is accepted, because WebSocket detects truncated messages itself.
            this.is_read_closed |= read.filled().is_empty();
            this.incoming.extend_from_slice(read.filled());
            if this.incoming.len() > MAX_INCOMING {
                this.incoming = Vec::new();
                this.state = TlsState::Failing;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            Poll::Ready(this.process(Outbound::None))
        });
        if let Poll::Ready(Err(_)) = received {
            // Sends as much of the alert as the stream accepts now. A shutdown sends the rest.
            let _ = self.poll_send(cx);
        }
        received
    }

    /// Writes all encrypted bytes to the stream.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            let rest = self.outgoing.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.outgoing.drain(..sent);
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        result
    }

    /// Processes the incoming records and encrypts `outbound`.
    fn process(&mut self, outbound: Outbound<'_>) -> io::Result<()> {
        if self.state != TlsState::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Self { tls, incoming, outgoing, .. } = self;
        let (inbound, result) = process_records(tls, incoming, outbound, outgoing);
        if let Err(error) = &result {
            let is_violation = error.kind() == io::ErrorKind::InvalidData;
            self.state = if is_violation { TlsState::Failing } else { TlsState::Closed };
        }
        self.is_read_closed |= inbound.is_closed;
        if !inbound.plaintext.is_empty() {
            self.plaintext = [&self.plaintext, inbound.plaintext.as_slice()].concat().into();
        }
        result
    }

    /// Calls `call` with the read buffer of the thread, and lends the connection the one for records.
    fn with_thread_buffers<T>(&mut self, call: impl FnOnce(&mut Self, &mut [u8]) -> T) -> T {
        let mut buffers = ThreadBuffers::take(&mut self.incoming);
        let result = call(self, &mut buffers.read);
        buffers.put_back(&mut self.incoming);
        result
    }
}

/// Reads once and discards the bytes. Returns their number; 0 is the end of the stream.
pub(crate) fn poll_discard<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = [0; 4096];
    let mut read = ReadBuf::new(&mut buffer);
    Pin::new(stream).poll_read(cx, &mut read).map_ok(|()| read.filled().len())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.plaintext.is_empty() && !self.is_read_closed {
            match self.state {
                TlsState::Failing => {
                    self.state = TlsState::Failed;
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                // Further input is discarded without decryption.
                TlsState::Closed | TlsState::Failed => {
                    self.is_read_closed = ready!(poll_discard(&mut self.stream, cx))? == 0;
                }
                TlsState::Open => match ready!(self.poll_receive(cx)) {
                    // The input may require a response, such as a key update. A failure to send it does
                    // not invalidate the plaintext.
                    Ok(()) => {
                        let _ = self.poll_send(cx);
                    }
                    // The plaintext before the violation is read first.
                    Err(_) if self.has_protocol_error() => {}
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
        let count = buffer.remaining().min(self.plaintext.len());
        buffer.put_slice(&self.plaintext.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let bytes = bytes.get(..RECORD_BYTES).unwrap_or(bytes);
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.with_thread_buffers(|this, _| this.process(Outbound::Data(bytes)))?;
        // Bytes that the stream does not accept now are kept, and sent before any other data.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Sends `close_notify` (RFC 8446, section 6.1), and then half-closes the underlying stream.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        //= rfc6455#7.1.1-1
        if self.state == TlsState::Open {
            // If close_notify cannot be sent, the half-close signals the end alone.
            let queued = self.with_thread_buffers(|this, _| this.process(Outbound::CloseNotify));
            if queued.is_ok() {
                self.state = TlsState::Closed;
            }
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
