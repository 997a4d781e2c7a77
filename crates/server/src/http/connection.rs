//! Accepts connections, admits them by the limits, reads the PROXY header, negotiates the protocol, and
//! serves HTTP on them.

use std::future::pending;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::info;
use transport::{Client, DrainToken, Peer, Permit, Phase, Rejection};

use crate::config::Config;
use crate::http::http2::frame::PREFACE;
use crate::http::service::{Http, request_timeout};
use crate::limits::MAX_CONCURRENT_REFUSALS;
use crate::net::accept_errors::AcceptErrors;
use crate::net::lingering_close::lingering_close;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::tls::certificate_name;

/// Connections accepted before the task yields. In a burst the rest wait in the listen backlog, and do
/// not delay a session that has to answer a ping.
const ACCEPT_BATCH: usize = 16;

/// Time a connection without a permit has to send its request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections and spawns a task for each.
#[derive(Debug)]
pub(crate) struct Acceptor {
    http: Http,
    /// Refusal permits: held by connections that are accepted only to be refused.
    refusal_permits: Arc<Semaphore>,
    telemetry: Arc<Telemetry>,
}

impl Acceptor {
    pub(crate) fn new(http: Http, telemetry: Arc<Telemetry>) -> Self {
        let refusal_permits = Arc::new(Semaphore::new(MAX_CONCURRENT_REFUSALS));
        Self { http, refusal_permits, telemetry }
    }

    /// Accepts connections until a shutdown begins.
    pub(crate) async fn accept(self: Arc<Self>, listener: Arc<Listener>, shutdown: Arc<Shutdown>) {
        info!(event = "listening", address = listener.address());
        let (is_shared, is_encrypted) = (listener.is_shared, listener.is_encrypted);
        let token = shutdown.token();
        let draining = token.past(Phase::Serving);
        // Another process that has a shared socket accepts the next connections once this one stops, so
        // this one stops as soon as a shutdown begins. Connections accepted before are served until the
        // drain.
        let shutdown_begun =
            async { if is_shared { shutdown.begun().await } else { pending().await } };
        tokio::pin!(draining, shutdown_begun);
        let mut accepting = shutdown.accepting().receiver();
        let mut errors = AcceptErrors::default();
        for number in 1_usize.. {
            if number.is_multiple_of(ACCEPT_BATCH) {
                yield_now().await;
            }
            let accepted = tokio::select! {
                biased;
                _ = &mut draining => break,
                _ = &mut shutdown_begun => break,
                accepted = accepting.accept(|| listener.accept()) => accepted,
            };
            let Some(accepted) = accepted else { break };
            match accepted {
                Ok((stream, peer)) => {
                    errors.reset();
                    let admission = tokio::select! {
                        biased;
                        admission = self.admit(peer) => admission,
                        // Not `draining`, which the next iteration polls: a completed future must not be
                        // polled again.
                        _ = token.past(Phase::Serving) => Some(Admission::draining()),
                    };
                    match admission {
                        Some(admission) => {
                            self.spawn(stream, peer, is_encrypted, admission, &token);
                        }
                        None => self.telemetry.metrics.count_refusal(Rejection::AddressLimit),
                    }
                }
                Err(error) => {
                    self.telemetry.record_accept_failure(&error);
                    errors.pause(&error).await;
                }
            }
        }
        if shutdown.accepting().is_given_up() {
            // The task ends with the drain.
            drop(listener);
            shutdown.begun().await;
            return;
        }
        if is_shared {
            return;
        }
        let pending = listener.pending_connections();
        drop(listener);
        for (stream, peer) in pending {
            self.spawn(stream, peer, is_encrypted, Admission::draining(), &token);
        }
    }

    /// Waits for a permit or for a refusal permit, whichever is available first.
    ///
    /// Returns `None` if the address is at its limit and no refusal permit is available: connections of
    /// other addresses must not wait for that.
    async fn admit(&self, peer: Peer) -> Option<Admission> {
        loop {
            let rejection = match self.acquire_permit(peer) {
                Ok(permit) => return Some(Admission { permit: Ok(permit), refusal_permit: None }),
                Err(rejection) => rejection,
            };
            if let Ok(permit) = Arc::clone(&self.refusal_permits).try_acquire_owned() {
                return Some(Admission { permit: Err(rejection), refusal_permit: Some(permit) });
            }
            if rejection == Rejection::AddressLimit {
                return None;
            }
            let max = self.http.configs.borrow().max_connections;
            tokio::select! {
                _ = self.refusal_permits.acquire() => {}
                () = self.http.permits.released(max) => {}
            }
        }
    }

    /// Acquires a permit for the peer of a socket. The limit per address does not apply to a proxy: it
    /// applies to each of its clients, once their addresses are known.
    fn acquire_permit(&self, peer: Peer) -> Result<Permit, Rejection> {
        let config = self.http.configs.borrow();
        self.http.acquire_permit(peer, !config.client_addr.is_proxy(peer), &config)
    }

