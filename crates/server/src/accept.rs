//! From a port to requests: listening, accepting, and serving HTTP until the upgrade.

use std::convert::Infallible;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};
use transport::{Client, Handler, Phase, Rejection, Slot, Watch};

use crate::Router;
use crate::config::Config;
use crate::linger::{Returning, linger};
use crate::listen::BACKLOG;
use crate::slots::Slots;

/// Connections above the limit that are accepted at once, to be told so.
const REFUSED_AT_ONCE: usize = 128;

/// How long a client has to ask when it is only to be refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait when accepting fails, which is mostly for lack of files.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts connections and serves HTTP on them until they are upgraded.
#[derive(Debug)]
pub(crate) struct Acceptor<H> {
    router: Router<H>,
    slots: Slots,
    refused: Arc<Semaphore>,
    handshake_timeout: Duration,
    close_timeout: Duration,
    max_header_bytes: usize,
    max_headers: usize,
    silence_timeout: Duration,
}

impl<H: Handler + Clone + Sync> Acceptor<H> {
    pub(crate) fn new(router: Router<H>, slots: Slots, config: &Config) -> Self {
        let timing = config.policy.rules.timing;
        Self {
            router,
            slots,
            refused: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
            handshake_timeout: config.handshake_timeout,
            close_timeout: timing.close_timeout,
            max_header_bytes: config.max_header_bytes,
            max_headers: config.max_headers,
            // Behind the pings, which notice sooner; but while output is stuck there are none.
            silence_timeout: timing.ping_interval + timing.pong_timeout,
        }
    }

    /// Accepts connections until a shutdown begins.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener, mut watch: Watch) {
        let address = listener.local_addr().map(|address| address.to_string());
        info!(event = "listening", address = address.unwrap_or_default());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = watch.beyond(Phase::Serving) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let place = tokio::select! {
                        place = self.place(peer.ip()) => place,
                        _ = watch.beyond(Phase::Serving) => Place::of_nobody(),
                    };
                    self.spawn(stream, peer, place, &watch);
                }
                Err(error) => {
                    warn!(event = "accept_failed", %error);
                    sleep(BACK_OFF).await;
                }
            }
        }
        for (stream, peer) in accepted_by_the_system(listener) {
            self.spawn(stream, peer, Place::of_nobody(), &watch);
        }
    }

    /// A slot, or a place among those that are told that there is none: what is to be had first.
    async fn place(&self, address: IpAddr) -> Place {
        loop {
            let rejection = match self.slots.take(address) {
                Ok(slot) => return Place { slot: Ok(slot), refused: None },
                Err(rejection) => rejection,
            };
            if let Ok(refused) = Arc::clone(&self.refused).try_acquire_owned() {
                return Place { slot: Err(rejection), refused: Some(refused) };
            }
            tokio::select! {
                _ = self.refused.acquire() => {}
                () = self.slots.freed(), if rejection == Rejection::Full => {}
            }
        }
    }

    fn spawn(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place, watch: &Watch) {
        let Place { slot, refused } = place;
        let client = Client { peer, slot, watch: watch.clone() };
        let acceptor = Arc::clone(self);
        tokio::spawn(async move {
            acceptor.serve(stream, client).await;
            drop(refused);
        });
    }

    /// Serves HTTP until the connection is upgraded or ends. All of it has one deadline, because
    /// hyper has none for a client that does not read, or for one that never says a word.
    async fn serve(&self, stream: TcpStream, client: Client) {
        // Who is only to be refused has little time to ask, or silent clients would keep others from
        // being told.
        let most = if client.slot.is_ok() { Duration::MAX } else { REFUSAL_TIMEOUT };
        let deadline = Instant::now() + self.handshake_timeout.min(most);
        // Frames are small, and Nagle's algorithm would hold them back. If it fails, they are late.
        let _ = stream.set_nodelay(true);
        let _ = give_up_silent_peers(&stream, self.silence_timeout);

        tokio::select! {
            () = self.serve_http(stream, &client) => {}
            () = sleep_until(deadline) => {}
            () = self.shut_down(client.watch.clone()) => {}
        }
    }

    async fn serve_http(&self, stream: TcpStream, client: &Client) {
        // A client that says nothing costs a socket and not the buffers of a request, so neither
        // silence nor a storm of connections leaves the heap in pieces.
        if stream.peek(&mut [0]).await.is_err() {
            return;
        }
        let service = service_fn(|mut request| {
            let response = self.router.respond(&mut request, client);
            async { Ok::<_, Infallible>(response) }
        });
        let (stream, mut returned) = Returning::new(stream);
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(self.max_header_bytes)
            .max_headers(self.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // What goes wrong here is the client's fault, and no session has begun.
        match Box::pin(http).await {
            Err(error) if error.is_parse_too_large() => {
                self.router.refused_by_http(Rejection::HeaderTooLarge, client);
            }
            Err(error) if error.is_parse() => {
                self.router.refused_by_http(Rejection::Malformed, client);
            }
            Ok(()) | Err(_) => {}
        }
        // It comes back unless it was upgraded.
        if let Ok(stream) = returned.try_recv() {
            let _ = timeout(self.close_timeout, linger(stream)).await;
        }
    }

    /// Completes when a shutdown leaves no more time for requests.
    async fn shut_down(&self, mut watch: Watch) {
        if watch.beyond(Phase::Serving).await == Phase::Draining {
            // A request that is under way is still answered, as a session is still closed.
            let _ = timeout(self.close_timeout, watch.beyond(Phase::Draining)).await;
        }
    }
}

/// Where a connection stands among the others.
struct Place {
    slot: Result<Slot, Rejection>,
    /// Held by those that are told that there is no slot.
    refused: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// In a shutdown nobody gets a slot any more, and everybody is told so.
    fn of_nobody() -> Self {
        Self { slot: Err(Rejection::Draining), refused: None }
    }
}

/// The connections that the system has accepted and we have not. Their clients believe that they
/// are connected, so they get an answer, too.
///
/// The system is asked directly: tokio may not have heard of the latest ones yet.
fn accepted_by_the_system(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accept = || {
        let (stream, peer) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    };
    // Not for ever, or a storm of connections would keep the port open.
    iter::from_fn(accept).take(BACKLOG.into()).collect()
}

/// Lets the system end a connection whose peer acknowledges nothing for so long.
#[cfg(target_os = "linux")]
fn give_up_silent_peers(stream: &TcpStream, timeout: Duration) -> rustix::io::Result<()> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)
}

/// The same, as near as other systems come to it.
#[cfg(not(target_os = "linux"))]
fn give_up_silent_peers(stream: &TcpStream, _: Duration) -> rustix::io::Result<()> {
    rustix::net::sockopt::set_socket_keepalive(stream, true)
}
