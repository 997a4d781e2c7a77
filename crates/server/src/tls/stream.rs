//! TLS over an accepted stream, by rustls' interface without buffers: an idle connection keeps none.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is encrypted at once. It is how coarse the progress of a slow reader is seen.
const RECORD_BYTES: usize = 4096;

/// What a record needs besides, with room for a change of keys in front of it.
const RECORD_OVERHEAD: usize = 256;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// A record, or the longest handshake that rustls takes, while it is not there in full.
const MAX_INCOMING: usize = 96 * 1024;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 32 * 1024;

/// The server's side of TLS over a stream.
pub(crate) struct TlsStream<S> {
    stream: S,
    tls: UnbufferedServerConnection,
    /// The beginning of what has not come in full.
    incoming: Vec<u8>,
    /// Decrypted, and not yet read.
    plaintext: Bytes,
    /// Encrypted, and not yet taken by the stream.
    outgoing: Vec<u8>,
    /// Whether the client has ended its side.
    is_ended: bool,
    state: TlsState,
}

/// Whether rustls may be asked for anything. After our goodbye and after an error it may not: it panics when
/// it is to send a second alert.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsState {
    /// The client has broken a rule of TLS, and the error has been read.
    Broken,
    /// The client has broken a rule of TLS, and the error is to be read behind what was good.
    Breaking,
    Open,
    /// We have said goodbye, or cannot encrypt any more.
    Over,
}

/// Without what must not be seen.
impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.stream).finish()
    }
}

/// What is to be said, once it may be.
#[derive(Clone, Copy)]
enum Output<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Begins TLS, of which the [`handshake`](Self::handshake) comes first.
    pub(crate) fn new(stream: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            stream,
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            incoming: Vec::new(),
            plaintext: Bytes::new(),
            outgoing: Vec::new(),
            is_ended: false,
            state: TlsState::Open,
        })
    }

    /// Waits for the handshake (RFC 8446, section 4). Where it fails, the client is sent an alert.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    /// Whether the client has broken a rule of TLS. The last that it is sent is an alert then.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.state, TlsState::Broken | TlsState::Breaking)
    }

    /// What both sides agreed to speak within it (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The stream beneath.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            // We may write before the client has proved who it is, but do not.
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Reads from the stream once, and decrypts all that is there in full.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let received = self.with_thread_buffers(|it, input| {
            let mut read = ReadBuf::new(input);
            ready!(Pin::new(&mut it.stream).poll_read(cx, &mut read))?;
            // An end without a goodbye is one, too: WebSocket says by itself what is whole.
            it.is_ended |= read.filled().is_empty();
            it.incoming.extend_from_slice(read.filled());
            if it.incoming.len() > MAX_INCOMING {
                it.incoming = Vec::new();
                it.state = TlsState::Breaking;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            Poll::Ready(it.advance(Output::Nothing))
        });
        if let Poll::Ready(Err(_)) = received {
            // The alert, as far as the stream takes it at once. A shutdown sends the rest.
            let _ = self.poll_send(cx);
        }
        received
    }

    /// Writes what was encrypted, until nothing of it is left.
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

    /// Lets rustls take in what has come and say what is due, and then what we have to say.
    fn advance(&mut self, say: Output<'_>) -> io::Result<()> {
        if self.state != TlsState::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut received = Received::default();
        let result = loop {
            let input = self.incoming.get_mut(received.taken..).unwrap_or_default();
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(input);
            let step = step(state, say, &mut received, &mut self.outgoing);
            received.taken += discard;
            match step {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &result {
            let is_clients = error.kind() == io::ErrorKind::InvalidData;
            self.state = if is_clients { TlsState::Breaking } else { TlsState::Over };
            // What is due by now, with an alert at the end, goes before anything else.
            while self.tls.wants_write() {
                let input = self.incoming.get_mut(received.taken..).unwrap_or_default();
                let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(input);
                let step = match state {
                    Ok(ConnectionState::EncodeTlsData(mut data)) => {
                        encode(&mut self.outgoing, &mut data)
                    }
                    Ok(_) | Err(_) => Err(io::ErrorKind::Unsupported.into()),
                };
                received.taken += discard;
                if step.is_err() {
                    break;
                }
            }
        }
        self.incoming.drain(..received.taken.min(self.incoming.len()));
        self.is_ended |= received.is_end;
        if !received.plaintext.is_empty() {
            self.plaintext = [&self.plaintext, received.plaintext.as_slice()].concat().into();
        }
        result
    }

    /// Lends the thread's buffers for a call; what is left in them stays with the connection.
    fn with_thread_buffers<T>(&mut self, call: impl FnOnce(&mut Self, &mut [u8]) -> T) -> T {
        let mut spare = SPARE.take().unwrap_or_else(|| ThreadBuffers {
            input: vec![0; READ_BYTES].into_boxed_slice(),
            incoming: Vec::new(),
        });
        if self.incoming.is_empty() {
            mem::swap(&mut self.incoming, &mut spare.incoming);
        }
        let result = call(self, &mut spare.input);
        if self.incoming.is_empty() {
            spare.incoming = mem::take(&mut self.incoming);
            spare.incoming.shrink_to(KEPT_BYTES);
        } else {
            self.incoming.shrink_to_fit();
        }
        SPARE.set(Some(spare));
        result
    }
}

/// The buffers of a thread.
struct ThreadBuffers {
    input: Box<[u8]>,
    incoming: Vec<u8>,
}

thread_local! {
    static SPARE: Cell<Option<ThreadBuffers>> = const { Cell::new(None) };
}

/// What rustls has made of what has come.
#[derive(Default)]
struct Received {
    plaintext: Vec<u8>,
    /// The client has said goodbye.
    is_end: bool,
    /// Bytes that are not needed any more.
    taken: usize,
}

/// Does what one state of rustls asks for; a break is when there is nothing more to do. An error of the kind
/// `InvalidData` is the client's fault.
fn step(
    state: Result<ConnectionState<'_, '_, ServerConnectionData>, rustls::Error>,
    say: Output<'_>,
    received: &mut Received,
    outgoing: &mut Vec<u8>,
) -> io::Result<ControlFlow<()>> {
    let clients_fault = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match state {
        Err(error) => return Err(clients_fault(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(record) = traffic.next_record() {
                let record = record.map_err(clients_fault)?;
                received.plaintext.extend_from_slice(record.payload);
                received.taken += record.discard;
            }
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, &mut data)?,
        Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
        Ok(ConnectionState::PeerClosed) => received.is_end = true,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match say {
            // Where nothing can be said, there is no goodbye either.
            Output::Nothing | Output::CloseNotify => return Ok(ControlFlow::Break(())),
            Output::Data(_) => return Err(io::ErrorKind::NotConnected.into()),
        },
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            match say {
                Output::Nothing => {}
                Output::Data(bytes) => append(outgoing, bytes.len() + RECORD_OVERHEAD, |free| {
                    traffic.encrypt(bytes, free)
                })?,
                Output::CloseNotify => {
                    append(outgoing, RECORD_OVERHEAD, |free| traffic.queue_close_notify(free))?;
                }
            }
            return Ok(ControlFlow::Break(()));
        }
        // Early data is not offered, and nothing else is known.
        Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(ControlFlow::Continue(()))
}

/// Puts what rustls has to say behind what is in `buffer`, in as much room as it takes: what is larger
/// for a moment leaves holes in the heap.
fn encode<D>(buffer: &mut Vec<u8>, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
    match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => {
            append(buffer, error.required_size, |free| data.encode(free))
        }
        Ok(_) | Err(EncodeError::AlreadyEncoded) => Ok(()),
    }
}

/// Lets `write` use `most` bytes behind what is in `buffer`.
fn append<E: Error + Send + Sync + 'static>(
    buffer: &mut Vec<u8>,
    most: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let length = buffer.len();
    buffer.resize(length + most, 0);
    let written = write(buffer.get_mut(length..).unwrap_or_default());
    buffer.truncate(length + *written.as_ref().unwrap_or(&0));
    written.map(drop).map_err(io::Error::other)
}

