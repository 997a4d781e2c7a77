//! The whole server in a runtime of one thread, whose time only this file moves.
//!
//! Sockets are real, and their events come at no virtual time. So nothing here waits: the client lets
//! the tasks of the server run until they have nothing left to do, and then moves the time itself.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use server::{Command, Config, HandedOver, InheritedSockets, Listeners, Server, ShutdownSummary};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::advance;
use transport::{Handler, Message, Next};

/// The limit of sessions and connections together.
pub(super) const MAX_CONNECTIONS: usize = 3;

/// Rounds of all ready tasks after which the server has nothing left to do. A connection passes from
/// task to task, and each waits for an event of its socket.
const ROUNDS: usize = 24;

/// Settings that all variants have.
const FLAGS: &[&str] = &[
    "--max-connections=3",
    "--http2-max-streams=4",
    "--allowed-origins=https://a.example",
    "--connection-table=true",
    "--handshake-timeout-secs=5",
];

/// Settings of which a variant has some.
const OPTIONS: [&[&str]; 3] = [
    &[
        "--trusted-proxies=unix",
        "--forwarded-header=x-forwarded-for",
        "--max-connections-per-address=2",
    ],
    &["--compression=shared"],
    &["--visible-refusals=true"],
];

/// How many variants of the settings there are.
pub(super) const VARIANTS: usize = 1 << OPTIONS.len();

/// The checked settings of each variant. To parse them takes longer than a run.
static CONFIGS: LazyLock<Vec<Config>> = LazyLock::new(|| (0..VARIANTS).map(config).collect());

fn config(variant: usize) -> Config {
    let chosen = OPTIONS.iter().enumerate().filter(|(index, _)| variant >> index & 1 == 1);
    let flags = FLAGS.iter().chain(chosen.flat_map(|(_, flags)| *flags)).map(OsString::from);
    let Ok(Command::Serve(settings, _)) = Command::parse(flags, []) else {
        panic!("the flags are valid")
    };
    Config::check(settings, 1024).expect("the settings are valid")
}

/// A handler that echoes. Each clone holds a reference, by which the living ones are counted.
#[derive(Clone)]
struct Echo {
    queue: VecDeque<Message>,
    _living: Arc<()>,
}

impl Handler for Echo {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.queue.pop_front().map_or(Poll::Pending, |message| Poll::Ready(Next::Send(message)))
    }

    fn receive(&mut self, message: Message) {
        self.queue.push_back(message);
    }
}

/// A server that runs beside its client.
pub(super) struct RunningServer {
    path: PathBuf,
    living: Arc<()>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<ShutdownSummary>,
}

/// Runs a client and its server.
pub(super) fn block_on(client: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    // Each round looks for events of the sockets, after the tasks that are ready.
    let runtime = builder.enable_all().start_paused(true).event_interval(8).build();
    runtime.expect("a runtime").block_on(async {
        // Rust's own `main` ignores SIGPIPE, and that of the fuzzer does not.
        let _broken_pipes = signal(SignalKind::pipe()).expect("a signal can be handled");
        LocalSet::new().run_until(client).await;
    });
}

impl RunningServer {
    pub(super) fn start(variant: usize) -> Self {
        let name = format!("fuzz-http2-{}.sock", process::id());
        let path = env::temp_dir().join(name);
        let mut config = CONFIGS[variant % VARIANTS].clone();
        let address = format!("unix:{}", path.display());
        config.listen.addresses = vec![address.parse().expect("a path is an address")];
        let (inherited, handed_over) = (InheritedSockets::default(), HandedOver::default());
        let listeners = Listeners::bind(&config.listen, false, inherited, handed_over);
        let listeners = listeners.expect("the socket can be bound");

        let living = Arc::new(());
        let echo = Echo { queue: VecDeque::new(), _living: Arc::clone(&living) };
        let (stop, stopped) = oneshot::channel();
        let signal = async { stopped.await.unwrap_or_default() };
        let run = server::run(config.fixed(), listeners, Server::status(echo), signal);
        Self { path, living, stop, task: spawn_local(run) }
    }

    pub(super) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.expect("the server accepts")
    }

    /// The number of handlers, one for each session, beside the one that the server clones.
    pub(super) fn sessions(&self) -> usize {
        Arc::strong_count(&self.living).saturating_sub(2)
    }

    /// Ends the server, and returns what it says of its end.
    pub(super) async fn stop(self) -> ShutdownSummary {
        let Self { stop, task, .. } = self;
        stop.send(()).expect("the server runs");
        // Longer than the grace period.
        for _ in 0..20 {
            settle().await;
            if task.is_finished() {
                break;
            }
            advance(Duration::from_secs(1)).await;
        }
        assert!(task.is_finished(), "a shutdown ends");
        task.await.expect("the server does not panic")
    }
}

/// Lets all tasks run until they have nothing left to do.
pub(super) async fn settle() {
    for _ in 0..ROUNDS {
        yield_now().await;
    }
}
