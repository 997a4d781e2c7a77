//! The subset of HTTP/2 that WebSockets on streams need (RFC 9113, RFC 8441). The load generator
//! advertises the largest windows, and never sends another WINDOW_UPDATE.

use std::io;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The initial window size of both endpoints.
const INITIAL_WINDOW: i64 = 65_535;
/// The frame size that every endpoint has to accept.
const MAX_FRAME_SIZE: i64 = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// `:method CONNECT`, `:protocol websocket`, `:scheme`, `:path`, `:authority a` and the version (RFC
/// 7541, section 6: names by index into the static table, all else as literals).
const REQUEST: &[u8] =
    b"\x02\x07CONNECT\x00\x09:protocol\x09websocket\x87\x04\x0a/ws/status\x01\x01a\
    \x00\x15sec-websocket-version\x0213";
/// `:status 200` as an index into the static table, the first field of a response.
const OK: u8 = 0x88;
/// The error code of a stream that its client does not need any more (RFC 9113, section 7).
const CANCEL: u32 = 8;

/// An event on a stream.
pub(crate) enum StreamEvent<'a> {
    Opened,
    /// The response has another status than 200.
    Refused,
    Bytes(&'a [u8]),
    /// Bytes with which the stream ends, as the text of a refusal.
    LastBytes(&'a [u8]),
    Ended,
}

/// The client side of a connection.
#[derive(Default)]
pub(crate) struct Http2 {
    /// Whether the server sent SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, section 3).
    pub(crate) allows_websocket: bool,
    /// Output that is not yet written.
    pub(crate) outbox: Vec<u8>,
    initial_window: i64,
    /// The flow-control windows for sending: of the connection, and of each stream.
    window: i64,
    streams: Vec<i64>,
}

impl Http2 {
    pub(crate) fn start() -> Self {
        let mut http2 =
            Self { initial_window: INITIAL_WINDOW, window: INITIAL_WINDOW, ..Self::default() };
        http2.outbox.extend(PREFACE);
        let window = MAX_WINDOW.to_be_bytes();
        http2.write_frame(
            SETTINGS,
            0,
            0,
            &[&INITIAL_WINDOW_SIZE.to_be_bytes(), &window[..]].concat(),
        );
        http2.write_frame(WINDOW_UPDATE, 0, 0, &(MAX_WINDOW - INITIAL_WINDOW as u32).to_be_bytes());
        http2
    }

    /// Requests a session on the next stream.
    pub(crate) fn request(&mut self) {
        self.request_with(REQUEST);
    }

    /// Sends a request with these encoded fields on the next stream.
    pub(crate) fn request_with(&mut self, fields: &[u8]) {
        self.streams.push(self.initial_window);
        self.write_frame(HEADERS, END_HEADERS, stream_id(self.streams.len() - 1), fields);
    }

    /// The number of bytes that can be sent on a stream in one frame.
    pub(crate) fn capacity(&self, stream: usize) -> usize {
        let window = self.streams.get(stream).copied().unwrap_or(0);
        usize::try_from(window.min(self.window).min(MAX_FRAME_SIZE)).unwrap_or(0)
    }

    /// Sends bytes; the caller checks `capacity` first.
    pub(crate) fn send(&mut self, stream: usize, bytes: &[u8]) {
        self.window -= bytes.len() as i64;
        self.streams[stream] -= bytes.len() as i64;
        self.write_frame(DATA, 0, stream_id(stream), bytes);
    }

    /// Ends the client's side of a stream.
    pub(crate) fn end(&mut self, stream: usize) {
        self.write_frame(DATA, END_STREAM, stream_id(stream), &[]);
    }

    /// Resets a stream.
    pub(crate) fn reset(&mut self, stream: usize) {
        self.write_frame(RST_STREAM, 0, stream_id(stream), &CANCEL.to_be_bytes());
    }

    /// Processes a frame. Returns the event and its stream, if the frame concerns a session.
    pub(crate) fn on_frame<'a>(
        &mut self,
        frame: Frame<'a>,
    ) -> io::Result<Option<(usize, StreamEvent<'a>)>> {
        let Frame { kind, flags, stream, payload } = frame;
        let index = (stream as usize).saturating_sub(1) / 2;
        let event = match kind {
            DATA if flags & END_STREAM == 0 => StreamEvent::Bytes(payload),
            DATA if payload.is_empty() => StreamEvent::Ended,
            DATA => StreamEvent::LastBytes(payload),
            HEADERS if payload.first() != Some(&OK) => StreamEvent::Refused,
            HEADERS if flags & END_STREAM == 0 => StreamEvent::Opened,
            RST_STREAM => StreamEvent::Ended,
            SETTINGS if flags & ACK == 0 => {
                self.apply_settings(payload);
                self.write_frame(SETTINGS, ACK, 0, &[]);
                return Ok(None);
            }
            PING if flags & ACK == 0 => {
                self.write_frame(PING, ACK, 0, payload);
                return Ok(None);
            }
            WINDOW_UPDATE => {
                let more = i64::from(be_u32(payload));
                match stream {
                    0 => self.window += more,
                    _ => self.streams[index] += more,
                }
                return Ok(None);
            }
            SETTINGS | PING => return Ok(None),
            // GOAWAY with NO_ERROR: the existing streams continue.
            GOAWAY if payload.get(4..8) == Some(&[0; 4]) => return Ok(None),
            _ => {
                let message = format!("the server sent a frame {kind} {flags:#x} {payload:?}");
                return Err(io::Error::other(message));
            }
        };
        Ok(Some((index, event)))
    }

    fn apply_settings(&mut self, mut settings: &[u8]) {
        while let Some((setting, idle_for)) = settings.split_first_chunk::<6>() {
            let (name, value) =
                (u16::from_be_bytes([setting[0], setting[1]]), be_u32(&setting[2..]));
            match name {
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.initial_window;
                    self.streams.iter_mut().for_each(|window| *window += change);
                    self.initial_window += change;
                }
                ENABLE_CONNECT_PROTOCOL => self.allows_websocket = value == 1,
                _ => {}
            }
            settings = idle_for;
        }
    }

    fn write_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        self.outbox.extend(length);
        self.outbox.extend([kind, flags]);
        self.outbox.extend(stream.to_be_bytes());
        self.outbox.extend(payload);
    }
}

/// A complete frame.
pub(crate) struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

/// Splits off the first frame, if it is complete.
pub(crate) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[a, b, c, kind, flags, s, t, u, v], idle_for) = bytes.split_first_chunk()?;
    let (payload, idle_for) = idle_for.split_at_checked(be_u32(&[0, a, b, c]) as usize)?;
    Some((Frame { kind, flags, stream: be_u32(&[s, t, u, v]), payload }, idle_for))
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Returns the identifier of a stream: a client's streams have odd identifiers (RFC 9113, section
/// 5.1.1).
fn stream_id(stream: usize) -> u32 {
    2 * stream as u32 + 1
}
