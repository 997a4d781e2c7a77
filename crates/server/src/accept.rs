//! Accepting connections, and HTTP on them until they are upgraded.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};
use transport::{Client, Handler, Peer, Phase, Rejection, Slot, Watch};

use crate::Router;
use crate::config::{Config, Configs};
use crate::linger::{Returning, linger};
use crate::listen::Listener;
use crate::records::Records;
use crate::shutdown::Shutdown;
use crate::slots::Slots;
use crate::stream::{Socket, Stream};

/// Connections above the limit that are accepted at once, to be told so.
const REFUSED_AT_ONCE: usize = 128;

/// Requests that a connection may bring. Each that is refused leaves a line in the log.
const MOST_ANSWERS: usize = 20;

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
    configs: Configs,
    records: Arc<Records>,
}

impl<H: Handler + Clone + Sync> Acceptor<H> {
    pub(crate) fn new(
        router: Router<H>,
        slots: Slots,
        configs: Configs,
        records: Arc<Records>,
    ) -> Self {
        let refused = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
        Self { router, slots, refused, configs, records }
    }

    /// Accepts connections until a shutdown begins.
    pub(crate) async fn accept(self: Arc<Self>, listener: Listener, shutdown: Arc<Shutdown>) {
        info!(event = "listening", address = listener.address());
        let (is_shared, watch) = (listener.is_shared, shutdown.watch());
        // Whoever has a shared socket besides us takes the next connection as soon as we leave it,
        // so we leave it at the first sign; those that we have taken are served until the drain.
        let left_to_others =
            async { if is_shared { shutdown.begun().await } else { pending().await } };
        tokio::pin!(left_to_others);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = watch.beyond(Phase::Serving) => break,
                _ = &mut left_to_others => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let place = tokio::select! {
                        place = self.place(peer) => place,
                        _ = watch.beyond(Phase::Serving) => Some(Place::of_nobody()),
                    };
                    match place {
                        Some(place) => self.spawn(socket, peer, place, &watch),
                        None => self.records.metrics.count_refusal(Rejection::AddressFull),
                    }
                }
                Err(error) => {
                    warn!(event = "accept_failed", %error);
                    self.records.metrics.count_accept_failure();
                    sleep(BACK_OFF).await;
                }
            }
        }
        if is_shared {
            return;
        }
        for (socket, peer) in listener.accepted_by_the_system() {
            self.spawn(socket, peer, Place::of_nobody(), &watch);
        }
    }

    /// A slot, or a place among those that are told that there is none: what is to be had first.
    ///
    /// Nothing, if an address has had its share and more than can be told so at once: whoever comes
    /// behind it must not wait for that.
    async fn place(&self, peer: Peer) -> Option<Place> {
        loop {
            let rejection = match self.slot(peer) {
                Ok(slot) => return Some(Place { slot: Ok(slot), refused: None }),
                Err(rejection) => rejection,
            };
            if let Ok(refused) = Arc::clone(&self.refused).try_acquire_owned() {
                return Some(Place { slot: Err(rejection), refused: Some(refused) });
            }
            if rejection == Rejection::AddressFull {
                return None;
            }
            let max = self.configs.borrow().max_connections;
            tokio::select! {
                _ = self.refused.acquire() => {}
                () = self.slots.freed(max) => {}
            }
        }
    }

    /// A slot for the peer of a socket. A proxy has many clients, and the limit of an address is for
    /// each of them, once it is known who they are.
    fn slot(&self, peer: Peer) -> Result<Slot, Rejection> {
        let config = self.configs.borrow();
        let slot = self.slots.take(config.max_connections)?;
        match peer.ip() {
            Some(address) if !config.trust.is_proxy(peer) => {
                self.slots.take_of(slot, address, config.max_connections_per_address)
            }
            Some(_) | None => Ok(slot),
        }
    }

    fn spawn(self: &Arc<Self>, socket: Socket, peer: Peer, place: Place, watch: &Watch) {
        let Place { slot, refused } = place;
        let client = Client { peer, slot, watch: watch.clone() };
        let acceptor = Arc::clone(self);
        tokio::spawn(async move {
            acceptor.serve(socket, client).await;
            drop(refused);
        });
    }

    /// Serves HTTP until the connection is upgraded or ends. All of it has one deadline, because
    /// hyper has none for a client that does not read, or for one that never says a word.
    async fn serve(&self, socket: Socket, client: Client) {
        let config = Arc::clone(&self.configs.borrow());
        // Who is only to be refused has little time to ask, or silent clients would keep others from
        // being told.
        let most = if client.slot.is_ok() { Duration::MAX } else { REFUSAL_TIMEOUT };
        let deadline = Instant::now() + config.handshake_timeout.min(most);
        let close_timeout = config.policy.rules.timing.close_timeout;
        if let Socket::Tcp(stream) = &socket {
            tune(stream, &config);
        }
        let watch = client.watch.clone();

        tokio::select! {
            () = self.serve_http(socket.into(), client, config) => {}
            () = sleep_until(deadline) => {}
            () = out_of_time(watch, close_timeout) => {}
        }
    }

    async fn serve_http(&self, mut stream: Stream, mut client: Client, config: Arc<Config>) {
        if let Err(rejection) = self.meet(&mut stream, &mut client, &config).await {
            self.router.refused_before_http(rejection, &client);
            return;
        }
        // A client that says nothing costs a socket and not the buffers of a request, so neither
        // silence nor a storm of connections leaves the heap in pieces.
        if stream.fill().await.is_err() {
            return;
        }
        let answers = AtomicUsize::new(0);
        let service = service_fn(|mut request| {
            // The settings may have changed since the connection was accepted.
            let config = Arc::clone(&self.configs.borrow());
            let client = self.who_asks(request.headers(), &client, &config);
            let mut response = self.router.respond(&mut request, &client, &config.policy);
            // In a shutdown, or without a slot, a connection is for one answer.
            let is_refused = client.slot.is_err() || client.watch.phase() != Phase::Serving;
            let answers = answers.fetch_add(1, Ordering::Relaxed) + 1;
            if is_refused || answers >= MOST_ANSWERS {
                close_after(&mut response);
            }
            async { Ok::<_, Infallible>(response) }
        });
        let (stream, mut returned) = Returning::new(stream);
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // What goes wrong here is the client's fault, and no session has begun.
        match Box::pin(http).await {
            Err(error) if error.is_parse_too_large() => {
                self.router.refused_before_http(Rejection::HeaderTooLarge, &client);
            }
            Err(error) if error.is_parse() => {
                self.router.refused_before_http(Rejection::Malformed, &client);
            }
            Ok(()) | Err(_) => {}
        }
        // It comes back unless it was upgraded.
        if let Ok(stream) = returned.try_recv() {
            let _ = timeout(config.policy.rules.timing.close_timeout, linger(stream)).await;
        }
    }

    /// Learns by the PROXY protocol who the client is, and finds it a place of its address.
    async fn meet(
        &self,
        stream: &mut Stream,
        client: &mut Client,
        config: &Config,
    ) -> Result<(), Rejection> {
        let peer = client.peer;
        client.peer = config.trust.read_proxy_header(stream, peer).await?;
        if config.trust.is_proxy(peer) && !config.trust.names_clients_in_requests(client.peer) {
            self.find_place(client, config);
        }
        Ok(())
    }

    /// Who a request is from, which every request on a proxy's connection may say anew.
    fn who_asks(&self, headers: &HeaderMap, client: &Client, config: &Config) -> Client {
        let mut client = client.clone();
        if config.trust.names_clients_in_requests(client.peer) {
            client.peer = config.trust.client(headers, client.peer);
            self.find_place(&mut client, config);
        }
        client
    }

    fn find_place(&self, client: &mut Client, config: &Config) {
        if let (Some(address), Ok(slot)) = (client.peer.ip(), client.slot.clone()) {
            client.slot = self.slots.take_of(slot, address, config.max_connections_per_address);
        }
    }
}

/// Ends the connection with this answer, unless it is an upgrade.
fn close_after<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Completes when a shutdown leaves no more time for requests.
async fn out_of_time(watch: Watch, close_timeout: Duration) {
    if watch.beyond(Phase::Serving).await == Phase::Draining {
        // A request that is under way is still answered, as a session is still closed.
        let _ = timeout(close_timeout, watch.beyond(Phase::Draining)).await;
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

/// What all TCP sockets get. If it fails, frames are late or a dead peer is noticed later.
fn tune(stream: &TcpStream, config: &Config) {
    let timing = config.policy.rules.timing;
    // Frames are small, and Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    // Behind the pings, which notice sooner; but while output is stuck there are none.
    let _ = give_up_silent_peers(stream, timing.ping_interval + timing.pong_timeout);
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
