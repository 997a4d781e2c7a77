//! A WebSocket over any stream.
//!
//! The codec has no access to the stream, and frames are encoded into a buffer: the output of one poll is
//! sent in one write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ws_core::CloseFrame;

use super::codec::{Codec, Incoming, ReadOptions};
use super::control_frame::{self, ControlPayload, write_close_frame, write_control_frame};
use super::write_buffer::{Output, WriteBuffer};
use crate::compression::{Compression, WindowId};
use crate::frame::{append_compressed_frame, append_frame};
use crate::message::Message;
use crate::prepared_message::{Form, PreparedMessage};
use crate::stream_end::StreamEnd;

/// The server side of a WebSocket over a stream. The [front page](crate#a-handler) has an example.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    state: ClosingState,
    /// The [`SizeLimits`], in half the memory.
    max_message_bytes: u32,
    max_queued_bytes: u32,
    /// The output that the stream has not accepted yet.
    pub(crate) output: Output,
}

/// The memory that one peer may use. Values above 4 GiB count as 4 GiB. The
/// [front page](crate#a-handler) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// The most payload of a frame and of a message, also when it is inflated. It also limits what the
    /// codec reserves for a frame of which only the header was received. A compressed message may have a
    /// sixteenth more.
    pub max_message_bytes: usize,
    /// The most unsent output. At this limit the handler is not polled; the output may exceed it by one
    /// message.
    pub max_queued_bytes: usize,
}

/// The state of the stream in the closing of a session. What belongs to one state is in it, beside the tag,
/// where it takes no memory of an idle session.
#[derive(Debug)]
enum ClosingState {
    /// Frames are read and written. A session between two messages has no codec.
    Open { codec: Option<Box<Codec>>, compression: Option<Compression>, window: WindowId },
    /// Our Close frame was sent, and the peer's has not been received. No more frames are written (RFC
    /// 6455, section 5.5.1).
    CloseSent { codec: Option<Box<Codec>>, may_compress: bool, received_bytes: u32 },
    /// The closing handshake is complete, or will be when the output is flushed.
    Finishing,
    /// The output is flushed, and the stream is shut down.
    Finished,
    /// Input is read and dropped: after our Close frame for a violation, or because the peer sends on
    /// after a Close frame.
    Discarding { half_closed: bool },
}

/// The state of the stream after a complete flush.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// The closing handshake is complete, and the stream is shut down.
    Finished,
    /// The session goes on.
    Open,
}

