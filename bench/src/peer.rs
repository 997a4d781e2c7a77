//! Shared by the peers in Rust: the command line, the listener, and the shutdown.

use std::env;
use std::io;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, interval_at, timeout};

pub const PATH: &str = "/ws/status";

const BACKLOG: u32 = 4096;
/// Time for clients to answer the Close frame.
const GRACE: Duration = Duration::from_secs(5);
/// A ping interval longer than any run.
const DISABLED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The settings of a session. The peer does not exit before every clone is dropped.
#[derive(Clone)]
pub struct Session {
    ping_interval: Duration,
    stopping: watch::Receiver<()>,
}

impl Session {
    /// Returns the ticks at which to ping, the first after one interval.
    #[must_use]
    pub fn pings(&self) -> Interval {
        interval_at(Instant::now() + self.ping_interval, self.ping_interval)
    }

    /// Waits until the peer shuts down.
    pub async fn stopping(&mut self) {
        // A dropped sender also means shutdown.
        let _ = self.stopping.changed().await;
    }
}

/// Notifies all sessions of the shutdown.
pub struct Stop(watch::Sender<()>);

impl Stop {
    /// Notifies the sessions, and waits until all have ended, for `GRACE` at most.
    pub async fn finish(self) {
        let _ = self.0.send(());
        let _ = timeout(GRACE, self.0.closed()).await;
    }
}

/// Parses the command line, `PEER PORT PING_INTERVAL_SECONDS`, and listens.
///
/// # Errors
///
/// The command line is invalid, or the port cannot be bound.
pub fn start() -> io::Result<(TcpListener, Session, Stop)> {
    let mut words = env::args().skip(1);
    let (port, seconds) = (words.next(), words.next());
    let port = port.and_then(|word| word.parse().ok());
    let seconds = seconds.and_then(|word| word.parse().ok());
    let (Some(port), Some(seconds)) = (port, seconds) else {
        return Err(io::Error::other("usage: PEER PORT PING_INTERVAL_SECONDS"));
    };
    let ping_interval = if seconds == 0 { DISABLED } else { Duration::from_secs(seconds) };

    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    let (stop, stopping) = watch::channel(());
    Ok((socket.listen(BACKLOG)?, Session { ping_interval, stopping }, Stop(stop)))
}

/// Waits for SIGTERM.
///
/// # Panics
///
/// The signal handler cannot be installed.
pub async fn terminated() {
    signal(SignalKind::terminate()).expect("the SIGTERM handler is installed").recv().await;
}

/// The accept loop for libraries that have none: serves each connection in a separate task until
/// SIGTERM, and then waits for the tasks.
///
/// # Errors
///
/// The command line is invalid, or the listener failed.
pub async fn serve<F>(connection: impl Fn(TcpStream, Session) -> F) -> io::Result<()>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (listener, session, stop) = start()?;
    let mut terminated = pin!(terminated());
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut terminated => break,
        };
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, session.clone()));
    }
    drop((listener, session));
    stop.finish().await;
    Ok(())
}
