//! What the peers written in Rust share: the command line, the port, and the end.

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
/// How long clients may take to answer a Close frame.
const GRACE: Duration = Duration::from_secs(5);
/// Longer than any peer lives.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a session needs to know. As long as one is there, the peer does not end.
#[derive(Clone)]
pub struct Session {
    ping_interval: Duration,
    stopping: watch::Receiver<()>,
}

impl Session {
    /// When to ping; the first time is one interval from now.
    #[must_use]
    pub fn pings(&self) -> Interval {
        interval_at(Instant::now() + self.ping_interval, self.ping_interval)
    }

    /// Waits until it is time to say goodbye.
    pub async fn stopping(&mut self) {
        // If nobody is left to tell it, it is time as well.
        let _ = self.stopping.changed().await;
    }
}

/// How all sessions are told to end.
pub struct Stop(watch::Sender<()>);

impl Stop {
    /// Waits until every session has ended, or too long.
    pub async fn finish(self) {
        let _ = self.0.send(());
        let _ = timeout(GRACE, self.0.closed()).await;
    }
}

/// Listens as the command line says: `PEER PORT PING_INTERVAL_SECONDS`.
///
/// # Errors
///
/// What the system says, or that the command line is wrong.
pub fn start() -> io::Result<(TcpListener, Session, Stop)> {
    let mut words = env::args().skip(1);
    let (port, seconds) = (words.next(), words.next());
    let port = port.and_then(|word| word.parse().ok());
    let seconds = seconds.and_then(|word| word.parse().ok());
    let (Some(port), Some(seconds)) = (port, seconds) else {
        return Err(io::Error::other("usage: PEER PORT PING_INTERVAL_SECONDS"));
    };
    let ping_interval = if seconds == 0 { NEVER } else { Duration::from_secs(seconds) };

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
/// The system lets nobody wait for it.
pub async fn terminated() {
    signal(SignalKind::terminate()).expect("SIGTERM can be waited for").recv().await;
}

/// For a library that has no accept loop: serves each connection in a task of its own until
/// SIGTERM, and then waits for them.
///
/// # Errors
///
/// What the system says, or that the command line is wrong.
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
