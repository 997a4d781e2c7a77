//! Consecutive sessions on one HTTP/2 connection (RFC 8441). The client encodes its frames by hand, so
//! that the test, and not a library, decides which frames are sent and when.

use std::io::{self, Read, Write};

use super::protocols::SessionStream;

/// Frame types (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Error code (RFC 9113, section 7).
const CANCEL: u32 = 8;

/// Settings (RFC 9113, section 6.5.2, and RFC 8441, section 3).
const INITIAL_WINDOW_SIZE: u16 = 4;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// The initial window of both sides (RFC 9113, section 6.9.2).
const DEFAULT_WINDOW: i64 = 65_535;

/// The default `SETTINGS_MAX_FRAME_SIZE` (RFC 9113, section 6.5.2).
const MAX_FRAME_SIZE: i64 = 16 << 10;

/// Streams per connection here, few enough for the server's frame budget.
const MAX_STREAMS: u32 = 100;

/// `:status: 200` in the static table (RFC 7541, appendix A).
const OK: u8 = 0x88;

/// A connection and the stream of its latest session. An orderly end of the stream reads as the end, any
/// other as an error (RFC 8441, section 5).
pub(crate) struct Http2<W> {
    connection: W,
    /// Received bytes that are not yet decoded.
    received: Vec<u8>,
    allows_connect: bool,
    /// The send windows of a new stream and of the connection (RFC 9113, section 5.2).
    initial_window: i64,
    window: i64,
    stream: Stream,
}

/// The state of a stream.
struct Stream {
    id: u32,
    /// The first byte of the response's header block.
    answer: Option<u8>,
    /// Received data that the test has not read.
    buffered: Vec<u8>,
    end: Option<End>,
    is_ended_locally: bool,
    /// The send window.
    window: i64,
}

/// The end of the server's side.
#[derive(Clone, Copy)]
enum End {
    Orderly,
    Reset(u32),
}

impl<W: SessionStream> Http2<W> {
    /// Opens a connection and its first session. Returns `None` for a refusal.
    pub(crate) fn open(mut connection: W) -> Option<Self> {
        connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut http2 = Self {
            connection,
            received: Vec::new(),
            allows_connect: false,
            initial_window: DEFAULT_WINDOW,
            window: DEFAULT_WINDOW,
            stream: Stream::new(1, DEFAULT_WINDOW),
        };
        http2.write_frame(SETTINGS, 0, 0, &[]).unwrap();
        // The server has to enable extended CONNECT first (RFC 8441, section 3).
        while !http2.allows_connect {
            http2.read_frame().unwrap();
        }
        http2.open_stream().then_some(http2)
    }

    fn open_stream(&mut self) -> bool {
        let request = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/ws/status"),
            (":authority", "a"),
            ("sec-websocket-version", "13"),
        ];
        let request: Vec<u8> =
            request.iter().flat_map(|(name, value)| field(name, value)).collect();
        self.write_frame(HEADERS, END_HEADERS, self.stream.id, &request).unwrap();
        while self.stream.answer.is_none() {
            self.read_frame().unwrap();
        }
        self.stream.answer == Some(OK)
    }

    fn write_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.connection.write_all(&[&head, payload].concat())
    }

    /// Reads a frame and processes it.
    fn read_frame(&mut self) -> io::Result<()> {
        // A partial frame stays buffered if the read times out.
        let length = loop {
            if let [a, b, c, _, _, _, _, _, _, payload @ ..] = &self.received[..] {
                let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
                if payload.len() >= length {
                    break length;
                }
            }
            let mut buffer = [0; 4096];
            let count = self.connection.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend(&buffer[..count]);
        };
        let frame: Vec<u8> = self.received.drain(..9 + length).collect();
        let (kind, flags, id, payload) = (frame[3], frame[4], number(&frame[5..]), &frame[9..]);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks(6) {
                    self.apply_setting(
                        u16::from_be_bytes([setting[0], setting[1]]),
                        number(&setting[2..]),
                    );
                }
                self.write_frame(SETTINGS, ACK, 0, &[])?;
            }
            PING if flags & ACK == 0 => self.write_frame(PING, ACK, 0, payload)?,
            WINDOW_UPDATE if id == 0 => self.window += i64::from(number(payload)),
            // A frame of an earlier session.
            _ if id != self.stream.id => {}
            DATA => self.stream.buffered.extend(payload),
            HEADERS => self.stream.answer = Some(payload[0]),
            WINDOW_UPDATE => self.stream.window += i64::from(number(payload)),
            // RFC 9113, section 8.1: after its end, the server may reset the stream to stop the request.
            RST_STREAM if self.stream.end.is_none() => {
                self.stream.end = Some(End::Reset(number(payload)));
            }
            RST_STREAM => {}
            other => panic!("a frame of kind {other}"),
        }
        if matches!(kind, DATA | HEADERS) && id == self.stream.id && flags & END_STREAM != 0 {
            self.stream.end = Some(End::Orderly);
        }
        Ok(())
    }

    fn apply_setting(&mut self, setting: u16, value: u32) {
        match setting {
            ENABLE_CONNECT_PROTOCOL => self.allows_connect = value == 1,
            INITIAL_WINDOW_SIZE => {
                // The change applies to existing windows, too (RFC 9113, section 6.9.2).
                self.stream.window += i64::from(value) - self.initial_window;
                self.initial_window = value.into();
            }
            _ => {}
        }
    }
}

