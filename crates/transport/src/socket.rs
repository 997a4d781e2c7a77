//! A WebSocket over any stream: tungstenite's codec, polled.
//!
//! The codec never touches the stream. It reads from the bytes of this wake-up and writes into one
//! buffer that always accepts, so that everything one wake-up has to say leaves in one write, and a
//! stream that refuses cannot stop the codec in the middle of a frame.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode as CodecCloseCode;
use tungstenite::protocol::{
    CloseFrame as CodecCloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use ws_core::{CloseCode, CloseFrame, Reason, Violation};

use crate::frame::Frame;
use crate::handler::Message;
use crate::output::Output;

/// A WebSocket's server side over a stream.
#[derive(Debug)]
pub struct Socket<S> {
    stream: S,
    stage: Stage,
    sizes: Sizes,
    /// What was said and is not yet taken by the stream. A session that sleeps with nothing unsent has
    /// none.
    pub(crate) output: Option<Box<Output>>,
}

/// How much the codec reads at once. Control frames fit, and larger frames get more.
const READ_BUFFER_BYTES: usize = 128;

/// What the codec puts in the place of a close code that must not be sent, for the peer and for us.
const SUBSTITUTE_REASON: &str = "Protocol violation";

/// How much may be held for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The payload of a frame and of a message. It also limits what the codec reserves for a frame
    /// that has only been announced.
    pub max_message_bytes: usize,
    /// Output that waits for the peer to read. When so much waits, nothing more is asked for; one
    /// message may lie above it.
    pub max_queued_bytes: usize,
}

/// What the heads of a message's frames may take, beside its payload. tungstenite shows neither that
/// a message is unfinished nor in how many parts it comes, so all of its bytes are counted together.
const HEADS_BYTES: usize = 1024;

/// How far the closing has come, as far as bytes are concerned.
#[derive(Debug)]
enum Stage {
    /// Frames go both ways, or the end of the closing handshake is waited for. A session between
    /// two messages has no codec.
    Talking(Option<Box<Codec>>),
    /// The closing handshake is complete, or will be once the output is flushed.
    Finishing,
    /// That is done.
    Finished,
    /// The peer broke a rule and was told so.
    Failing { half_closed: bool },
}

#[derive(Debug)]
struct Codec {
    context: WebSocketContext,
    sizes: Sizes,
    /// Bytes that it took since it last gave something whole.
    unfinished: usize,
    /// Bytes that it took, less what the things that it gave need at least. At zero nothing is left
    /// in it.
    unaccounted: usize,
}

/// Something whole that the peer sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    Close(Option<CloseFrame>),
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    /// Nothing more is to be read from the codec after this.
    Violation(Violation),
}

