//! The server in the test process, on its own port.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use server::{Command, Config, HandedOver, InheritedSockets, Listeners, ShutdownSummary};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use transport::{Admit, Discard};

use super::Client;

/// A server that runs until [`Server::begin_shutdown`].
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The address of the second listener, which has TLS with [`super::protocols::start`].
    pub(crate) second_address: Option<SocketAddr>,
    /// The address of the admin listener, if it is a port.
    pub(crate) admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<ShutdownSummary>,
}

impl Server {
    /// Starts a server with these flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(Discard, flags)
    }

    /// Starts a server with one endpoint.
    pub(crate) fn start_with(admit: impl Admit + 'static, flags: &[&str]) -> Self {
        Self::start_server(server::Server::status(admit), flags)
    }

    /// Starts a server with these endpoints and operations.
    pub(crate) fn start_server(server: server::Server, flags: &[&str]) -> Self {
        Self::start_on(Builder::new_multi_thread().enable_all(), server, flags)
    }

    /// Starts a server with one worker thread, so that every ready task runs before a later event.
    pub(crate) fn start_on_one_worker(flags: &[&str]) -> Self {
        let server = server::Server::status(Discard);
        Self::start_on(Builder::new_multi_thread().worker_threads(1).enable_all(), server, flags)
    }

    fn start_on(runtime: &mut Builder, server: server::Server, flags: &[&str]) -> Self {
        // A later flag replaces an earlier one.
        let flags = ["--listen", "127.0.0.1:0"].iter().chain(flags).map(OsString::from);
        let Command::Serve(settings, _) = Command::parse(flags, []).unwrap() else { panic!() };
        let config = Config::check(settings, 20_000).unwrap();
        let runtime = runtime.build().unwrap();
        let listeners = runtime
            .block_on(async {
                let (inherited, handed_over) = (InheritedSockets::default(), HandedOver::default());
                Listeners::bind(&config.listen, config.tls.is_some(), inherited, handed_over)
            })
            .unwrap();
        // A Unix socket has no port.
        let ports = listeners.ports();
        let address = ports.first().copied().unwrap_or(([0; 4], 0).into());
        let second_address = ports.get(1).copied();
        let admin = listeners.admin_address().and_then(|address| address.parse().ok());
        let (stop, stop_requested) = oneshot::channel();
        let thread = thread::spawn(move || {
            let shutdown = async { stop_requested.await.unwrap_or_default() };
            runtime.block_on(server::run(config.fixed(), listeners, server, shutdown))
        });
        Self { address, second_address, admin, stop: Some(stop), thread }
    }

    /// Reads a metric by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_, _, body) = Client::connect(self.admin.unwrap()).request(request);
        let sample = body.lines().find_map(|line| line.strip_prefix(&format!("ws_status_{name} ")));
        sample.unwrap_or_else(|| panic!("{name} is not in {body}")).parse().unwrap()
    }

    /// Reads the number of refusals of this kind.
    pub(crate) fn refused(&self, word: &str) -> f64 {
        self.metric(&format!("handshakes_refused_total{{refusal=\"{word}\"}}"))
    }

    /// Waits until a metric has this value, at most ten seconds.
    pub(crate) fn wait_for(&self, name: &str, value: f64) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let now = self.metric(name);
            if now.to_bits() == value.to_bits() {
                return;
            }
            assert!(Instant::now() < until, "{name} is {now} and not {value}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Begins the shutdown.
    pub(crate) fn begin_shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end and returns the summary.
    pub(crate) fn join(self) -> ShutdownSummary {
        self.thread.join().unwrap()
    }
}