impl Stream {
    fn new(id: u32, window: i64) -> Self {
        Self { id, answer: None, buffered: Vec::new(), end: None, is_ended_locally: false, window }
    }
}

impl<W: SessionStream> Read for Http2<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.stream.buffered.is_empty() {
            match self.stream.end {
                None => self.read_frame()?,
                Some(End::Orderly) => return Ok(0),
                Some(End::Reset(code)) => return Err(reset(code)),
            }
        }
        let count = buffer.len().min(self.stream.buffered.len());
        buffer[..count].copy_from_slice(&self.stream.buffered[..count]);
        self.stream.buffered.drain(..count);
        // Only bytes that the test reads extend the windows. The server may have closed the connection.
        for id in [0, self.stream.id] {
            let more = u32::try_from(count).unwrap().to_be_bytes();
            let _ = self.write_frame(WINDOW_UPDATE, 0, id, &more);
        }
        Ok(count)
    }
}

impl<W: SessionStream> Write for Http2<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(End::Reset(code)) = self.stream.end {
                return Err(reset(code));
            }
            let room = self.stream.window.min(self.window).min(MAX_FRAME_SIZE);
            if room > 0 {
                let count = bytes.len().min(usize::try_from(room).unwrap());
                self.write_frame(DATA, 0, self.stream.id, &bytes[..count])?;
                let sent = i64::try_from(count).unwrap();
                self.stream.window -= sent;
                self.window -= sent;
                return Ok(count);
            }
            self.read_frame()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

impl<W: SessionStream> SessionStream for Http2<W> {
    fn end(&mut self) {
        self.write_frame(DATA, END_STREAM, self.stream.id, &[]).unwrap();
        self.stream.is_ended_locally = true;
    }

    fn reopen(&mut self) -> bool {
        if self.stream.id / 2 >= MAX_STREAMS - 1 {
            return false;
        }
        assert!(self.stream.end.is_some(), "the last session has ended");
        if !self.stream.is_ended_locally {
            self.end();
        }
        self.stream = Stream::new(self.stream.id + 2, self.initial_window);
        assert!(self.open_stream());
        true
    }

    fn open_windows(&mut self) {
        for id in [0, self.stream.id] {
            self.write_frame(WINDOW_UPDATE, 0, id, &(1_u32 << 30).to_be_bytes()).unwrap();
        }
    }

    fn reset(&mut self) {
        self.write_frame(RST_STREAM, 0, self.stream.id, &CANCEL.to_be_bytes()).unwrap();
    }

    fn socket(&self) -> &std::net::TcpStream {
        self.connection.socket()
    }
}

/// A literal header field without indexing (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Decodes the first four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn reset(code: u32) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, format!("RST_STREAM with {code:#x}"))
}