/// What is left to do when the output is flushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// The closing handshake is complete, and the stream is shut down.
    Finished,
    /// Nothing.
    Talking,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket over a stream whose opening handshake is complete.
    pub fn new(stream: S, sizes: Sizes) -> Self {
        Self { stream, stage: Stage::Talking(None), sizes, output: None }
    }

    /// Reads once. `None` is the end of the stream, by whatever way.
    pub(crate) fn poll_read<'a>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'a mut [u8],
    ) -> Poll<Option<&'a [u8]>> {
        let mut read = ReadBuf::new(buffer);
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
        let count = read.filled().len();
        let bytes = buffer.get(..count).filter(|bytes| result.is_ok() && !bytes.is_empty());
        Poll::Ready(bytes)
    }

    /// The next thing in `input`, which is used up on the way; `None` when more has to be read.
    ///
    /// The codec answers pings and close frames here by itself (RFC 6455, sections 5.5.1, 5.5.2).
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Option<Incoming> {
        let Stage::Talking(codec) = &mut self.stage else { return None };
        // Without a codec nothing is due, and the first byte of input brings one.
        if codec.is_none() && input.is_empty() {
            return None;
        }
        let codec = codec.get_or_insert_with(|| Codec::take(self.sizes));
        let most = self.sizes.max_message_bytes.saturating_add(HEADS_BYTES);
        let budget = most.saturating_sub(codec.unfinished);
        let output = self.output.get_or_insert_default().own();
        let mut wire = Wire { input, output, budget };
        let result = codec.context.read(&mut wire);
        let took = budget.saturating_sub(wire.budget);
        codec.unfinished += took;
        codec.unaccounted += took;
        let violation = match result {
            Ok(message) => {
                codec.account_for(&message);
                return incoming(message);
            }
            // The wire's only error is that there is no more, of input or of the budget.
            Err(Error::Io(_)) if codec.unfinished < most => return None,
            Err(Error::Io(_)) => Violation::TooBig,
            Err(Error::AlreadyClosed | Error::ConnectionClosed) => {
                self.stage = Stage::Finishing;
                return None;
            }
            Err(Error::Capacity(_)) => Violation::TooBig,
            Err(Error::Utf8(_)) => Violation::InvalidUtf8,
            // Reading gives none of these but `Protocol`.
            Err(
                Error::AttackAttempt
                | Error::Http(_)
                | Error::HttpFormat(_)
                | Error::Protocol(_)
                | Error::Tls(_)
                | Error::Url(_)
                | Error::WriteBufferFull(_),
            ) => Violation::ProtocolError,
        };
        Some(Incoming::Violation(violation))
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.write(match message {
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Text(text) => tungstenite::Message::Text(text),
        });
    }

    /// Sends what is encoded already.
    pub(crate) fn share(&mut self, frame: Frame) {
        if self.may_write() {
            self.output.get_or_insert_default().share(frame.into_bytes());
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
    pub(crate) fn fail(&mut self) {
        self.stage = Stage::Failing { half_closed: false };
    }

    /// Whether there is a beginning of something whose end has not come.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(&self.stage, Stage::Talking(Some(codec)) if codec.unfinished > 0)
    }

    /// How many bytes were said and are not yet taken by the stream.
    pub(crate) fn unsent(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.len())
    }

    /// Whether no more output is to be asked for before some of it went out.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent() >= self.sizes.max_queued_bytes
            || self.output.as_ref().is_some_and(|output| output.is_sharing())
    }

    /// Whether what comes is only read away.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(self.stage, Stage::Failing { .. })
    }

    /// Whether nothing more is to be read.
    pub(crate) fn is_finishing(&self) -> bool {
        matches!(self.stage, Stage::Finishing | Stage::Finished)
    }

    /// Writes until everything is out. An error is the end of the stream.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Flushed>> {
        if let Some(output) = &mut self.output {
            ready!(output.poll_write(&mut self.stream, cx))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;

        match &mut self.stage {
            Stage::Talking(_) => Poll::Ready(Ok(Flushed::Talking)),
            // The server closes the TCP connection first (RFC 6455, section 7.1.1).
            Stage::Finishing => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.stage = Stage::Finished;
                Poll::Ready(Ok(Flushed::Finished))
            }
            Stage::Finished => Poll::Ready(Ok(Flushed::Finished)),
            Stage::Failing { half_closed: true } => Poll::Ready(Ok(Flushed::Talking)),
            // Half-closed, so that the peer sees the end and hangs up, while what it still sends is
            // read: closing a socket with unread input would reset the connection.
            Stage::Failing { half_closed } => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                *half_closed = true;
                Poll::Ready(Ok(Flushed::Talking))
            }
        }
    }

    /// The end of a wake-up, in which everything that was read went through the codec: if that is
    /// as it was in the beginning, the thread has it back, for whichever session wakes up next.
    ///
    /// A session whose messages come in parts, or with lengths in more bytes than they need, is never
    /// accounted for in full, and keeps its own.
    pub(crate) fn rest(&mut self) {
        if let Stage::Talking(codec) = &mut self.stage
            && let Some(codec) = codec.take_if(|codec| codec.is_as_new())
        {
            CODEC.set(Some(codec));
        }
    }

    /// The last look at the stream before it is dropped: writes what it takes at once, and reads
    /// away what has come, because closing a TCP socket with unread input resets the connection,
    /// and then the peer may never see what was written.
    ///
    /// If all was written, the end is one in order, whether or not the peer had it agreed: within TLS
    /// and HTTP/2 a stream that is only dropped reads as one that was cut off (RFC 8446, section 6.1;
    /// RFC 8441, section 5).
    pub(crate) fn hang_up(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) {
        self.rest();
        if let Stage::Talking(_) = self.stage {
            self.stage = Stage::Finishing;
        }
        let _ = self.poll_flush(cx);
        // Not forever: a peer that sends faster than we read has lost its claim to a kind end.
        for _ in 0..8 {
            let Poll::Ready(Some(_)) = self.poll_read(cx, buffer) else { break };
        }
    }

    fn write(&mut self, message: tungstenite::Message) {
        if self.may_write()
            && let Stage::Talking(codec) = &mut self.stage
        {
            let codec = &mut codec.get_or_insert_with(|| Codec::take(self.sizes)).context;
            let output = self.output.get_or_insert_default().own();
            let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
            let written = codec.write(&mut wire, message);
            written.expect("the wire takes everything while we may write");
        }
    }

    /// Whether a frame may go out now, behind the codec's own answers: a pong that is due must not come
    /// after a close frame, and to a bad close frame the codec has said all there is to say.
    fn may_write(&mut self) -> bool {
        match &mut self.stage {
            Stage::Talking(None) => true,
            Stage::Talking(Some(codec)) => {
                let output = self.output.get_or_insert_default().own();
                let mut wire = Wire { input: &mut &[][..], output, budget: 0 };
                codec.context.flush(&mut wire).is_ok() && codec.context.can_write()
            }
            Stage::Finishing | Stage::Finished | Stage::Failing { .. } => false,
        }
    }
}

