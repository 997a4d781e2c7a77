//! Accepting connections, and finding out of each whose it is and what it speaks, so that HTTP is
//! served.

use std::future::pending;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::info;
use transport::{Client, DrainToken, Handler, Peer, Permit, Phase, Rejection};

use crate::config::Config;
use crate::http::http2::frame::PREFACE;
use crate::http::service::{Http, out_of_time};
use crate::limits::MAX_REFUSALS_AT_ONCE;
use crate::net::accept_errors::AcceptErrors;
use crate::net::lingering_close::lingering_close;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// Connections that are accepted before everybody else gets a turn. In a storm the others wait in the
/// system's queue and not in front of a session that has a ping to answer.
const ACCEPT_BATCH: usize = 16;

/// How long a client has to ask when it is only to be refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections, and has HTTP served on them.
#[derive(Debug)]
pub(crate) struct Acceptor<H> {
    http: Http<H>,
    refused: Arc<Semaphore>,
    telemetry: Arc<Telemetry>,
}

impl<H: Handler + Clone + Sync> Acceptor<H> {
    pub(crate) fn new(http: Http<H>, telemetry: Arc<Telemetry>) -> Self {
        Self { http, refused: Arc::new(Semaphore::new(MAX_REFUSALS_AT_ONCE)), telemetry }
    }