/// Reads what has come and throws it away, and says how many bytes that were; 0 is the end.
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
        while self.plaintext.is_empty() && !self.is_ended {
            match self.state {
                TlsState::Breaking => {
                    self.state = TlsState::Broken;
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                // Read away, and not understood any more.
                TlsState::Broken | TlsState::Over => {
                    self.is_ended = ready!(poll_discard(&mut self.stream, cx))? == 0;
                }
                TlsState::Open => match ready!(self.poll_receive(cx)) {
                    // It may have been asked for something, such as new keys. Where that cannot be
                    // sent, what has come is good all the same.
                    Ok(()) => {
                        let _ = self.poll_send(cx);
                    }
                    // What came before the fault is read before the error.
                    Err(_) if self.is_broken() => {}
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
        self.with_thread_buffers(|it, _| it.advance(Output::Data(bytes)))?;
        // What the stream refuses is kept, and sent before anything else is taken.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says goodbye (RFC 8446, section 6.1), and half-closes the stream behind it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state == TlsState::Open {
            // Without a goodbye, the half-close says it alone.
            let said = self.with_thread_buffers(|it, _| it.advance(Output::CloseNotify));
            if said.is_ok() {
                self.state = TlsState::Over;
            }
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_not_taken_in_a_state_in_which_it_cannot_be_sent() {
        let states = || [ConnectionState::BlockedHandshake, ConnectionState::Closed];
        for state in states() {
            let mut outgoing = Vec::new();
            let error =
                step(Ok(state), Output::Data(b"a"), &mut Received::default(), &mut outgoing);
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert!(outgoing.is_empty());
        }
        for (state, say) in states().into_iter().zip([Output::Nothing, Output::CloseNotify]) {
            let done = step(Ok(state), say, &mut Received::default(), &mut Vec::new());
            assert_eq!(done.unwrap(), ControlFlow::Break(()));
        }
    }

    #[test]
    fn an_error_of_rustls_is_the_clients_fault() {
        let state = Err(rustls::Error::DecryptError);
        let error = step(state, Output::Nothing, &mut Received::default(), &mut Vec::new());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
