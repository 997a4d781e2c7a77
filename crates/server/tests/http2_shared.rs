//! An HTTP/2 connection of a trusted proxy: no client ends the sessions of the others that share it.
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

/// Frame types (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// More requests than a client with its own connection may send.
const MANY: u32 = 300;

#[test]
fn resets_of_clients_behind_a_proxy_do_not_end_other_sessions() {
    let server = Server::start(PROXY);
    let mut proxy = Http2::with_session(&server);
    for stream in (3..).step_by(2).take(MANY.try_into().unwrap()) {
        proxy.send(HEADERS, stream, &head("/ws/status"));
        proxy.send(RST_STREAM, stream, &[0, 0, 0, 8]);
    }
    proxy.expect_session();
}

#[test]
fn malformed_requests_that_a_proxy_forwards_do_not_end_other_sessions() {
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
fn a_client_with_its_own_connection_has_stricter_limits() {
    let server = Server::start(&[]);
    let mut client = Http2::with_session(&server);
    for stream in (3..).step_by(2).take(MANY.try_into().unwrap()) {
        // The server may have closed the connection.
        let _ = client.stream.write_all(&frame(HEADERS, stream, &head("/ws/status?<")));
    }
    // The graceful GOAWAY (NO_ERROR) is followed by ENHANCE_YOUR_CALM, since the client goes on.
    let goaways = std::iter::from_fn(|| client.next(0)).map(|(kind, payload)| (kind, payload[7]));
    let (mut goaways, end) = (goaways.peekable(), (GOAWAY, 11));
    while goaways.next_if_eq(&(GOAWAY, 0)).is_some() {}
    assert_eq!(goaways.next(), Some(end));
}

/// An HTTP/2 client that sends single frames.
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
        // `:status: 200` in the static table (RFC 7541, appendix A).
        assert_eq!((answer.0, answer.1[0]), (HEADERS, 0x88));
        http2
    }

    fn send(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, stream, payload)).unwrap();
    }

    /// Reads a frame of this stream; `None` is the end. Skips settings, pings and window updates.
    fn next(&mut self, wanted: u32) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length.try_into().unwrap()];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let is_relevant = matches!(head[3], DATA | HEADERS | RST_STREAM | GOAWAY);
            if stream == wanted && is_relevant {
                return Some((head[3], payload));
            }
        }
    }

    /// Expects that the session on stream 1 answers a ping.
    fn expect_session(&mut self) {
        // An empty masked ping, and its pong.
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

/// An extended CONNECT as literals without indexing (RFC 7541, section 6.2.2).
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
