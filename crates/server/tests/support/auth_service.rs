//! A service that authenticates clients: HTTP/1.1 on blocking sockets, with a thread for each connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A response without a body.
pub(crate) const ADMIT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A connection of the service.
pub(crate) trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// What the service does with a request whose head it has read. It returns whether it reads another.
type Behaviour = dyn Fn(&str, &mut dyn Connection) -> bool + Send + Sync;

/// A running service. Its threads end with the test process.
pub(crate) struct AuthService {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    behaviour: Box<Behaviour>,
    /// The heads of all requests.
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// Requests being answered, and the highest number of them.
    current: AtomicUsize,
    highest: AtomicUsize,
}

impl State {
    fn new(
        behaviour: impl Fn(&str, &mut dyn Connection) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Box::new(behaviour),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            current: AtomicUsize::new(0),
            highest: AtomicUsize::new(0),
        })
    }

    /// Answers the requests of a connection in a thread of its own.
    fn serve(self: &Arc<Self>, mut connection: impl Connection + Send + 'static) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(self);
        thread::spawn(move || {
            while let Some(head) = read_head(&mut connection) {
                state.requests.lock().unwrap().push(head.clone());
                let current = state.current.fetch_add(1, Ordering::SeqCst) + 1;
                state.highest.fetch_max(current, Ordering::SeqCst);
                let stays_open = (state.behaviour)(&head, &mut connection);
                state.current.fetch_sub(1, Ordering::SeqCst);
                if !stays_open {
                    return;
                }
            }
        });
    }
}

impl AuthService {
    /// Starts a service that answers with the text that this function returns for a request's head.
    pub(crate) fn answering<T: AsRef<str>>(
        answer: impl Fn(&str) -> T + Send + Sync + 'static,
    ) -> Self {
        Self::behaving(move |head, connection| {
            connection.write_all(answer(head).as_ref().as_bytes()).is_ok()
        })
    }

    /// Starts a service that does this for each request.
    pub(crate) fn behaving(
        behaviour: impl Fn(&str, &mut dyn Connection) -> bool + Send + Sync + 'static,
    ) -> Self {
        let state = State::new(behaviour);
        let (listener, port) = listen();
        let serving = Arc::clone(&state);
        thread::spawn(move || listener.incoming().flatten().for_each(|it| serving.serve(it)));
        Self { url: format!("http://127.0.0.1:{port}/auth?x=1"), state }
    }

    /// Starts a service that admits everybody, on a Unix socket.
    pub(crate) fn on_unix_socket(path: &Path) -> Self {
        let state = State::new(|_, connection| connection.write_all(ADMIT.as_bytes()).is_ok());
        let listener = UnixListener::bind(path).unwrap();
        let serving = Arc::clone(&state);
        thread::spawn(move || listener.incoming().flatten().for_each(|it| serving.serve(it)));
        Self { url: format!("unix:{}:/auth", path.display()), state }
    }

    /// Starts a service that admits everybody, over TLS with this certificate and key in PEM.
    pub(crate) fn with_tls(cert: &str, key: &str) -> Self {
        let config = tls_config(cert, key);
        let state = State::new(|_, connection| connection.write_all(ADMIT.as_bytes()).is_ok());
        let (listener, port) = listen();
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                serving.serve(StreamOwned::new(tls, stream));
            }
        });
        Self { url: format!("https://localhost:{port}/auth"), state }
    }

    /// The flag that makes a server ask this service.
    pub(crate) fn flag(&self) -> String {
        format!("--auth-url={}", self.url)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The highest number of requests that were being answered at the same time.
    pub(crate) fn highest(&self) -> usize {
        self.state.highest.load(Ordering::SeqCst)
    }
}

/// The configuration of a server with this certificate and key in PEM.
pub(crate) fn tls_config(cert: &str, key: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    Arc::new(config)
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Reads a head, or returns `None` at the end of the connection.
pub(crate) fn read_head(connection: &mut dyn Connection) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(String::from_utf8(head).unwrap())
}
