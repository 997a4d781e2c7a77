//! Sessions on the streams of an HTTP/2 connection (RFC 8441), one after the other, in frames that are
//! written by hand: what the server is told, and when, is then what the test says, and not what a
//! library thinks best.

use std::io::{self, Read, Write};

use super::ways::Wire;

/// The kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The code of a client that has lost interest (RFC 9113, section 7).
const CANCEL: u32 = 8;

/// Settings (RFC 9113, section 6.5.2, and RFC 8441, section 3).
const INITIAL_WINDOW_SIZE: u16 = 4;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// What both sides begin with (RFC 9113, section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// The longest frame that nobody needs leave for.
const LONGEST_FRAME: i64 = 16 << 10;

/// Streams that one connection has here. The server lets no more come in a hurry.
const MOST_STREAMS: u32 = 100;

/// `:status: 200`, as HPACK has it in its own table (RFC 7541, appendix A).
const OK: u8 = 0x88;

/// A connection, and the stream of its latest session. As with a TCP connection, an orderly end reads
/// as one, and any other as an error (RFC 8441, section 5).
pub(crate) struct Http2<W> {
    wire: W,
    /// Frames that have not been looked at.
    received: Vec<u8>,
    takes_connect: bool,
    /// What a new stream lets us send, and what the connection still does (RFC 9113, section 5.2).
    initial_window: i64,
    window: i64,
    stream: Stream,
}

/// What is known of a stream.
struct Stream {
    id: u32,
    /// The first byte of the answer's head.
    answer: Option<u8>,
    /// What the session has said, and nobody has read.
    unread: Vec<u8>,
    end: Option<End>,
    has_our_end: bool,
    /// What it still lets us send.
    window: i64,
}

/// How the server's side has ended.
#[derive(Clone, Copy)]
enum End {
    Orderly,
    Reset(u32),
}

impl<W: Wire> Http2<W> {
    /// Opens a connection and the first session on it; nothing is a refusal.
    pub(crate) fn open(mut wire: W) -> Option<Self> {
        wire.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut http2 = Self {
            wire,
            received: Vec::new(),
            takes_connect: false,
            initial_window: FIRST_WINDOW,
            window: FIRST_WINDOW,
            stream: Stream::new(1, FIRST_WINDOW),
        };
        http2.put_frame(SETTINGS, 0, 0, &[]).unwrap();
        // RFC 8441, section 3: not before the server has said that it may be asked.
        while !http2.takes_connect {
            http2.take_frame().unwrap();
        }
        http2.opens_stream().then_some(http2)
    }

    fn opens_stream(&mut self) -> bool {
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
        self.put_frame(HEADERS, END_HEADERS, self.stream.id, &request).unwrap();
        while self.stream.answer.is_none() {
            self.take_frame().unwrap();
        }
        self.stream.answer == Some(OK)
    }

    fn put_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.wire.write_all(&[&head, payload].concat())
    }

    /// Waits for a frame, and does what it asks for.
    fn take_frame(&mut self) -> io::Result<()> {
        // What has come stays where it is if the wait is over before the frame is there.
        let length = loop {
            if let [a, b, c, _, _, _, _, _, _, payload @ ..] = &self.received[..] {
                let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
                if payload.len() >= length {
                    break length;
                }
            }
            let mut buffer = [0; 4096];
            let count = self.wire.read(&mut buffer)?;
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
                    self.heed(u16::from_be_bytes([setting[0], setting[1]]), number(&setting[2..]));
                }
                self.put_frame(SETTINGS, ACK, 0, &[])?;
            }
            PING if flags & ACK == 0 => self.put_frame(PING, ACK, 0, payload)?,
            WINDOW_UPDATE if id == 0 => self.window += i64::from(number(payload)),
            // It is about a session that is over.
            _ if id != self.stream.id => {}
            DATA => self.stream.unread.extend(payload),
            HEADERS => self.stream.answer = Some(payload[0]),
            WINDOW_UPDATE => self.stream.window += i64::from(number(payload)),
            // RFC 9113, section 8.1: behind its end the server may say that it needs no more from us.
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

    fn heed(&mut self, setting: u16, value: u32) {
        match setting {
            ENABLE_CONNECT_PROTOCOL => self.takes_connect = value == 1,
            INITIAL_WINDOW_SIZE => {
                // RFC 9113, section 6.9.2: it changes the windows there are as well.
                self.stream.window += i64::from(value) - self.initial_window;
                self.initial_window = value.into();
            }
            _ => {}
        }
    }
}

impl Stream {
    fn new(id: u32, window: i64) -> Self {
        Self { id, answer: None, unread: Vec::new(), end: None, has_our_end: false, window }
    }
}

impl<W: Wire> Read for Http2<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.stream.unread.is_empty() {
            match self.stream.end {
                None => self.take_frame()?,
                Some(End::Orderly) => return Ok(0),
                Some(End::Reset(code)) => return Err(reset(code)),
            }
        }
        let count = buffer.len().min(self.stream.unread.len());
        buffer[..count].copy_from_slice(&self.stream.unread[..count]);
        self.stream.unread.drain(..count);
        // Only what is read makes room for more. A server that has gone does not care.
        for id in [0, self.stream.id] {
            let more = u32::try_from(count).unwrap().to_be_bytes();
            let _ = self.put_frame(WINDOW_UPDATE, 0, id, &more);
        }
        Ok(count)
    }
}

impl<W: Wire> Write for Http2<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(End::Reset(code)) = self.stream.end {
                return Err(reset(code));
            }
            let room = self.stream.window.min(self.window).min(LONGEST_FRAME);
            if room > 0 {
                let count = bytes.len().min(usize::try_from(room).unwrap());
                self.put_frame(DATA, 0, self.stream.id, &bytes[..count])?;
                let sent = i64::try_from(count).unwrap();
                self.stream.window -= sent;
                self.window -= sent;
                return Ok(count);
            }
            self.take_frame()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

impl<W: Wire> Wire for Http2<W> {
    fn end(&mut self) {
        self.put_frame(DATA, END_STREAM, self.stream.id, &[]).unwrap();
        self.stream.has_our_end = true;
    }

    fn reopen(&mut self) -> bool {
        if self.stream.id / 2 >= MOST_STREAMS - 1 {
            return false;
        }
        assert!(self.stream.end.is_some(), "there is one session at a time");
        if !self.stream.has_our_end {
            self.end();
        }
        self.stream = Stream::new(self.stream.id + 2, self.initial_window);
        assert!(self.opens_stream());
        true
    }

    fn welcome_all(&mut self) {
        for id in [0, self.stream.id] {
            self.put_frame(WINDOW_UPDATE, 0, id, &(1_u32 << 30).to_be_bytes()).unwrap();
        }
    }

    fn reset(&mut self) {
        self.put_frame(RST_STREAM, 0, self.stream.id, &CANCEL.to_be_bytes()).unwrap();
    }

    fn socket(&self) -> &std::net::TcpStream {
        self.wire.socket()
    }
}

/// A field with its name, and without any compression (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The number that this begins with.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn reset(code: u32) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, format!("RST_STREAM with {code:#x}"))
}
