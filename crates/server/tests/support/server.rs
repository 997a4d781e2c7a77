//! The server in this process, on a port of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use server::{Command, Config, InheritedSockets, Listeners, ShutdownSummary};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use transport::{Discard, Handler};

use super::Client;

/// A server that serves until it is told to stop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where the second listener is, which is for TLS if there is one; see [`super::ways::start`].
    pub(crate) encrypted: Option<SocketAddr>,
    /// Where the admin listener is, if it is a port.
    pub(crate) admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<ShutdownSummary>,
}

impl Server {
    /// Starts a server with these flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(Discard, flags)
    }

    /// The same with something behind the sessions.
    pub(crate) fn start_with(handler: impl Handler + Clone + Sync, flags: &[&str]) -> Self {
        Self::start_on(Builder::new_multi_thread().enable_all(), handler, flags)
    }

    /// The same on a single worker, so that whoever has something to do has done it a turn later.
    pub(crate) fn start_on_one_worker(flags: &[&str]) -> Self {
        Self::start_on(Builder::new_multi_thread().worker_threads(1).enable_all(), Discard, flags)
    }

    fn start_on(
        runtime: &mut Builder,
        handler: impl Handler + Clone + Sync,
        flags: &[&str],
    ) -> Self {
        // The last word counts.
        let flags = ["--listen", "127.0.0.1:0"].iter().chain(flags).map(OsString::from);
        let Command::Serve(mut settings) = Command::parse(flags, []).unwrap() else { panic!() };
        let config = Config::check(&mut settings, 20_000).unwrap();
        let runtime = runtime.build().unwrap();
        let listeners = runtime
            .block_on(async {
                Listeners::bind(&config.listen, config.tls.is_some(), InheritedSockets::default())
            })
            .unwrap();
        // A Unix socket has no port.
        let ports = listeners.ports();
        let address = ports.first().copied().unwrap_or(([0; 4], 0).into());
        let encrypted = ports.get(1).copied();
        let admin = listeners.admin_address().and_then(|address| address.parse().ok());
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let shutdown = async { stopped.await.unwrap_or_default() };
            runtime.block_on(server::run(config.fixed(), listeners, handler, shutdown))
        });
        Self { address, encrypted, admin, stop: Some(stop), thread }
    }

    /// A sample of the admin listener's metrics, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_, _, body) = Client::connect(self.admin.unwrap()).request(request);
        let sample = body.lines().find_map(|line| line.strip_prefix(&format!("ws_status_{name} ")));
        sample.unwrap_or_else(|| panic!("{name} is not in {body}")).parse().unwrap()
    }

    /// How many requests or connections were refused so.
    pub(crate) fn refused(&self, word: &str) -> f64 {
        self.metric(&format!("handshakes_refused_total{{refusal=\"{word}\"}}"))
    }

    /// Waits until a sample has this value, which it soon has.
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
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn stopped(self) -> ShutdownSummary {
        self.thread.join().unwrap()
    }
}
