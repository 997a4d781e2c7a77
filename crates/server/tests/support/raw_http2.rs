//! An HTTP/2 client that sends single frames, valid or not (RFC 9113).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Frame flags.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const HAS_PRIORITY: u8 = 0x20;

/// Settings (RFC 9113, section 6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Error codes (RFC 9113, section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A valid handshake request (RFC 8441, section 5).
pub(crate) const CONNECT: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/ws/status"),
    (":authority", "a"),
    ("sec-websocket-version", "13"),
];

/// A request for a path that does not exist.
pub(crate) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/else"), (":authority", "a")];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn is(&self, kind: u8, stream: u32) -> bool {
        (self.kind, self.stream) == (kind, stream)
    }

    /// The error code of a `RST_STREAM` or a `GOAWAY`.
    pub(crate) fn code(&self) -> u32 {
        let code = if self.kind == GOAWAY { &self.payload[4..8] } else { &self.payload[..4] };
        u32::from_be_bytes(code.try_into().unwrap())
    }

    /// The status of a response, decoded without a dynamic table: the client sets its size to 0
    /// (RFC 7541, sections 5.2 and 6, and appendices A and B).
    pub(crate) fn status(&self) -> u16 {
        // Skips the dynamic table size updates.
        let first = self.payload.iter().position(|byte| byte >> 5 != 1).unwrap();
        match &self.payload[first..] {
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed & 7)]
            }
            [0x08 | 0x18 | 0x48, length, rest @ ..] if length & 0x80 != 0 => {
                let bytes = rest.iter().chain(&[0xff; 4]).take(4);
                let bits = bytes.fold(0, |bits, byte| bits << 8 | u32::from(*byte));
                let mut left = 32;
                (0..3).fold(0, |status, _| {
                    let mut next = |count: u32| {
                        left -= count;
                        bits >> left & ((1 << count) - 1)
                    };
                    // The Huffman codes of 0 to 2 have five bits, those of 3 to 9 six.
                    let digit = match next(5) {
                        short @ 0..=2 => short,
                        long => (long << 1 | next(1)) - 0x19 + 3,
                    };
                    status * 10 + u16::try_from(digit).unwrap()
                })
            }
            other => panic!("{other:x?}"),
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A complete header block without `END_STREAM`.
pub(crate) fn headers(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A GOAWAY of the client. Its streams stay open.
pub(crate) fn goaway() -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0_u32, NO_ERROR].map(u32::to_be_bytes).concat())
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let one = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &settings.iter().flat_map(one).collect::<Vec<u8>>())
}

pub(crate) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A header block of literal fields without indexing (RFC 7541, section 6.2.2).
pub(crate) fn block<T: AsRef<[u8]>>(fields: &[(T, T)]) -> Vec<u8> {
    let field = |(name, value): &(T, T)| [&[0], &*text(name), &*text(value)].concat();
    fields.iter().flat_map(field).collect()
}

/// A string literal (RFC 7541, sections 5.1 and 5.2).
pub(crate) fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(short @ ..127) => bytes.push(short),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text);
    bytes
}

/// A client on a blocking socket with timeouts of ten seconds.
pub(crate) struct Http2 {
    pub(crate) stream: TcpStream,
    /// Received bytes that are not yet decoded.
    buffered: Vec<u8>,
    /// The ID of the next stream.
    pub(crate) next: u32,
}

impl Http2 {
    /// Connects and completes the exchange of prefaces and settings.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    pub(crate) fn connect_with(address: SocketAddr, more: &[(u16, u32)]) -> Self {
        Self::connect_without_preface(address).exchange_settings(more)
    }

    /// Connects with the smallest receive buffer.
    pub(crate) fn connect_with_small_buffer(address: SocketAddr, more: &[(u16, u32)]) -> Self {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        connect(&socket, &address).unwrap();
        Self::over(socket.into()).exchange_settings(more)
    }

    fn exchange_settings(mut self, more: &[(u16, u32)]) -> Self {
        self.send(PREFACE);
        self.send(&settings(&[&[(HEADER_TABLE_SIZE, 0)], more].concat()));
        self.expect(SETTINGS, 0);
        self.send(&frame(SETTINGS, ACK, 0, &[]));
        self
    }

    /// Another handle to the same connection.
    pub(crate) fn try_clone(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), buffered: Vec::new(), next: self.next }
    }

    /// Connects and sends nothing.
    pub(crate) fn connect_without_preface(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffered: Vec::new(), next: 1 }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes although the server may close the connection meanwhile.
    pub(crate) fn send_ignoring_errors(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request without `END_STREAM` on a new stream.
    pub(crate) fn start_request(&mut self, fields: &[(&str, &str)]) -> u32 {
        let stream = self.stream();
        self.send(&headers(stream, fields));
        stream
    }

    /// Takes the ID of a new stream.
    pub(crate) fn stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// Sends a request and returns the status.
    pub(crate) fn request(&mut self, fields: &[(&str, &str)]) -> u16 {
        let stream = self.start_request(fields);
        self.expect(HEADERS, stream).status()
    }

    /// Opens a session and returns its stream.
    pub(crate) fn open(&mut self) -> u32 {
        let stream = self.start_request(CONNECT);
        assert_eq!(self.expect(HEADERS, stream).status(), 200);
        stream
    }

    /// Sends WebSocket frames on a stream.
    pub(crate) fn send_data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(&frame(DATA, 0, stream, bytes));
    }

    /// Expects that a stream's session answers a ping.
    pub(crate) fn exchange_pings(&mut self, stream: u32) {
        self.send_data(stream, &super::frame(super::PING, b"!"));
        let pong = loop {
            let data = self.expect(DATA, stream);
            // Skips the keep-alive pings of the server.
            if data.payload.first() != Some(&super::PING) {
                break data;
            }
        };
        assert_eq!(pong.payload, [super::PONG, 1, b'!']);
    }

    /// Closes a stream's session.
    pub(crate) fn close(&mut self, stream: u32) {
        self.send_data(stream, &super::close(1000, ""));
        while self.expect(DATA, stream).flags & END_STREAM == 0 {}
    }

    /// Reads up to a frame of this type on this stream. Skips other frames, a graceful GOAWAY included,
    /// and answers neither pings nor settings.
    pub(crate) fn expect(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.frame().expect("the connection stays open");
            if frame.is(kind, stream) {
                return frame;
            }
            assert!(frame.kind != GOAWAY || frame.code() == NO_ERROR, "{frame:?}");
        }
    }

    /// Reads a frame, or returns `None` after the end or a reset of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let head = self.bytes(9)?;
        let [a, b, c, kind, flags, d, e, f, g] = head[..] else { panic!() };
        let payload = self.bytes(u32::from_be_bytes([0, a, b, c]).try_into().unwrap())?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
    }

    /// Reads all frames up to the end.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.frame()).collect()
    }

    /// Expects the end and returns the code of the last GOAWAY before it.
    pub(crate) fn expect_goaway(&mut self) -> u32 {
        let rest = self.rest();
        let goaway = rest.iter().rev().find(|frame| frame.kind == GOAWAY);
        goaway.unwrap_or_else(|| panic!("no GOAWAY: {rest:?}")).code()
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffered.len() < count {
            let mut buffer = [0; 1 << 14];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.buffered.extend(&buffer[..count]),
                Err(error) if is_timeout(&error) => {
                    panic!("the server sends nothing and stays connected")
                }
                Err(_) => return None,
            }
        }
        Some(self.buffered.drain(..count).collect())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
