//! What serves HTTP/1.1 and HTTP/2 have in common: who asks, whether there is a place for a session, and
//! how long requests are waited for.

use std::net::IpAddr;

use hyper::header::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout_at};
use transport::{Client, DrainToken, Handler, Peer, Permit, Phase, Rejection};

use crate::config::{Config, ConfigReceiver};
use crate::limits::ConnectionPermits;
use crate::routes::Router;

/// What serves HTTP, whichever version of it.
#[derive(Debug)]
pub(crate) struct Http<H> {
    pub(crate) router: Router<H>,
    pub(crate) permits: ConnectionPermits,
    pub(crate) configs: ConfigReceiver,
}

impl<H: Handler + Clone + Sync> Http<H> {
    /// Who a request is from, which every request on a proxy's connection may say anew; and its address,
    /// if that is so.
    pub(crate) fn client_of(
        &self,
        headers: &HeaderMap,
        client: &Client,
        config: &Config,
    ) -> (Client, Option<IpAddr>) {
        let mut requester = client.clone();
        if !config.trust.names_clients_in_requests(client.peer) {
            return (requester, None);
        }
        requester.peer = config.trust.client(headers, client.peer);
        let address = requester.peer.ip();
        (requester, address)
    }

    /// A slot for a connection or for one more session of it; where it is known that `peer` is the
    /// client, also of those of its address.
    pub(crate) fn permit(
        &self,
        peer: Peer,
        is_client: bool,
        config: &Config,
    ) -> Result<Permit, Rejection> {
        let mut permit = Ok(self.permits.acquire(config.max_connections)?);
        self.assign_address(&mut permit, peer.ip().filter(|_| is_client), config)
    }

    /// Takes over a slot, and takes one of its client's address, once that is known. If that has had its
    /// share, the slot stays where it is.
    pub(crate) fn assign_address(
        &self,
        permit: &mut Result<Permit, Rejection>,
        address: Option<IpAddr>,
        config: &Config,
    ) -> Result<Permit, Rejection> {
        self.permits.assign_address(permit, address, config.max_connections_per_address)
    }
}

/// Completes at the deadline, or when a shutdown leaves no more time for requests.
pub(crate) async fn out_of_time(token: DrainToken, deadline: Instant, config: &Config) {
    tokio::select! {
        () = sleep_until(deadline) => return,
        phase = token.past(Phase::Serving) => if phase == Phase::Aborting { return },
    }
    // A request that is under way is still answered, as a session is still closed.
    let last = Instant::now() + config.policy.session.timing.close_timeout;
    let _ = timeout_at(last.min(deadline), token.past(Phase::Draining)).await;
}