    /// Accepts connections until a shutdown begins.
    pub(crate) async fn accept(self: Arc<Self>, listener: Listener, shutdown: Arc<Shutdown>) {
        info!(event = "listening", address = listener.address());
        let (is_shared, is_encrypted) = (listener.is_shared, listener.is_encrypted);
        let token = shutdown.token();
        let draining = token.past(Phase::Serving);
        // Whoever has a shared socket besides us takes the next connection as soon as we leave it,
        // so we leave it at the first sign; those that we have taken are served until the drain.
        let left_to_others =
            async { if is_shared { shutdown.begun().await } else { pending().await } };
        tokio::pin!(draining, left_to_others);
        let mut errors = AcceptErrors::default();
        for number in 1_usize.. {
            if number.is_multiple_of(ACCEPT_BATCH) {
                yield_now().await;
            }
            let accepted = tokio::select! {
                biased;
                _ = &mut draining => break,
                _ = &mut left_to_others => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    errors.reset();
                    let permit = tokio::select! {
                        biased;
                        permit = self.acquire(peer) => permit,
                        // Not `draining` itself, which the next round has to poll.
                        _ = token.past(Phase::Serving) => Some(ConnectionPermit::draining_now()),
                    };
                    match permit {
                        Some(permit) => self.spawn(stream, peer, is_encrypted, permit, &token),
                        None => self.telemetry.metrics.count_refusal(Rejection::AddressLimit),
                    }
                }
                Err(error) => {
                    self.telemetry.record_accept_failure(&error);
                    errors.pause(&error).await;
                }
            }
        }
        if is_shared {
            return;
        }
        for (stream, peer) in listener.into_pending_connections() {
            self.spawn(stream, peer, is_encrypted, ConnectionPermit::draining_now(), &token);
        }
    }

    /// A slot, or a place among those that are told that there is none: what is to be had first.
    ///
    /// Nothing, if an address has had its share and more than can be told so at once: whoever comes
    /// behind it must not wait for that.
    async fn acquire(&self, peer: Peer) -> Option<ConnectionPermit> {
        loop {
            let rejection = match self.permit(peer) {
                Ok(permit) => return Some(ConnectionPermit { permit: Ok(permit), refused: None }),
                Err(rejection) => rejection,
            };
            if let Ok(refused) = Arc::clone(&self.refused).try_acquire_owned() {
                return Some(ConnectionPermit { permit: Err(rejection), refused: Some(refused) });
            }
            if rejection == Rejection::AddressLimit {
                return None;
            }
            let max = self.http.configs.borrow().max_connections;
            tokio::select! {
                _ = self.refused.acquire() => {}
                () = self.http.permits.released(max) => {}
            }
        }
    }

    /// A slot for the peer of a socket. A proxy has many clients, and the limit of an address is for
    /// each of them, once it is known who they are.
    fn permit(&self, peer: Peer) -> Result<Permit, Rejection> {
        let config = self.http.configs.borrow();
        self.http.permit(peer, !config.trust.is_proxy(peer), &config)
    }

    fn spawn(
        self: &Arc<Self>,
        stream: Stream,
        peer: Peer,
        is_encrypted: bool,
        permit: ConnectionPermit,
        token: &DrainToken,
    ) {
        let ConnectionPermit { permit, refused } = permit;
        let client = Client { peer, is_encrypted, token: token.clone() };
        let acceptor = Arc::clone(self);
        tokio::spawn(async move {
            acceptor.serve(stream, client, permit).await;
            drop(refused);
        });
    }

    /// Serves a connection to its end, or to that of HTTP on it. Until a session begins all of it has
    /// one deadline, because nothing else has one for a client that does not read, or for one that
    /// never says a word.
    async fn serve(
        &self,
        stream: Stream,
        mut client: Client,
        mut permit: Result<Permit, Rejection>,
    ) {
        let config = self.http.configs.borrow().clone();
        // Who is only to be refused has little time to ask, or silent clients would keep others from
        // being told.
        let most =
            |permit: &Result<_, _>| if permit.is_ok() { Duration::MAX } else { REFUSAL_TIMEOUT };
        let mut deadline = Instant::now() + config.handshake_timeout.min(most(&permit));
        let over = out_of_time(client.token.clone(), deadline, &config);
        tokio::pin!(over);
        let peer = client.peer;
        let client_ip = tokio::select! {
            client_ip = self.read_proxy_header(stream, &mut client, &config) => client_ip,
            () = &mut over => None,
        };
        let Some(stream) = client_ip else { return };
        let mut own = None;
        if config.trust.is_proxy(peer) && !config.trust.names_clients_in_requests(client.peer) {
            let taken = self.http.assign_address(&mut permit, client.peer.ip(), &config);
            // If the client's address has had its share, the connection still takes a place.
            own = mem::replace(&mut permit, taken).ok();
            deadline = deadline.min(Instant::now() + config.handshake_timeout.min(most(&permit)));
            over.set(out_of_time(client.token.clone(), deadline, &config));
        }
        let negotiated = tokio::select! {
            negotiated = self.negotiate(stream, &client, &config) => negotiated,
            () = &mut over => None,
        };
        match negotiated {
            Some(Negotiated::Http1(stream)) => tokio::select! {
                () = Box::pin(self.http.serve_http1(stream, client, permit, &config)) => {}
                () = &mut over => {}
            },
            // It has many requests, and looks at the clock itself.
            Some(Negotiated::Http2(stream)) => {
                Box::pin(self.http.serve_http2(stream, client, permit, deadline, &config)).await;
            }
            None => {}
        }
        drop(own);
    }

    /// Finds out whose a stream is, by the PROXY protocol. Nothing is a client that has gone, or was
    /// turned away.
    async fn read_proxy_header(
        &self,
        mut stream: Stream,
        client: &mut Client,
        config: &Config,
    ) -> Option<Stream> {
        match config.trust.read_proxy_header(&mut stream, client.peer).await {
            Ok(client_ip) => {
                client.peer = client_ip;
                Some(stream)
            }
            Err(rejection) => {
                if let Some(rejection) = rejection {
                    self.http.router.record_rejected(rejection, client);
                }
                None
            }
        }
    }

    /// Finds out what a client speaks, by TLS and its first bytes. Nothing is one that has gone, or was
    /// turned away.
    async fn negotiate(
        &self,
        mut stream: Stream,
        client: &Client,
        config: &Config,
    ) -> Option<Negotiated> {
        // A client that says nothing costs a socket and not the state of a handshake or the buffers of
        // a request, so neither silence nor a storm of connections leaves the heap in pieces.
        stream.peek_any().await.ok()?;
        if client.is_encrypted {
            stream = stream.into_tls(config.tls.as_ref()?.config()).ok()?;
        }
        match speaks_http2(&mut stream).await {
            Ok(true) => Some(Negotiated::Http2(stream)),
            Ok(false) => Some(Negotiated::Http1(stream)),
            Err(_) => {
                // What is wrong otherwise is that the client has gone.
                if stream.has_broken_tls() {
                    self.http.router.record_rejected(Rejection::BadTls, client);
                    lingering_close(stream).await;
                }
                None
            }
        }
    }
}

/// Whether the client speaks HTTP/2, by what was agreed upon within TLS or by its first bytes.
async fn speaks_http2(stream: &mut Stream) -> io::Result<bool> {
    stream.handshake().await?;
    // As without TLS: a client that says nothing more has no buffers of a request.
    stream.peek_any().await?;
    match stream.alpn() {
        Some(protocol) => Ok(protocol == b"h2"),
        // Prior knowledge (RFC 9113, section 3.3).
        None => stream.begins_with(PREFACE).await,
    }
}

/// A client that was met, by the HTTP that it speaks.
enum Negotiated {
    Http1(Stream),
    Http2(Stream),
}

/// Where a connection stands among the others.
struct ConnectionPermit {
    permit: Result<Permit, Rejection>,
    /// Held by those that are told that there is no slot.
    refused: Option<OwnedSemaphorePermit>,
}

impl ConnectionPermit {
    /// In a shutdown nobody gets a slot any more, and everybody is told so.
    fn draining_now() -> Self {
        Self { permit: Err(Rejection::Draining), refused: None }
    }
}
