//! A WebSocket over any stream, polled.
//!
//! The codec never touches the stream, so that everything one wake-up has to say leaves in one write,
//! and a stream that refuses cannot stop the codec in the middle of a frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::CloseFrame as CodecCloseFrame;
use tungstenite::protocol::frame::coding::CloseCode as CodecCloseCode;
use ws_core::CloseFrame;

use super::codec::{Codec, Decoded, Incoming, size};
use super::write_buffer::WriteBuffer;
use crate::message::{Message, PreparedMessage};
use crate::stream_end::StreamEnd;

/// A WebSocket's server side over a stream. The [front page](crate#a-handler) has an example.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    state: ClosingState,
    /// These are [`SizeLimits`] in half the memory.
    max_message_bytes: u32,
    max_queued_bytes: u32,
    /// What was said and is not yet taken by the stream. A session that sleeps with nothing unsent has
    /// none.
    pub(crate) output: Option<Box<WriteBuffer>>,
}

/// How much may be held for one peer: 4 GiB at most, and whoever says more gets that. The
/// [front page](crate#a-handler) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// The payload of a frame and of a message. It also limits what the codec reserves for a frame
    /// that has only been announced.
    pub max_message_bytes: usize,
    /// Output that waits for the peer to read. When so much waits, nothing more is asked for; one
    /// message may lie above it.
    pub max_queued_bytes: usize,
}

/// How far the closing has come, as far as bytes are concerned.
#[derive(Debug)]
enum ClosingState {
    /// Frames go both ways, or the end of the closing handshake is waited for. A session between
    /// two messages has no codec.
    Open(Option<Box<Codec>>),
    /// The closing handshake is complete, or will be once the output is flushed.
    Finishing,
    /// That is done.
    Finished,
    /// The peer broke a rule and was told so, or goes on after it was told to stop.
    Discarding { half_closed: bool },
}

