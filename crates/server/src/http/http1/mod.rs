//! HTTP on an accepted stream: who asks, whether there is a place for a session, and what the answer is.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::{CONNECTION, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use transport::{Answer, Client, Handler, Peer, Phase, Rejection, Slot, Watch, frames_body};

use crate::config::{Config, Configs};
use crate::http1_heads::{CheckedHttp1, reclaim};
use crate::linger::{Returning, linger, refuse_and_linger};
use crate::lodging::Lodging;
use crate::records::Records;
use crate::slots::Slots;
use crate::stream::Stream;
use crate::{Router, held};

/// Requests of a connection that may be refused. Each leaves a line in the log.
pub(crate) const MOST_ANSWERS: usize = 20;

/// What serves HTTP, whichever version of it.
#[derive(Debug)]
pub(crate) struct Http<H> {
    pub(crate) router: Router<H>,
    pub(crate) slots: Slots,
    pub(crate) configs: Configs,
}

impl<H: Handler + Clone + Sync> Http<H> {
    /// Serves HTTP/1.1 until the connection is upgraded or ends.
    pub(crate) async fn serve_http1(
        &self,
        stream: Stream,
        client: Client,
        slot: Result<Slot, Rejection>,
        config: &Config,
    ) {
        let had_place = slot.is_ok();
        let slot = Mutex::new(slot);
        let answers = AtomicUsize::new(0);
        let (stream, mut returned) = Returning::new(stream);
        let (stream, checks) = CheckedHttp1::new(stream, config.max_header_bytes);
        let service = service_fn(|mut request| {
            // The settings may have changed since the connection was accepted.
            let config = self.configs.borrow().clone();
            let (asking, named) = self.who_asks(request.headers(), &client, &config);
            let mut has_place = had_place;
            let answer = self.router.answer(&request, &asking, &config.policy, || {
                let slot = self.take_over(&mut held(&slot), named, &config);
                has_place &= slot.is_ok();
                slot
            });
            let mut response = answer.over_http1(&mut request, reclaim);
            // In a shutdown, or without a slot, a connection is for one answer.
            let is_refused = !has_place || client.watch.phase() != Phase::Serving;
            let answers = answers.fetch_add(1, Ordering::Relaxed) + 1;
            // What one takes for a body may be a request to another, so none is looked for there.
            let is_last = is_refused || answers >= MOST_ANSWERS || frames_body(request.headers());
            if is_last {
                close_after(&mut response);
            }
            if is_last || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                checks.end();
            }
            async { Ok::<_, Infallible>(response) }
        });
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // What goes wrong here is the client's fault, and no session has begun.
        let ended = http.await;
        let found = checks.found();
        match (found, ended) {
            (Some(rejection), _) => self.router.turned_away(rejection, &client),
            (None, Err(error)) if error.is_parse_too_large() => {
                self.router.turned_away(Rejection::HeaderTooLarge, &client);
            }
            (None, Err(error)) if error.is_parse() => {
                self.router.turned_away(Rejection::Malformed, &client);
            }
            (None, Ok(()) | Err(_)) => {}
        }
        // It comes back unless it was upgraded.
        if let Ok(stream) = returned.try_recv() {
            if stream.has_broken_tls() {
                self.router.turned_away(Rejection::BadTls, &client);
            }
            let last = async {
                match found {
                    Some(rejection) => refuse_and_linger(stream, rejection.status()).await,
                    None => linger(stream).await,
                }
            };
            let _ = timeout(config.policy.rules.timing.close_timeout, last).await;
        }
    }

    /// Answers a request that came on a stream of an HTTP/2 connection, or refuses it for a fault that
    /// was found in its head.
    pub(crate) fn answer_on_stream(
        &self,
        request: &Request<()>,
        fault: Option<Rejection>,
        client: &Client,
        lodging: &Lodging,
    ) -> Answer<H, Records> {
        let config = self.configs.borrow().clone();
        let (asking, named) = self.who_asks(request.headers(), client, &config);
        if let Some(rejection) = fault {
            return self.router.refuse(rejection, request, &asking);
        }
        let is_client = !config.trust.names_clients_in_requests(client.peer);
        self.router.answer(request, &asking, &config.policy, || {
            let mut own = lodging.take(|| self.slot(client.peer, is_client, &config));
            self.take_over(&mut own, named, &config)
        })
    }

    /// Who a request is from, which every request on a proxy's connection may say anew; and its address,
    /// if that is so.
    fn who_asks(
        &self,
        headers: &HeaderMap,
        client: &Client,
        config: &Config,
    ) -> (Client, Option<IpAddr>) {
        let mut asking = client.clone();
        if !config.trust.names_clients_in_requests(client.peer) {
            return (asking, None);
        }
        asking.peer = config.trust.client(headers, client.peer);
        let address = asking.peer.ip();
        (asking, address)
    }

    /// A slot for a connection or for one more session of it; where it is known that `peer` is the
    /// client, also of those of its address.
    pub(crate) fn slot(
        &self,
        peer: Peer,
        is_client: bool,
        config: &Config,
    ) -> Result<Slot, Rejection> {
        let mut slot = Ok(self.slots.take(config.max_connections)?);
        self.take_over(&mut slot, peer.ip().filter(|_| is_client), config)
    }

    /// Takes over a slot, and takes one of its client's address, once that is known. If that has had its
    /// share, the slot stays where it is.
    pub(crate) fn take_over(
        &self,
        slot: &mut Result<Slot, Rejection>,
        address: Option<IpAddr>,
        config: &Config,
    ) -> Result<Slot, Rejection> {
        self.slots.take_over(slot, address, config.max_connections_per_address)
    }
}

/// Completes at the deadline, or when a shutdown leaves no more time for requests.
pub(crate) async fn out_of_time(watch: Watch, deadline: Instant, config: &Config) {
    tokio::select! {
        () = sleep_until(deadline) => return,
        phase = watch.beyond(Phase::Serving) => if phase == Phase::Aborting { return },
    }
    // A request that is under way is still answered, as a session is still closed.
    let last = Instant::now() + config.policy.rules.timing.close_timeout;
    let _ = timeout_at(last.min(deadline), watch.beyond(Phase::Draining)).await;
}

/// Ends the connection with this answer, unless it is an upgrade.
fn close_after<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}
