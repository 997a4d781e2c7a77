//! As much of HTTP/2 as it takes to have WebSockets on the streams of a connection (RFC 9113, RFC
//! 8441). The windows of the load generator are so large that it never has to open them again.

use std::io;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The window of everybody until they say otherwise.
const FIRST_WINDOW: i64 = 65_535;
/// What a server takes in any case.
const MOST_PAYLOAD: i64 = 16_384;

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
/// 7541, section 6: names of the static table, and everything else as it is).
const REQUEST: &[u8] =
    b"\x02\x07CONNECT\x00\x09:protocol\x09websocket\x87\x04\x0a/ws/status\x01\x01a\
    \x00\x15sec-websocket-version\x0213";
/// `:status 200` of the static table, which is what an answer begins with.
const OK: u8 = 0x88;

/// What came on a stream.
pub(crate) enum News<'a> {
    Opened,
    Bytes(&'a [u8]),
    Ended,
}

/// The client's side of a connection.
#[derive(Default)]
pub(crate) struct Http2 {
    /// Whether the server has said that it takes WebSockets.
    pub(crate) is_ready: bool,
    /// What is not yet written.
    pub(crate) outbox: Vec<u8>,
    first_window: i64,
    /// What may be sent in all, and on each stream.
    window: i64,
    streams: Vec<i64>,
}

impl Http2 {
    pub(crate) fn start() -> Self {
        let mut http2 =
            Self { first_window: FIRST_WINDOW, window: FIRST_WINDOW, ..Self::default() };
        http2.outbox.extend(PREFACE);
        let window = LARGEST_WINDOW.to_be_bytes();
        http2.put(SETTINGS, 0, 0, &[&INITIAL_WINDOW_SIZE.to_be_bytes(), &window[..]].concat());
        http2.put(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW as u32).to_be_bytes());
        http2
    }

    /// Asks for a session on the next stream.
    pub(crate) fn ask(&mut self) {
        self.streams.push(self.first_window);
        self.put(HEADERS, END_HEADERS, id(self.streams.len() - 1), REQUEST);
    }

    /// How much can be said on a stream at once.
    pub(crate) fn room(&self, stream: usize) -> usize {
        let window = self.streams.get(stream).copied().unwrap_or(0);
        usize::try_from(window.min(self.window).min(MOST_PAYLOAD)).unwrap_or(0)
    }

    /// Says what there has to be room for.
    pub(crate) fn say(&mut self, stream: usize, bytes: &[u8]) {
        self.window -= bytes.len() as i64;
        self.streams[stream] -= bytes.len() as i64;
        self.put(DATA, 0, id(stream), bytes);
    }

    /// Ends our side of a stream.
    pub(crate) fn end(&mut self, stream: usize) {
        self.put(DATA, END_STREAM, id(stream), &[]);
    }

    /// Takes in a frame. Says on which stream what has come, if it is news.
    pub(crate) fn hear<'a>(&mut self, frame: Frame<'a>) -> io::Result<Option<(usize, News<'a>)>> {
        let Frame { kind, flags, stream, payload } = frame;
        let place = (stream as usize).saturating_sub(1) / 2;
        let news = match kind {
            DATA if flags & END_STREAM == 0 => News::Bytes(payload),
            DATA if payload.is_empty() => News::Ended,
            HEADERS if flags & END_STREAM == 0 && payload.first() == Some(&OK) => News::Opened,
            RST_STREAM => News::Ended,
            SETTINGS if flags & ACK == 0 => {
                self.settle(payload);
                self.put(SETTINGS, ACK, 0, &[]);
                return Ok(None);
            }
            PING if flags & ACK == 0 => {
                self.put(PING, ACK, 0, payload);
                return Ok(None);
            }
            WINDOW_UPDATE => {
                let more = i64::from(number(payload));
                match stream {
                    0 => self.window += more,
                    _ => self.streams[place] += more,
                }
                return Ok(None);
            }
            SETTINGS | PING => return Ok(None),
            // That no more is to be asked for; what there is goes on.
            GOAWAY if payload.get(4..8) == Some(&[0; 4]) => return Ok(None),
            _ => {
                let what = format!("the server sent a frame {kind} {flags:#x} {payload:?}");
                return Err(io::Error::other(what));
            }
        };
        Ok(Some((place, news)))
    }

    fn settle(&mut self, mut settings: &[u8]) {
        while let Some((setting, rest)) = settings.split_first_chunk::<6>() {
            let (name, value) =
                (u16::from_be_bytes([setting[0], setting[1]]), number(&setting[2..]));
            match name {
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.first_window;
                    self.streams.iter_mut().for_each(|window| *window += change);
                    self.first_window += change;
                }
                ENABLE_CONNECT_PROTOCOL => self.is_ready = value == 1,
                _ => {}
            }
            settings = rest;
        }
    }

    fn put(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        self.outbox.extend(length);
        self.outbox.extend([kind, flags]);
        self.outbox.extend(stream.to_be_bytes());
        self.outbox.extend(payload);
    }
}

/// A frame that has come in full.
pub(crate) struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

/// The first frame, and what is behind it.
pub(crate) fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[a, b, c, kind, flags, s, t, u, v], rest) = bytes.split_first_chunk()?;
    let (payload, rest) = rest.split_at_checked(number(&[0, a, b, c]) as usize)?;
    Some((Frame { kind, flags, stream: number(&[s, t, u, v]), payload }, rest))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Streams of a client have odd numbers.
fn id(stream: usize) -> u32 {
    2 * stream as u32 + 1
}
