//! A client that never waits: it sends as much as its socket takes, and receives what is there.

use std::collections::BTreeMap;

use tokio::net::UnixStream;

use super::wire::{
    ACK, CONNECT, DATA, END_HEADERS, END_STREAM, Field, Frame, HEADERS, PING, SETTINGS,
    WINDOW_UPDATE, append_field, frame,
};
use crate::server_frames::parse;

/// The initial window of a connection, whatever the settings say (RFC 9113, section 6.9.2).
const CONNECTION_WINDOW: u64 = 65_535;

/// The largest frame, unless the client has allowed more (RFC 9113, section 6.5.2).
const MAX_FRAME_SIZE: usize = 16_384;

pub(super) struct Client {
    socket: UnixStream,
    /// Whether it does for frames of the server what RFC 9113 demands.
    is_answering: bool,
    /// The ID of the next stream.
    next: u32,
    received: Vec<u8>,
    streams: BTreeMap<u32, Stream>,
    /// Bytes that the server may send in DATA, and that it has sent.
    window: u64,
    data: u64,
}

/// What the server has sent on a stream.
#[derive(Debug, Default)]
struct Stream {
    /// Whether a handshake was answered with 200.
    is_session: bool,
    has_ended: bool,
    data: Vec<u8>,
}

impl Client {
    pub(super) fn new(socket: UnixStream, is_answering: bool) -> Self {
        Self {
            socket,
            is_answering,
            next: 1,
            received: Vec::new(),
            streams: BTreeMap::new(),
            window: CONNECTION_WINDOW,
            data: 0,
        }
    }

    /// Sends as much as the socket takes. A client whose server does not read cannot send more.
    pub(super) fn send(&mut self, mut bytes: &[u8]) {
        while let Ok(count @ 1..) = self.socket.try_write(bytes) {
            bytes = &bytes[count..];
        }
    }

    /// Sends bytes that may be a WINDOW_UPDATE of any size.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.window = u64::MAX;
        self.send(bytes);
    }

    pub(super) fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if let (WINDOW_UPDATE, 0, [a, b, c, d]) = (kind, stream & 0x7fff_ffff, payload) {
            let count = u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff;
            self.window = self.window.saturating_add(count.into());
        }
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Sends a request on a new stream.
    pub(super) fn request(&mut self, fields: &[Field<'_>]) {
        let mut block = Vec::new();
        for field in fields {
            append_field(&mut block, 0, *field);
        }
        let stream = self.next_stream();
        self.send_frame(HEADERS, END_HEADERS, stream, &block);
    }

    /// Opens a session, which the server may refuse.
    pub(super) fn open(&mut self) {
        self.request(&CONNECT);
    }

    /// Takes the ID of a new stream.
    pub(super) fn next_stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// The stream with this number among those that were begun. The one after the last is a new one.
    pub(super) fn stream(&self, number: u8) -> u32 {
        (u32::from(number) * 2 + 1) % (self.next + 2)
    }

    /// Receives what is there, and checks each frame.
    pub(super) fn receive(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.socket.try_read(&mut buffer) {
            self.received.extend(&buffer[..count]);
        }
        if self.received.starts_with(b"HTTP/1.1 ") {
            // An answer to something that is no HTTP/2.
            return;
        }
        while let Some(frame) = Frame::take(&mut self.received) {
            self.on_frame(frame);
        }
    }

    fn on_frame(&mut self, frame: Frame) {
        assert!(frame.payload.len() <= MAX_FRAME_SIZE, "a frame is not too large");
        match frame.kind {
            DATA | HEADERS => self.on_response(frame),
            SETTINGS if frame.flags & ACK == 0 => self.answer(SETTINGS, &[]),
            PING if frame.flags & ACK == 0 => self.answer(PING, &frame.payload),
            _ => {}
        }
    }

    fn answer(&mut self, kind: u8, payload: &[u8]) {
        if self.is_answering {
            self.send_frame(kind, ACK, 0, payload);
        }
    }

    fn on_response(&mut self, frame: Frame) {
        let Frame { stream: id, flags, kind, .. } = frame;
        assert!(id % 2 == 1, "a server opens no streams");
        let is_first = !self.streams.contains_key(&id);
        assert_eq!(kind == HEADERS, is_first, "a response begins with its headers: {frame:?}");
        let stream = self.streams.entry(id).or_default();
        assert!(!stream.has_ended, "nothing follows the end of a stream: {frame:?}");
        stream.has_ended = flags & END_STREAM != 0;
        if kind == HEADERS {
            stream.is_session = frame.is_success();
            return;
        }
        stream.data.extend(&frame.payload);
        self.data += frame.payload.len() as u64;
        assert!(self.data <= self.window, "the server respects the window of the connection");
        if self.is_answering && !frame.payload.is_empty() {
            let count = (frame.payload.len() as u32).to_be_bytes();
            self.send_frame(WINDOW_UPDATE, 0, 0, &count);
            self.send_frame(WINDOW_UPDATE, 0, id, &count);
        }
    }

    /// The number of handshakes that were answered with 200.
    pub(super) fn successes(&self) -> usize {
        self.streams.values().filter(|stream| stream.is_session).count()
    }

    /// Checks the WebSocket frames of all sessions.
    pub(super) fn check(&self) {
        for stream in self.streams.values().filter(|stream| stream.is_session) {
            let (frames, rest) = parse(&stream.data);
            if let Some(place) = frames.iter().position(|frame| frame.opcode == 8) {
                assert_eq!(
                    place + 1,
                    frames.len(),
                    "no frame follows a Close frame: {frames:02x?}"
                );
                assert!(rest.is_empty(), "no frame follows a Close frame: {frames:02x?}");
            }
            assert!(!stream.has_ended || rest.is_empty(), "the last frame is whole: {rest:02x?}");
        }
    }
}