/// What is left to do when the output is flushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// The closing handshake is complete, and the stream is shut down.
    Finished,
    /// Nothing.
    Open,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A socket over a stream whose opening handshake is complete.
    ///
    /// The write timeout counts what the stream takes and a flush that completes as progress. A stream
    /// with a buffer of its own should take no more at once than goes out within that time.
    pub fn new(stream: S, sizes: SizeLimits) -> Self {
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            stream,
            state: ClosingState::Open(None),
            max_message_bytes: small(sizes.max_message_bytes),
            max_queued_bytes: small(sizes.max_queued_bytes),
            output: None,
        }
    }

    /// Reads once. An error is the end of the stream.
    pub(crate) fn poll_read<'a>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'a mut [u8],
    ) -> Poll<Result<&'a [u8], StreamEnd>> {
        let mut read = ReadBuf::new(buffer);
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
        let count = read.filled().len();
        let bytes = result.map(|()| buffer.get(..count).unwrap_or_default());
        Poll::Ready(match bytes {
            Ok([]) => Err(StreamEnd::Eof),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(StreamEnd::of_read(&error)),
        })
    }

    /// The next thing in `input`, which is used up on the way; `None` when more has to be read.
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Option<Incoming> {
        let ClosingState::Open(codec) = &mut self.state else { return None };
        // Without a codec nothing is due, and the first byte of input brings one.
        if codec.is_none() && input.is_empty() {
            return None;
        }
        let codec = codec.get_or_insert_with(|| Codec::take(self.max_message_bytes));
        match codec.read(input, self.output.get_or_insert_default().own()) {
            Decoded::Overrun => {
                self.discard_input();
                None
            }
            Decoded::Finished => {
                self.state = ClosingState::Finishing;
                None
            }
            Decoded::Incoming(incoming) => Some(incoming),
            Decoded::Nothing => None,
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.write(match message {
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Text(text) => tungstenite::Message::Text(text),
        });
    }

    /// Sends what is encoded already.
    pub(crate) fn send_prepared(&mut self, frame: PreparedMessage) {
        if self.may_write() {
            self.output.get_or_insert_default().send_prepared(frame.into_bytes());
        }
    }

    pub(crate) fn send_ping(&mut self, payload: &[u8]) {
        self.write(tungstenite::Message::Ping(Bytes::copy_from_slice(payload)));
    }

    pub(crate) fn send_close(&mut self, frame: &CloseFrame) {
        self.write(tungstenite::Message::Close(Some(CodecCloseFrame {
            code: CodecCloseCode::from(u16::from(frame.code)),
            reason: frame.reason.as_str().into(),
        })));
    }

    /// After a violation nothing that the peer says is understood any more, only read away.
    pub(crate) fn discard_input(&mut self) {
        self.state = ClosingState::Discarding { half_closed: false };
    }

    /// Whether there is a beginning of something whose end has not come.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(&self.state, ClosingState::Open(Some(codec)) if codec.is_partial())
    }

    /// How many bytes were said and are not yet taken by the stream.
    pub(crate) fn unsent(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.len())
    }

    /// Whether no more output is to be asked for before some of it went out.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent() >= size(self.max_queued_bytes)
            || self.output.as_ref().is_some_and(|output| output.has_prepared())
    }

    /// Whether what comes is only read away.
    pub(crate) fn is_discarding(&self) -> bool {
        matches!(self.state, ClosingState::Discarding { .. })
    }

    /// Whether nothing more is to be read.
    pub(crate) fn is_finishing(&self) -> bool {
        matches!(self.state, ClosingState::Finishing | ClosingState::Finished)
    }

    /// Writes until everything is out. An error is the end of the stream.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Flushed>> {
        if let Some(output) = &mut self.output {
            ready!(output.poll_write(&mut self.stream, cx))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;

        match &mut self.state {
            ClosingState::Open(_) => Poll::Ready(Ok(Flushed::Open)),
            // The server closes the TCP connection first (RFC 6455, section 7.1.1).
            ClosingState::Finishing => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.state = ClosingState::Finished;
                Poll::Ready(Ok(Flushed::Finished))
            }
            ClosingState::Finished => Poll::Ready(Ok(Flushed::Finished)),
            ClosingState::Discarding { half_closed: true } => Poll::Ready(Ok(Flushed::Open)),
            // Half-closed, so that the peer sees the end and hangs up, while what it still sends is
            // read: closing a socket with unread input would reset the connection.
            ClosingState::Discarding { half_closed } => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                *half_closed = true;
                Poll::Ready(Ok(Flushed::Open))
            }
        }
    }

    /// The end of a wake-up, in which everything that was read went through the codec: if that is
    /// as it was in the beginning, the thread has it back, for whichever session wakes up next.
    ///
    /// A session whose messages come in parts, or with lengths in more bytes than they need, is never
    /// accounted for in full, and keeps its own.
    pub(crate) fn release_idle(&mut self) {
        if let ClosingState::Open(codec) = &mut self.state
            && let Some(codec) = codec.take_if(|codec| codec.is_reusable())
        {
            codec.release();
        }
    }

    /// The last look at the stream before it is dropped: writes what it takes at once, and reads
    /// away what has come, because closing a TCP socket with unread input resets the connection,
    /// and then the peer may never see what was written.
    ///
    /// If all was written, the end is one in order, whether or not the peer had it agreed: within TLS
    /// and HTTP/2 a stream that is only dropped reads as one that was cut off (RFC 8446, section 6.1;
    /// RFC 8441, section 5).
    pub(crate) fn close_stream(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        self.release_idle();
        if let ClosingState::Open(_) = self.state {
            self.state = ClosingState::Finishing;
        }
        let waiting = self.unsent();
        if self.poll_flush(cx).is_pending() && self.unsent() == 0 && waiting > 0 {
            // A stream that has taken all of it only now passes it on in front of its end, and drops it
            // without one. What it could not pass on until now is not waited for.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        // Not forever: a peer that sends faster than we read has lost its claim to a kind end.
        let mut waits = 0;
        for _ in 0..8 {
            match self.poll_read(cx, buffer) {
                Poll::Ready(Ok(_)) => {}
                // It may only be others' turn.
                Poll::Pending if waits == 0 => waits = 1,
                Poll::Pending | Poll::Ready(Err(_)) => break,
            }
        }
    }

    fn write(&mut self, message: tungstenite::Message) {
        if self.may_write()
            && let ClosingState::Open(codec) = &mut self.state
        {
            let codec = codec.get_or_insert_with(|| Codec::take(self.max_message_bytes));
            codec.write(message, self.output.get_or_insert_default().own());
        }
    }

    /// Whether a frame may go out now, behind the codec's own answers.
    fn may_write(&mut self) -> bool {
        match &mut self.state {
            ClosingState::Open(None) => true,
            ClosingState::Open(Some(codec)) => {
                codec.may_write(self.output.get_or_insert_default().own())
            }
            ClosingState::Finishing | ClosingState::Finished | ClosingState::Discarding { .. } => {
                false
            }
        }
    }
}
