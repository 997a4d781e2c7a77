//! Shared by the tests of the doctor: the server in this process, and gateways in front of it that lose,
//! change, delay or cut what they forward.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::ffi::OsString;
use std::future::{self, Future};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use doctor::{Finding, Options, Report, Severity};
use server::transport::Discard;
use server::{Command, Config, HandedOver, InheritedSockets, Listeners};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A server that runs until the process of the test ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts a server that pings three times a second, with these further flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let usual = [
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--connection-table=true",
            "--ping-interval-secs=0.3",
        ];
        let flags = usual.iter().chain(flags).map(OsString::from);
        let Command::Serve(settings, _) = Command::parse(flags, []).unwrap() else { panic!() };
        let config = Config::check(settings, 20_000).unwrap();
        let has_tls = config.tls.is_some();
        let (send, receive) = mpsc::channel();
        // The server's own future is not `Send`.
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (inherited, handed_over) = (InheritedSockets::default(), HandedOver::default());
                let listeners =
                    Listeners::bind(&config.listen, has_tls, inherited, handed_over).unwrap();
                let admin = listeners.admin_address().unwrap().parse().unwrap();
                send.send((listeners.ports()[0], admin)).unwrap();
                let server = server::Server::status(Discard);
                server::run(config.fixed(), listeners, server, future::pending()).await
            })
        });
        let (address, admin) = receive.recv().unwrap();
        Self { address, admin }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The option that names its admin listener.
    pub(crate) fn admin_option(&self) -> String {
        format!("--admin=http://{}", self.admin)
    }
}

/// Examines a URL with a second for each step.
pub(crate) async fn examine(url: &str, options: &[&str]) -> Report {
    let usual = [url, "--timeout-secs=1", "--interval-secs=0.3"];
    let arguments = usual.iter().chain(options).map(OsString::from);
    let options = Options::from_arguments(arguments).unwrap();
    doctor::examine(&options, &|_| {}).await
}

/// The one finding with this word.
pub(crate) fn finding<'a>(report: &'a Report, word: &str) -> &'a Finding {
    let mut found = report.findings.iter().filter(|it| it.word == word);
    let first = found.next().unwrap_or_else(|| panic!("no {word} in:\n{}", report.text()));
    assert!(found.next().is_none(), "{word} twice in:\n{}", report.text());
    first
}

/// Expects this failure or warning and no other one, and that its lines contain a text.
pub(crate) fn expect_only(report: &Report, severity: Severity, word: &str, line: &str) {
    let it = finding(report, word);
    assert_eq!(it.severity, severity, "{}", report.text());
    let worse = report.findings.iter().filter(|it| it.severity > Severity::Note);
    let worse: Vec<&str> = worse.map(|it| it.word).collect();
    assert_eq!(worse, [word], "{}", report.text());
    let lines = report.remedies(it);
    assert!(lines.iter().any(|(_, text)| text.contains(line)), "{line} in {lines:?}");
}

/// Expects nothing worse than a note.
pub(crate) fn expect_healthy(report: &Report) {
    assert!(report.severity() <= Severity::Note, "{}", report.text());
}

/// Serves each connection with this function; returns the URL.
pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
    connection: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream));
        }
    });
    url
}

/// Answers every request with these bytes, and closes.
pub(crate) async fn answering(answer: &'static str) -> String {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// Reads up to the end of a head; `None` if the client has closed.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// What a gateway does with the connections that it forwards.
#[derive(Clone, Copy)]
pub(crate) struct Gateway {
    /// Changes the head of the request.
    pub(crate) request: fn(&str) -> String,
    /// What it does with bytes for the server, and with bytes for the client.
    pub(crate) forth: Flow,
    pub(crate) back: Flow,
    /// It cuts a connection without traffic after this time.
    pub(crate) idle: Option<Duration>,
    /// It cuts every connection after this time.
    pub(crate) total: Option<Duration>,
}

/// How bytes are forwarded, after the head of a request or of a response.
#[derive(Clone, Copy)]
pub(crate) enum Flow {
    AtOnce,
    /// After this time.
    Late(Duration),
    /// When so many bytes are there.
    Collected(usize),
    /// Never, if these are the first bytes of a read.
    Without(&'static [u8]),
}

impl Gateway {
    pub(crate) const PLAIN: Self = Self {
        request: str::to_owned,
        forth: Flow::AtOnce,
        back: Flow::AtOnce,
        idle: None,
        total: None,
    };

    /// Starts it in front of a server; returns the URL.
    pub(crate) async fn start(self, server: SocketAddr) -> String {
        serve(move |client| self.forward(client, server)).await
    }

    /// Forwards one connection.
    pub(crate) async fn forward(
        self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        server: SocketAddr,
    ) {
        let Some(head) = read_head(&mut client).await else { return };
        let Ok(mut upstream) = TcpStream::connect(server).await else { return };
        upstream.write_all((self.request)(&head).as_bytes()).await.unwrap();
        let Some(head) = read_head(&mut upstream).await else { return };
        let _ = client.write_all(head.as_bytes()).await;
        let (client_reader, client_writer) = split(client);
        let (server_reader, server_writer) = split(upstream);
        let until = Instant::now() + self.total.unwrap_or(Duration::from_secs(60));
        tokio::select! {
            () = self.forth.pump(client_reader, server_writer, self.idle) => {}
            () = self.back.pump(server_reader, client_writer, self.idle) => {}
            () = sleep_until(until) => {}
        }
    }
}

impl Flow {
    async fn pump(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        idle: Option<Duration>,
    ) {
        let mut kept = Vec::new();
        let mut buffer = [0; 4096];
        let idle = idle.unwrap_or(Duration::from_secs(60));
        loop {
            let Ok(Ok(count @ 1..)) = timeout(idle, from.read(&mut buffer)).await else { return };
            kept.extend(&buffer[..count]);
            match self {
                Self::AtOnce => {}
                Self::Late(delay) => sleep(delay).await,
                Self::Collected(size) if kept.len() < size => continue,
                Self::Collected(_) => {}
                Self::Without(prefix) => {
                    if kept.starts_with(prefix) {
                        kept.clear();
                    }
                }
            }
            if to.write_all(&kept).await.is_err() {
                return;
            }
            kept.clear();
        }
    }
}
