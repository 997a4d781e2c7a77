//! What HTTP/1.1 and HTTP/2 share: the client of a request, permits for sessions, and the deadline of
//! requests.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout_at};
use transport::{Client, DrainToken, Peer, Permit, Phase, Rejection};

use crate::config::{Config, ConfigReceiver};
use crate::limits::ConnectionPermits;
use crate::routes::Router;

/// Serves HTTP connections of either version.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) router: Arc<Router>,
    pub(crate) permits: ConnectionPermits,
    pub(crate) configs: ConfigReceiver,
}

impl Http {
    /// Returns the client of a request. Where trusted headers identify it, its address is returned as
    /// well: the requests of one connection can then have different clients.
    pub(crate) fn resolve_client(
        &self,
        headers: &HeaderMap,
        client: &Client,
        config: &Config,
    ) -> (Client, Option<IpAddr>) {
        let mut requester = client.clone();
        if !config.client_addr.uses_forwarded_header(client.peer) {
            return (requester, None);
        }
        requester.peer = config.client_addr.client(headers, client.peer);
        let address = requester.peer.ip();
        (requester, address)
    }

    /// Acquires a permit for a connection, or for another session of one. If `peer` is known to be the
    /// client, the permit counts for the limit of its address, too.
    pub(crate) fn acquire_permit(
        &self,
        peer: Peer,
        is_client: bool,
        config: &Config,
    ) -> Result<Permit, Rejection> {
        let mut permit = Ok(self.permits.acquire(config.max_connections)?);
        self.take_for_address(&mut permit, peer.ip().filter(|_| is_client), config)
    }

    /// Takes `permit` and counts it for the limit of `address`. If the address is at its limit, `permit`
    /// is left in place.
    pub(crate) fn take_for_address(
        &self,
        permit: &mut Result<Permit, Rejection>,
        address: Option<IpAddr>,
        config: &Config,
    ) -> Result<Permit, Rejection> {
        self.permits.take_for_address(permit, address, config.max_connections_per_address)
    }
}

/// Completes at `deadline`, or earlier if a shutdown leaves no more time for requests: when it aborts,
/// or the close timeout after the drain began.
pub(crate) async fn request_timeout(token: DrainToken, deadline: Instant, config: &Config) {
    tokio::select! {
        () = sleep_until(deadline) => return,
        phase = token.past(Phase::Serving) => if phase == Phase::Aborting { return },
    }
    // A request in progress is still answered, as an open session is still closed.
    let close_deadline = Instant::now() + config.policy.session.timing.close_timeout;
    let _ = timeout_at(close_deadline.min(deadline), token.past(Phase::Draining)).await;
}
