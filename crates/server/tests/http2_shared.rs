//! An HTTP/2 connection of a trusted proxy: many clients share it, and none of them ends it.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::server::Server;

const PROXY: &[&str] = &["--trusted-proxies", "127.0.0.1", "--forwarded-header", "x-forwarded-for"];

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// More than what is taken for an attack where a connection is one client's.
const MANY: u32 = 300;

#[test]
fn clients_behind_a_proxy_that_come_and_go_do_not_end_the_sessions_of_others() {
    let server = Server::start(PROXY);
    let mut proxy = Http2::with_session(&server);
    for stream in (3..).step_by(2).take(MANY.try_into().unwrap()) {
        proxy.send(HEADERS, stream, &head("/ws/status"));
        proxy.send(RST_STREAM, stream, &[0, 0, 0, 8]);
    }
    proxy.expect_session();
}

#[test]
fn what_http2_refuses_and_a_proxy_passes_on_does_not_end_the_sessions_of_others() {
    let server = Server::start(PROXY);
    let mut proxy = Http2::with_session(&server);
    for stream in (3..).step_by(2).take(MANY.try_into().unwrap()) {
        proxy.send(HEADERS, stream, &head("/ws/status?<"));
        let answer = proxy.next(stream).unwrap();
        // `:status: 400`
        assert_eq!((answer.0, answer.1[0]), (HEADERS, 0x8c));
    }
    proxy.expect_session();
}

#[test]
fn a_client_of_its_own_is_held_to_more() {
    let server = Server::start(&[]);
    let mut client = Http2::with_session(&server);
    for stream in (3..).step_by(2).take(MANY.try_into().unwrap()) {
        // It may have been cut off.
        let _ = client.stream.write_all(&frame(HEADERS, stream, &head("/ws/status?<")));
    }
    // It is taken leave of (NO_ERROR), and goes on all the same (ENHANCE_YOUR_CALM).
    let goaways = std::iter::from_fn(|| client.next(0)).map(|(kind, payload)| (kind, payload[7]));
    let (mut goaways, end) = (goaways.peekable(), (GOAWAY, 11));
    while goaways.next_if_eq(&(GOAWAY, 0)).is_some() {}
    assert_eq!(goaways.next(), Some(end));
}

/// One side of a connection, in frames.
struct Http2 {
    stream: TcpStream,
}

impl Http2 {
    /// A connection with a session on stream 1.
    fn with_session(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut http2 = Self { stream };
        http2.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        http2.send(SETTINGS, 0, &[]);
        http2.send(HEADERS, 1, &head("/ws/status"));
        let answer = http2.next(1).unwrap();
        // A name and a value of the static table: `:status: 200` (RFC 7541, appendix A).
        assert_eq!((answer.0, answer.1[0]), (HEADERS, 0x88));
        http2
    }

    fn send(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, stream, payload)).unwrap();
    }

    /// The next frame of a stream that is no answer to settings, or the end.
    fn next(&mut self, wanted: u32) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length.try_into().unwrap()];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let is_of_streams = matches!(head[3], DATA | HEADERS | RST_STREAM | GOAWAY);
            if stream == wanted && is_of_streams {
                return Some((head[3], payload));
            }
        }
    }

    /// That the session on stream 1 answers.
    fn expect_session(&mut self) {
        // A ping with a mask and nothing else, and its pong.
        self.send(DATA, 1, b"\x89\x80mask");
        assert_eq!(self.next(1), Some((DATA, b"\x8a\0".to_vec())));
    }
}

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    const END_HEADERS: u8 = 4;
    let flags = if kind == HEADERS { END_HEADERS } else { 0 };
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An extended CONNECT, in literals without an index (RFC 7541, section 6.2.2).
fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("sec-websocket-version", "13"),
        ("x-forwarded-for", "198.51.100.7"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