    fn spawn(
        self: &Arc<Self>,
        stream: Stream,
        peer: Peer,
        is_encrypted: bool,
        admission: Admission,
        token: &DrainToken,
    ) {
        let Admission { permit, refusal_permit } = admission;
        let token = token.clone();
        let client = Client { peer, is_encrypted, certificate_name: None, token };
        let acceptor = Arc::clone(self);
        tokio::spawn(async move {
            acceptor.serve(stream, client, permit).await;
            drop(refusal_permit);
        });
    }

    /// Serves a connection until it ends or is upgraded. One deadline covers everything before a session
    /// begins: nothing else times out a client that does not read, or that sends nothing.
    async fn serve(
        &self,
        stream: Stream,
        mut client: Client,
        mut permit: Result<Permit, Rejection>,
    ) {
        let config = self.http.configs.borrow().clone();
        // A connection that is only refused has little time for its request: silent clients would hold
        // all refusal permits.
        let timeout = |permit: &Result<_, _>| match permit {
            Ok(_) => config.handshake_timeout,
            Err(_) => config.handshake_timeout.min(REFUSAL_TIMEOUT),
        };
        let mut deadline = Instant::now() + timeout(&permit);
        let timed_out = request_timeout(client.token.clone(), deadline, &config);
        tokio::pin!(timed_out);
        let peer = client.peer;
        let stream = tokio::select! {
            stream = self.read_proxy_header(stream, &mut client, &config) => stream,
            () = &mut timed_out => None,
        };
        let Some(stream) = stream else { return };
        let mut connection_permit = None;
        if config.client_addr.is_proxy(peer)
            && !config.client_addr.uses_forwarded_header(client.peer)
        {
            let address_permit = self.http.take_for_address(&mut permit, client.peer.ip(), &config);
            // If the client's address is at its limit, the connection keeps its own permit to the end.
            connection_permit = mem::replace(&mut permit, address_permit).ok();
            deadline = deadline.min(Instant::now() + timeout(&permit));
            timed_out.set(request_timeout(client.token.clone(), deadline, &config));
        }
        let negotiated = tokio::select! {
            negotiated = self.negotiate(stream, &mut client, &config) => negotiated,
            () = &mut timed_out => None,
        };
        match negotiated {
            //= rfc6455#7.2.2-1
            Some(Negotiated::Http1(stream)) => tokio::select! {
                () = Box::pin(self.http.serve_http1(stream, client, permit, deadline, &config)) => {}
                () = &mut timed_out => {}
            },
            // It has many requests, and checks the deadline itself.
            Some(Negotiated::Http2(stream)) => {
                Box::pin(self.http.serve_http2(stream, client, permit, deadline, &config)).await;
            }
            None => {}
        }
        drop(connection_permit);
    }

    /// Reads the PROXY header and sets the client's address. Returns `None` if the peer has closed the
    /// connection or was rejected.
    async fn read_proxy_header(
        &self,
        mut stream: Stream,
        client: &mut Client,
        config: &Config,
    ) -> Option<Stream> {
        match config.client_addr.read_proxy_header(&mut stream, client.peer).await {
            Ok(peer) => {
                client.peer = peer;
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

    /// Negotiates the protocol, by TLS and the first bytes. Returns `None` if the client has closed the
    /// connection or was rejected.
    async fn negotiate(
        &self,
        mut stream: Stream,
        client: &mut Client,
        config: &Config,
    ) -> Option<Negotiated> {
        // A silent client costs a socket, but neither TLS state nor request buffers: silent clients and
        // bursts of connections do not fragment the heap.
        stream.peek_any().await.ok()?;
        //= rfc6455#4.2.2-1 rfc6455#10.6-1
        if client.is_encrypted {
            stream = stream.into_tls(config.tls.as_ref()?.config()).ok()?;
        }
        let speaks_http2 = speaks_http2(&mut stream).await;
        client.certificate_name = stream.client_certificate().and_then(certificate_name);
        match speaks_http2 {
            Ok(true) => Some(Negotiated::Http2(stream)),
            Ok(false) => Some(Negotiated::Http1(stream)),
            Err(_) => {
                // Any other error means that the client has closed the connection.
                if stream.has_tls_error() {
                    self.http.router.record_rejected(Rejection::BadTls, client);
                    lingering_close(stream).await;
                }
                None
            }
        }
    }
}

/// Returns whether the client speaks HTTP/2, by ALPN or by its first bytes.
async fn speaks_http2(stream: &mut Stream) -> io::Result<bool> {
    stream.handshake().await?;
    // As without TLS: no request buffers before the first byte.
    stream.peek_any().await?;
    match stream.alpn() {
        Some(protocol) => Ok(protocol == b"h2"),
        // Prior knowledge (RFC 9113, section 3.3).
        None => stream.starts_with(PREFACE).await,
    }
}

/// A stream, by the version of HTTP that its client speaks.
enum Negotiated {
    Http1(Stream),
    Http2(Stream),
}

/// How an accepted connection is admitted: with a permit, or to be refused.
struct Admission {
    permit: Result<Permit, Rejection>,
    /// Held by a connection that is refused because of a limit.
    refusal_permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// During a shutdown every new connection is refused, without a limit.
    fn draining() -> Self {
        Self { permit: Err(Rejection::Draining), refusal_permit: None }
    }
}