/// The most input that is decoded after our Close frame was sent: it may have been in flight, and in the
/// socket buffers of both systems. A peer that sends more ignores the Close frame.
const AFTER_CLOSE_BYTES: u32 = 256 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Creates a WebSocket over a stream whose opening handshake is complete.
    ///
    /// The write timeout counts bytes that the stream accepts, and a flush that completes, as progress.
    /// A stream with a buffer should not accept more at once than it can write within that time.
    pub fn new(stream: S, sizes: SizeLimits) -> Self {
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            stream,
            state: ClosingState::Open {
                codec: None,
                compression: None,
                window: WindowId::default(),
            },
            max_message_bytes: small(sizes.max_message_bytes),
            max_queued_bytes: small(sizes.max_queued_bytes),
            output: None,
        }
    }

    /// Compresses messages as the opening handshake negotiated it. `None`, which a new WebSocket has, is
    /// no compression.
    #[must_use]
    pub fn with_compression(mut self, negotiated: Option<Compression>) -> Self {
        if let ClosingState::Open { compression, .. } = &mut self.state {
            *compression = negotiated;
        }
        self
    }

    /// Reads once: the rest of the read before, if it was not decoded, or else the stream. An error, or the
    /// end of the input, is the end of the stream.
    pub(crate) fn poll_read<'a>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'a mut [u8],
    ) -> Poll<Result<&'a [u8], StreamEnd>> {
        let mut read = ReadBuf::new(buffer);
        let unread = match &mut self.state {
            ClosingState::Open { codec: Some(codec), .. }
            | ClosingState::CloseSent { codec: Some(codec), .. } => codec.begin_read(),
            ClosingState::CloseSent { .. }
            | ClosingState::Discarding { .. }
            | ClosingState::Finished
            | ClosingState::Finishing
            | ClosingState::Open { .. } => Vec::new(),
        };
        let result = if unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))
        } else {
            read.put_slice(&unread);
            Ok(())
        };
        let count = read.filled().len();
        let bytes = result.map(|()| buffer.get(..count).unwrap_or_default());
        Poll::Ready(match bytes {
            Ok([]) => Err(StreamEnd::Eof),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(StreamEnd::of_read(&error)),
        })
    }

    /// Decodes the next message or control frame, and advances `input`. Returns `None` when all of the
    /// input is decoded, or when decoding has ended.
    ///
    /// Answers pings and Close frames (RFC 6455, sections 5.5.1 and 5.5.2).
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Option<Incoming> {
        // Before a frame and not after it: the one that exceeds the limit may be the peer's Close frame.
        if let ClosingState::CloseSent { received_bytes, .. } = self.state
            && received_bytes > AFTER_CLOSE_BYTES
        {
            self.discard_input();
        }
        let (codec, may_compress, is_open) = match &mut self.state {
            ClosingState::Open { codec, compression, .. } => (codec, compression.is_some(), true),
            ClosingState::CloseSent { codec, may_compress, .. } => (codec, *may_compress, false),
            ClosingState::Discarding { .. } | ClosingState::Finished | ClosingState::Finishing => {
                return None;
            }
        };
        let max_message_bytes = size(self.max_message_bytes);
        // After our Close frame nobody receives messages.
        let options = ReadOptions { max_message_bytes, may_compress, inflates: is_open };
        // A session without a codec has no incomplete input, and needs a codec only for more.
        if input.is_empty() {
            return None;
        }
        let before = input.len();
        // As in `frames`: after our Close frame no other is written.
        //= rfc6455#5.5.2-3
        let pongs = Some(&mut self.output).filter(|_| is_open);
        let incoming = codec.get_or_insert_with(Codec::take).read(input, options, pongs);
        if let ClosingState::CloseSent { received_bytes, .. } = &mut self.state {
            let count = u32::try_from(before - input.len()).unwrap_or(u32::MAX);
            *received_bytes = received_bytes.saturating_add(count);
        }
        match &incoming {
            //= rfc6455#5.5.1-3 rfc6455#5.5.1-4 rfc6455#7.1.2-2
            Some(Incoming::Close(frame)) => {
                match frame {
                    Some(frame) => self.send_close(frame),
                    None => self.write_control(control_frame::CLOSE, &[]),
                }
                self.finish();
            }
            Some(
                Incoming::Message(_)
                | Incoming::Pings { .. }
                | Incoming::Pong
                | Incoming::Violation(_),
            )
            | None => {}
        }
        incoming
    }

    /// Returns the payload of the pong that was decoded last.
    pub(crate) fn control_payload(&self) -> ControlPayload {
        match &self.state {
            ClosingState::Open { codec: Some(codec), .. }
            | ClosingState::CloseSent { codec: Some(codec), .. } => *codec.control_payload(),
            ClosingState::CloseSent { .. }
            | ClosingState::Discarding { .. }
            | ClosingState::Finished
            | ClosingState::Finishing
            | ClosingState::Open { .. } => ControlPayload::new(),
        }
    }

    pub(crate) fn send(&mut self, message: &Message) {
        if let Some(output) = self.frames() {
            append_frame(message, output.encoded());
        }
    }

    /// Sends a message compressed, if that was negotiated and makes it shorter.
    pub(crate) fn send_compressed(&mut self, message: &Message) {
        if let ClosingState::Open { compression: Some(_), window, .. } = &mut self.state {
            let output = self.output.get_or_insert_default().encoded();
            if append_compressed_frame(message, window, output) {
                return;
            }
        }
        self.send(message);
    }

    pub(crate) fn send_prepared(&mut self, message: PreparedMessage) {
        //= rfc6455#5.5.1-2 rfc6455#6.1-1
        if let ClosingState::Open { compression, window, .. } = &mut self.state {
            let form = match compression {
                Some(compression) => message.select(*compression, window),
                None => Form::Plain,
            };
            self.output.get_or_insert_default().send_prepared(message, form);
        }
    }

    pub(crate) fn send_ping(&mut self, payload: &[u8]) {
        self.write_control(control_frame::PING, payload);
    }

    /// Sends a Close frame. No other frame is sent after it.
    pub(crate) fn send_close(&mut self, frame: &CloseFrame) {
        if let Some(output) = self.frames() {
            write_close_frame(frame, output.encoded());
        }
        if let ClosingState::Open { codec, compression, .. } = &mut self.state {
            let (codec, may_compress) = (codec.take(), compression.is_some());
            self.state = ClosingState::CloseSent { codec, may_compress, received_bytes: 0 };
        }
    }

    /// From now on, reads and drops all input.
    pub(crate) fn discard_input(&mut self) {
        self.state = ClosingState::Discarding { half_closed: false };
    }

    /// Returns whether a message or a control frame is incomplete.
    pub(crate) fn is_partial(&self) -> bool {
        match &self.state {
            ClosingState::Open { codec, .. } | ClosingState::CloseSent { codec, .. } => {
                codec.as_ref().is_some_and(|codec| codec.is_partial())
            }
            ClosingState::Discarding { .. } | ClosingState::Finished | ClosingState::Finishing => {
                false
            }
        }
    }

    /// Returns how messages are compressed, if the session is open, no input is incomplete and all output was
    /// accepted.
    pub(crate) fn at_rest(&self) -> Option<Option<Compression>> {
        match &self.state {
            ClosingState::Open { codec: None, compression, .. } if self.output.is_none() => {
                Some(*compression)
            }
            ClosingState::CloseSent { .. }
            | ClosingState::Discarding { .. }
            | ClosingState::Finished
            | ClosingState::Finishing
            | ClosingState::Open { .. } => None,
        }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the number of bytes that the stream has not accepted yet.
    pub(crate) fn unsent(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.len())
    }

    /// Returns whether output has to be flushed before the handler is polled again.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent() >= size(self.max_queued_bytes)
            || self.output.as_ref().is_some_and(|output| output.has_prepared())
    }

    /// Returns whether input is read and dropped.
    pub(crate) fn is_discarding(&self) -> bool {
        matches!(self.state, ClosingState::Discarding { .. })
    }

    /// Returns whether no more input is to be read.
    pub(crate) fn is_finishing(&self) -> bool {
        matches!(self.state, ClosingState::Finishing | ClosingState::Finished)
    }

    /// Flushes all output, and shuts the stream down if the state requires it. An error is the end of
    /// the stream.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Flushed>> {
        if let Some(output) = &mut self.output {
            //= rfc6455#6.1-5
            ready!(output.poll_write(&mut self.stream, cx))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;

        match &mut self.state {
            ClosingState::Open { .. } | ClosingState::CloseSent { .. } => {
                Poll::Ready(Ok(Flushed::Open))
            }
            // The server closes the TCP connection first (RFC 6455, section 7.1.1).
            //= rfc6455#5.5.1-5 rfc6455#7.1.1-2 rfc6455#7.1.1-3
            ClosingState::Finishing => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.state = ClosingState::Finished;
                Poll::Ready(Ok(Flushed::Finished))
            }
            ClosingState::Finished => Poll::Ready(Ok(Flushed::Finished)),
            ClosingState::Discarding { half_closed: true } => Poll::Ready(Ok(Flushed::Open)),
            // Half-close: the peer sees the end of the stream and closes its side, and its input is read
            // until then. Closing a socket with unread input would reset the connection.
            //= rfc6455#7.1.1-1 rfc6455#7.1.1-3 rfc6455#7.1.7-1
            ClosingState::Discarding { half_closed } => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                *half_closed = true;
                Poll::Ready(Ok(Flushed::Open))
            }
        }
    }

    /// Returns the codec to the thread unless a message or control frame is incomplete. This is called at
    /// the end of a poll, when all input has been decoded.
    pub(crate) fn release_idle(&mut self) {
        if let ClosingState::Open { codec, .. } | ClosingState::CloseSent { codec, .. } =
            &mut self.state
            && let Some(codec) = codec.take_if(|codec| !codec.is_partial())
        {
            codec.release();
        }
    }

    /// The last access to the stream before it is dropped. Writes as much output as the stream accepts
    /// at once. Reads and drops received input, because closing a TCP socket with unread input resets
    /// the connection, and the peer may then lose the output.
    ///
    /// If all output is written, the stream is shut down, even without a complete closing handshake:
    /// over TLS and HTTP/2 a stream that is only dropped looks truncated (RFC 8446, section 6.1;
    /// RFC 8441, section 5).
    pub(crate) fn close_stream(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        self.release_idle();
        self.finish();
        let unsent_before = self.unsent();
        //= rfc8441#5-8
        if self.poll_flush(cx).is_pending() && self.unsent() == 0 && unsent_before > 0 {
            // A stream that accepted the rest only in this flush writes its buffer before its end if it
            // is shut down, and drops it otherwise. Nothing waits for output that it could not write
            // before.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        // Eight reads at most: a peer that sends faster may see a reset.
        let mut was_pending = false;
        for _ in 0..8 {
            match self.poll_read(cx, buffer) {
                Poll::Ready(Ok(_)) => {}
                // The stream may only have yielded to other tasks.
                Poll::Pending if !was_pending => was_pending = true,
                Poll::Pending | Poll::Ready(Err(_)) => break,
            }
        }
    }

    fn write_control(&mut self, first_byte: u8, payload: &[u8]) {
        if let Some(output) = self.frames() {
            write_control_frame(first_byte, payload, output.encoded());
        }
    }

    /// Returns the output if another frame may be written.
    fn frames(&mut self) -> Option<&mut WriteBuffer> {
        //= rfc6455#5.5.1-2 rfc6455#6.1-1
        match self.state {
            ClosingState::Open { .. } => Some(self.output.get_or_insert_default()),
            ClosingState::CloseSent { .. }
            | ClosingState::Discarding { .. }
            | ClosingState::Finished
            | ClosingState::Finishing => None,
        }
    }

    /// Ends the decoding. The stream is shut down when the output is flushed.
    fn finish(&mut self) {
        self.release_idle();
        if let ClosingState::Open { .. } | ClosingState::CloseSent { .. } = self.state {
            self.state = ClosingState::Finishing;
        }
    }
}

/// Converts a limit, which is stored in half the memory, to a length.
fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
