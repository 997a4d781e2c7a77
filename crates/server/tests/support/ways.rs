//! The ways in which a client may come, and a session by each of them.
//!
//! What a session is to a client does not depend on the way: bytes of frames go both ways, each side
//! ends its own, and an end that is in order reads as one. Any other end is an error: the reset of a
//! TCP connection, the end of one without a goodbye of TLS (RFC 8446, section 6.1), or the reset of a
//! stream (RFC 8441, section 5).

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
use transport::{Discard, Handler};

use super::http2::Http2;
use super::server::Server;
use super::{Client, UPGRADE};

/// How a client comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

/// A session, whichever way it came.
pub(crate) type Session = Client<Box<dyn Wire>>;

/// What carries the bytes of a session.
pub(crate) trait Wire: Read + Write + Send {
    /// Ends our side, in order. The server's is still read.
    fn end(&mut self);

    /// Ends both sides by a reset, at once or when this is dropped.
    fn reset(&mut self);

    /// Lets the server send far more than anybody keeps, if it needs leave for that.
    fn welcome_all(&mut self) {}

    /// Opens another session on the same connection when one has ended, where there may be more.
    fn reopen(&mut self) -> bool {
        false
    }

    /// The socket beneath.
    fn socket(&self) -> &TcpStream;
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2, Self::Http2Tls];

    /// A session that is open, of a server that was started here.
    pub(crate) fn open(self, server: &Server) -> Session {
        self.try_open(server).expect("it is not refused")
    }

    /// The same, or nothing if there is no place for it.
    pub(crate) fn try_open(self, server: &Server) -> Option<Session> {
        self.open_by(Client::connect, server)
    }

    /// The same by a client whose system keeps as little as it may.
    pub(crate) fn open_narrow(self, server: &Server) -> Session {
        self.open_by(Client::connect_narrow, server).expect("it is not refused")
    }

    fn open_by(self, connect: fn(SocketAddr) -> Client, server: &Server) -> Option<Session> {
        let plain = || connect(server.address).0;
        let encrypted = |protocol| {
            let address = server.encrypted.expect("it was started with every way");
            encrypted(connect(address).0, protocol)
        };
        match self {
            Self::Http1 => upgraded(plain()),
            Self::Http1Tls => upgraded(encrypted(b"http/1.1")),
            Self::Http2 => Http2::open(plain()).map(session),
            Self::Http2Tls => Http2::open(encrypted(b"h2")).map(session),
        }
    }
}

/// A session by each way.
pub(crate) fn open_all(server: &Server) -> [(Way, Session); 4] {
    Way::ALL.map(|way| (way, way.open(server)))
}

/// Starts a server to which every way leads.
pub(crate) fn start(flags: &[&str]) -> Server {
    start_with(Discard, flags)
}

/// The same with something behind the sessions.
pub(crate) fn start_with(handler: impl Handler + Clone + Sync, flags: &[&str]) -> Server {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("ways-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, &IDENTITY.pem).unwrap();
    let listen = "--listen=127.0.0.1:0,tls:127.0.0.1:0";
    let [cert, key] = ["cert", "key"].map(|it| format!("--tls-{it}-file={}", file.display()));
    let server = Server::start_with(handler, &[&[listen, &cert, &key], flags].concat());
    fs::remove_file(file).unwrap();
    server
}

/// Who the server is, and who believes it.
struct Identity {
    /// The certificate and its key.
    pem: String,
    believer: ClientConfig,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let believer = builder.with_root_certificates(roots).with_no_client_auth();
    Identity { pem: cert.pem() + &signing_key.serialize_pem(), believer }
});

fn encrypted(stream: TcpStream, protocol: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut config = IDENTITY.believer.clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
    StreamOwned::new(connection.unwrap(), stream)
}

fn upgraded(wire: impl Wire + 'static) -> Option<Session> {
    let mut client = session(wire);
    let (status, head, _) = client.request(UPGRADE);
    assert!([101, 503].contains(&status), "{head}");
    (status == 101).then_some(client)
}

fn session(wire: impl Wire + 'static) -> Session {
    Client(Box::new(wire))
}

/// Has the system end the connection by a reset.
fn reset_when_closed(socket: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}

impl Wire for TcpStream {
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

impl Wire for StreamOwned<ClientConnection, TcpStream> {
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
