//! Shared by the tests of the server: a client that sends raw bytes over a socket, and the documents.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

#[path = "../../../transport/tests/support/frames.rs"]
mod frames;

pub(crate) use frames::*;

pub(crate) mod admin;
pub(crate) mod auth_service;
pub(crate) mod client_addr;
pub(crate) mod flooding_handler;
pub(crate) mod gatekeeper;
pub(crate) mod handover;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod protocols;
pub(crate) mod publisher;
pub(crate) mod raw_handover;
pub(crate) mod raw_http2;
pub(crate) mod server;
pub(crate) mod tls;

/// A valid handshake request.
pub(crate) const UPGRADE: &str = "GET /ws/status HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A valid handshake request with more header fields.
pub(crate) fn upgrade_with(fields: &[(&str, &str)]) -> String {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    UPGRADE.replace("Host: a\r\n", &format!("Host: a\r\n{lines}"))
}

/// A client on a blocking socket, or on a stream over one, with timeouts of ten seconds.
pub(crate) struct Client<S = TcpStream>(pub(crate) S);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects from another address of this machine.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(source, 0)).unwrap();
        connect(&socket, &address).unwrap();
        Self::over(socket.into())
    }

    /// Connects with the smallest receive buffer.
    pub(crate) fn connect_with_small_buffer(address: SocketAddr) -> Self {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Before connecting: the handshake fixes the window scale.
        sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        connect(&socket, &address).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects and opens a session.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        let (status, head, _) = client.request(UPGRADE);
        assert_eq!(status, 101, "{head}");
        client
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends a request and returns the status, the head and the body of the response.
    pub(crate) fn request(&mut self, request: &str) -> (u16, String, String) {
        self.send(request.as_bytes());
        self.response()
    }

    pub(crate) fn response(&mut self) -> (u16, String, String) {
        let (status, head) = self.head();
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = String::from_utf8(self.bytes(length)).unwrap();
        (status, head, body)
    }

    /// Reads a response head: the status, and the head in lower case.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.bytes(1)[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
    }

    /// Reads a frame: its first byte and its payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2);
        let length = match head[1] {
            126 => u16::from_be_bytes(self.bytes(2).try_into().unwrap()).into(),
            127 => panic!("the server sends no frame of this length"),
            short => short.into(),
        };
        (head[0], self.bytes(length))
    }

    /// Expects the Close frame of a drain, answers it, and expects the end.
    pub(crate) fn answer_drain(&mut self) {
        assert_eq!(self.frame(), (CLOSE, close_payload(1001, "drained")));
        self.send(&close(1001, ""));
        self.expect_end();
    }

    /// Expects an orderly end of the stream.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }

    /// Expects the end of the stream or a reset, with no bytes before it.
    pub(crate) fn expect_disconnect(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// The value of a header in a head that is in lower case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.starts_with(&format!("{name}:")))?;
    line.split_once(": ").map(|(_, value)| value)
}

/// Reads a file of the documents.
pub(crate) fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the first table below a heading, without the header row.
pub(crate) fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// A cell without backticks.
pub(crate) fn word(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}
