//! The real server in the test process, on free ports.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broadcast::Publisher;
use server::{Command, Config, HandedOver, InheritedSockets, Listeners, ShutdownSummary};
use tokio::sync::oneshot;

use super::TEST_TIMEOUT;

/// A server that sends its clients the latest published state.
pub(crate) struct Server {
    pub(crate) publisher: Publisher,
    address: SocketAddr,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<ShutdownSummary>,
}

impl Server {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let flags = ports.iter().chain(flags).map(OsString::from);
        let Command::Serve(settings, _) = Command::parse(flags, []).unwrap() else { panic!() };
        let config = Config::check(settings, 20_000).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listeners = runtime
            .block_on(async {
                let (inherited, handed_over) = (InheritedSockets::default(), HandedOver::default());
                Listeners::bind(&config.listen, config.tls.is_some(), inherited, handed_over)
            })
            .unwrap();
        let address = listeners.ports()[0];
        let admin = listeners.admin_address().unwrap().parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let publisher = Publisher::new();
        let server = server::Server::status(publisher.subscribe());
        let thread = thread::spawn(move || {
            let shutdown = async { stopped.await.unwrap_or_default() };
            runtime.block_on(server::run(config.fixed(), listeners, server, shutdown))
        });
        Self { publisher, address, admin, stop, thread }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Waits until a sample of the server's metrics is at least `least`.
    pub(crate) fn wait_for(&self, sample: &str, least: f64) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.metric(sample) < least {
            assert!(Instant::now() < deadline, "{sample} does not reach {least}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Shuts the server down.
    pub(crate) fn stop(self) -> ShutdownSummary {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }

    fn metric(&self, sample: &str) -> f64 {
        let mut admin = TcpStream::connect(self.admin).unwrap();
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(&format!("{sample} ")));
        value.unwrap_or_else(|| panic!("{sample} is not in {answer}")).parse().unwrap()
    }
}
