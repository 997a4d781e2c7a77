//! A WebSocket session, frame by frame, without the rules of a well-behaved client: some probes have to
//! break them.

use std::io::{self, Cursor};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

/// A control frame has at most this payload (RFC 6455, section 5.5).
pub(crate) const MAX_CONTROL_BYTES: usize = 125;

/// The first byte of some frames, each whole.
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// A control frame whose opcode is reserved (RFC 6455, section 5.2).
pub(crate) const RESERVED: u8 = 0x8b;

/// Any stream of bytes.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open session.
pub(crate) struct Session {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    /// The rest of the payload of a data frame, which is skipped.
    skip: u64,
    write_limit: Duration,
}

/// A frame of the server. Pings have been answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// With the code, if there is one, and the reason.
    Close(Option<u16>, Vec<u8>),
    /// A frame of a message, whose payload is skipped.
    Data,
    Ping,
    Pong(Vec<u8>),
}

/// Why no frame was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The stream ended. `None` is an orderly end.
    Ended(Option<io::ErrorKind>),
    /// What was received is not a frame of a server; a sentence says why.
    NotAFrame(&'static str),
    TimedOut,
}

impl Session {
    /// `input` is what was received after the head of the response.
    pub(crate) fn new(stream: Box<dyn Duplex>, input: BytesMut, write_limit: Duration) -> Self {
        Self { stream, input, skip: 0, write_limit }
    }

    /// Sends a frame, masked (RFC 6455, section 5.3).
    ///
    /// # Errors
    ///
    /// The stream ended, or takes nothing.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) -> Result<(), Stop> {
        self.write(&frame(first, payload)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let written = timeout(self.write_limit, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stop::Ended(Some(error.kind()))),
            Err(_) => Err(Stop::TimedOut),
        }
    }

    /// Waits until then for a Close frame with one of the codes by which a server shows pages that it refuses
    /// them (`docs/api/endpoint.md`), as the first frame. Returns its code and its reason. Consumes nothing.
    pub(crate) async fn shown_refusal(&mut self, until: Instant) -> Option<(u16, Vec<u8>)> {
        loop {
            match *self.input {
                [CLOSE, length, high, low, ref reason @ ..]
                    if reason.len() + 2 >= length.into() =>
                {
                    let code = u16::from_be_bytes([high, low]);
                    let reason = reason.get(..usize::from(length).checked_sub(2)?)?;
                    return matches!(code, 1013 | 3000 | 3003).then(|| (code, reason.to_vec()));
                }
                [] | [CLOSE, ..] if self.input.len() <= 2 + MAX_CONTROL_BYTES => {}
                _ => return None,
            }
            let read = timeout_at(until, self.stream.read_buf(&mut self.input)).await;
            if !matches!(read, Ok(Ok(1..))) {
                return None;
            }
        }
    }

    /// Receives the next frame, and answers it if it is a ping.
    ///
    /// # Errors
    ///
    /// There was none until then.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Received, Stop> {
        loop {
            // A peer that always has more must not keep a probe from its deadline.
            if Instant::now() >= until {
                return Err(Stop::TimedOut);
            }
            if let Some((opcode, payload)) = self.parse()? {
                return match opcode {
                    OpCode::Control(Control::Ping) => {
                        // If it cannot be sent, the next read says why.
                        let _ = self.send(PONG, &payload).await;
                        Ok(Received::Ping)
                    }
                    OpCode::Control(Control::Pong) => Ok(Received::Pong(payload)),
                    OpCode::Control(Control::Close) => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        Ok(Received::Close(code, payload.get(2..).unwrap_or_default().to_vec()))
                    }
                    OpCode::Data(_) | OpCode::Control(Control::Reserved(_)) => Ok(Received::Data),
                };
            }
            match timeout_at(until, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(0)) => return Err(Stop::Ended(None)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    // TLS without its own end, which some servers omit, is an end all the same.
                    let kind = Some(error.kind()).filter(|it| *it != io::ErrorKind::UnexpectedEof);
                    return Err(Stop::Ended(kind));
                }
                Err(_) => return Err(Stop::TimedOut),
            }
        }
    }

    /// Takes a frame from the input, if a control frame or the header of a data frame is complete.
    fn parse(&mut self) -> Result<Option<(OpCode, Vec<u8>)>, Stop> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.input.len());
        self.input.advance(skipped);
        self.skip -= u64::try_from(skipped).unwrap_or_default();
        let mut cursor = Cursor::new(&self.input[..]);
        let parsed = FrameHeader::parse(&mut cursor);
        let parsed = parsed.map_err(|_| Stop::NotAFrame("its opcode is reserved"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        if header.mask.is_some() {
            return Err(Stop::NotAFrame("it is masked"));
        }
        if matches!(header.opcode, OpCode::Data(_)) {
            self.input.advance(start);
            self.skip = length;
            return Ok(Some((header.opcode, Vec::new())));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_CONTROL_BYTES || !header.is_final {
            return Err(Stop::NotAFrame("it is a control frame that is too long or fragmented"));
        }
        let Some(payload) = self.input.get(start..start + length) else { return Ok(None) };
        let payload = payload.to_vec();
        self.input.advance(start + length);
        Ok(Some((header.opcode, payload)))
    }
}

/// The bytes of a frame of a client.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let length = u8::try_from(payload.len().min(MAX_CONTROL_BYTES)).unwrap_or_default();
    let mut bytes = vec![first, 0x80 | length];
    bytes.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    bytes.extend(masked.take(length.into()));
    bytes
}
