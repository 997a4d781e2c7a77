//! Sessions over each protocol: HTTP/1.1 and HTTP/2, in plaintext and over TLS.
//!
//! A session looks the same over each of them: frames in both directions, each side ends its own, and an
//! orderly end reads as the end of the stream. Any other end is an error: a reset TCP connection, a TLS
//! connection without `close_notify` (RFC 8446, section 6.1), or a reset stream (RFC 8441, section 5).

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use transport::{Admit, Discard};

use super::http2::Http2;
use super::raw_http2::{CONNECT, Frame, HEADER_TABLE_SIZE, HEADERS, PREFACE, headers, settings};
use super::server::Server;
use super::{Client, UPGRADE, upgrade_with};

/// The protocol of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

/// A session over any protocol.
pub(crate) type Session = Client<Box<dyn SessionStream>>;

/// The stream that carries the frames of a session.
pub(crate) trait SessionStream: Read + Write + Send {
    /// Ends the client's side in order. The server's side stays open.
    fn end(&mut self);

    /// Resets the stream, at once or when this is dropped.
    fn reset(&mut self);

    /// Grants the server a large flow-control window, where the protocol has one.
    fn open_windows(&mut self) {}

    /// Opens another session on the same connection, where the protocol allows it. The last one has
    /// ended.
    fn reopen(&mut self) -> bool {
        false
    }

    /// Returns the TCP socket.
    fn socket(&self) -> &TcpStream;
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2, Self::Http2Tls];

    /// Opens a session at a server of [`start`].
    pub(crate) fn open(self, server: &Server) -> Session {
        self.try_open(server).expect("the session is accepted")
    }

    /// Opens a session, or returns `None` if the server is full.
    pub(crate) fn try_open(self, server: &Server) -> Option<Session> {
        self.open_by(Client::connect, server)
    }

    /// Opens a session whose client has the smallest receive buffer.
    pub(crate) fn open_with_small_buffer(self, server: &Server) -> Session {
        self.open_by(Client::connect_with_small_buffer, server).expect("the session is accepted")
    }

    /// Sends a handshake with more header fields, in lower case. Returns the status.
    pub(crate) fn handshake(self, server: &Server, fields: &[(&str, &str)]) -> u16 {
        let plain = || Client::connect(server.address).0;
        let encrypted = |alpn| {
            let address = server.second_address.expect("the server has a TLS listener");
            encrypted(Client::connect(address).0, alpn)
        };
        match self {
            Self::Http1 => Client(plain()).request(&upgrade_with(fields)).0,
            Self::Http1Tls => Client(encrypted(b"http/1.1")).request(&upgrade_with(fields)).0,
            Self::Http2 => handshake_over_http2(plain(), fields),
            Self::Http2Tls => handshake_over_http2(encrypted(b"h2"), fields),
        }
    }

    fn open_by(self, connect: fn(SocketAddr) -> Client, server: &Server) -> Option<Session> {
        let plain = || connect(server.address).0;
        let encrypted = |alpn| {
            let address = server.second_address.expect("the server has a TLS listener");
            encrypted(connect(address).0, alpn)
        };
        match self {
            Self::Http1 => upgraded(plain()),
            Self::Http1Tls => upgraded(encrypted(b"http/1.1")),
            Self::Http2 => Http2::open(plain()).map(session),
            Self::Http2Tls => Http2::open(encrypted(b"h2")).map(session),
        }
    }
}

/// Opens a session over each protocol.
pub(crate) fn open_all(server: &Server) -> [(Protocol, Session); 4] {
    Protocol::ALL.map(|protocol| (protocol, protocol.open(server)))
}

/// Starts a server with a plaintext listener and a TLS listener.
pub(crate) fn start(flags: &[&str]) -> Server {
    start_with(Discard, flags)
}

/// Starts such a server with one endpoint.
pub(crate) fn start_with(admit: impl Admit + 'static, flags: &[&str]) -> Server {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("protocols-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, &IDENTITY.pem).unwrap();
    let listen = "--listen=127.0.0.1:0,tls:127.0.0.1:0";
    let [cert, key] = ["cert", "key"].map(|it| format!("--tls-{it}-file={}", file.display()));
    let server = Server::start_with(admit, &[&[listen, &cert, &key], flags].concat());
    fs::remove_file(file).unwrap();
    server
}

/// The certificate of the server, and a client that trusts it.
struct Identity {
    /// The certificate and its key.
    pem: String,
    client_config: ClientConfig,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let client_config = builder.with_root_certificates(roots).with_no_client_auth();
    Identity { pem: cert.pem() + &signing_key.serialize_pem(), client_config }
});

fn encrypted(stream: TcpStream, alpn: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut config = IDENTITY.client_config.clone();
    config.alpn_protocols = vec![alpn.to_vec()];
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
    StreamOwned::new(connection.unwrap(), stream)
}

fn upgraded(stream: impl SessionStream + 'static) -> Option<Session> {
    let mut client = session(stream);
    let (status, head, _) = client.request(UPGRADE);
    assert!([101, 503].contains(&status), "{head}");
    (status == 101).then_some(client)
}

fn handshake_over_http2(stream: impl Read + Write, fields: &[(&str, &str)]) -> u16 {
    let mut client = Client(stream);
    client.send(PREFACE);
    client.send(&settings(&[(HEADER_TABLE_SIZE, 0)]));
    client.send(&headers(1, &[CONNECT, fields].concat()));
    loop {
        let head = client.bytes(9);
        let [a, b, c, kind, flags, d, e, f, g] = head[..] else { panic!() };
        let payload = client.bytes(u32::from_be_bytes([0, a, b, c]).try_into().unwrap());
        let frame = Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload };
        if frame.is(HEADERS, 1) {
            return frame.status();
        }
    }
}

fn session(stream: impl SessionStream + 'static) -> Session {
    Client(Box::new(stream))
}

/// Makes the system reset the connection when the socket is closed.
fn reset_when_closed(socket: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}

impl SessionStream for TcpStream {
    fn end(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(&mut self) {
        reset_when_closed(self);
    }

    fn socket(&self) -> &TcpStream {
        self
    }
}

impl SessionStream for StreamOwned<ClientConnection, TcpStream> {
    fn end(&mut self) {
        self.conn.send_close_notify();
        self.flush().unwrap();
    }

    fn reset(&mut self) {
        reset_when_closed(&self.sock);
    }

    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}