thread_local! {
    /// A codec without a trace of the session that had it.
    static CODEC: Cell<Option<Box<Codec>>> = const { Cell::new(None) };
}

impl Codec {
    /// The thread's, or a new one if there is none for these sizes.
    fn take(sizes: Sizes) -> Box<Self> {
        if let Some(codec) = CODEC.take()
            && codec.sizes == sizes
        {
            return codec;
        }
        let config = WebSocketConfig::default()
            // It is filled with zeros for each read, so a larger one is slower.
            .read_buffer_size(READ_BUFFER_BYTES)
            // Hand over each frame at once: the buffer behind is ours.
            .write_buffer_size(0)
            .max_frame_size(Some(sizes.max_message_bytes))
            .max_message_size(Some(sizes.max_message_bytes));
        let context = WebSocketContext::new(Role::Server, Some(config));
        Box::new(Self { context, sizes, unfinished: 0, unaccounted: 0 })
    }

    fn is_as_new(&self) -> bool {
        self.unaccounted == 0 && self.context.can_write()
    }

    fn account_for(&mut self, message: &tungstenite::Message) {
        let bytes = least_wire_bytes(message);
        self.unaccounted = self.unaccounted.saturating_sub(bytes);
        // A control frame may come in the middle of a message (RFC 6455, section 5.4). Behind a data
        // message nothing is taken to be unfinished, though the codec has read up to its buffer's
        // length ahead.
        let is_control = message.is_ping() || message.is_pong();
        self.unfinished = if is_control { self.unfinished.saturating_sub(bytes) } else { 0 };
    }
}

/// The least that a client's message or control frame takes: a head with a mask, its length in as few
/// bytes as it needs (RFC 6455, section 5.2), and the payload.
fn least_wire_bytes(message: &tungstenite::Message) -> usize {
    let payload = message.len();
    let head = match payload {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    };
    head + payload
}

/// What the codec takes for its stream.
struct Wire<'a, 'b> {
    input: &'a mut &'b [u8],
    output: &'a mut Vec<u8>,
    /// How much more input the codec may take.
    budget: usize,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.input.len()).min(self.budget);
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.budget -= length;
        self.input.read(buffer.get_mut(..length).unwrap_or_default())
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn incoming(message: tungstenite::Message) -> Option<Incoming> {
    Some(match message {
        tungstenite::Message::Binary(bytes) => Incoming::Message(Message::Binary(bytes)),
        tungstenite::Message::Text(text) => Incoming::Message(Message::Text(text)),
        tungstenite::Message::Ping(payload) => Incoming::Ping(payload),
        tungstenite::Message::Pong(payload) => Incoming::Pong(payload),
        tungstenite::Message::Close(Some(frame))
            if frame.code == CodecCloseCode::Protocol && frame.reason == SUBSTITUTE_REASON =>
        {
            Incoming::Violation(Violation::ProtocolError)
        }
        tungstenite::Message::Close(frame) => Incoming::Close(frame.as_ref().and_then(close_frame)),
        // Reading never gives a single frame.
        tungstenite::Message::Frame(_) => return None,
    })
}

/// The codec has checked the code, and put 1002 in the place of one that must not be sent.
fn close_frame(frame: &CodecCloseFrame) -> Option<CloseFrame> {
    let code = CloseCode::try_from(u16::from(frame.code)).ok()?;
    Some(CloseFrame { code, reason: Reason::from(frame.reason.to_string()) })
}
