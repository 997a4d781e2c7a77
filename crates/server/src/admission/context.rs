//! What the HTTP layer knows about a request beyond its head.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use transport::Client;

use crate::config::Config;

/// The circumstances in which a request is answered.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// The settings in force when the request arrived.
    pub(crate) config: Arc<Config>,
    /// When the admission has to be decided.
    pub(crate) deadline: Instant,
    /// Whether a trusted proxy has sent the request, so that headers which proxies set can be believed.
    pub(crate) is_from_proxy: bool,
}

impl RequestContext {
    /// Describes a request of this connection that has to be answered by `deadline`.
    ///
    /// `client` is the peer of the connection. After a PROXY header it is the client that the header
    /// names: what such a connection carries was written by that client, and not by the proxy.
    pub(crate) fn new(client: &Client, deadline: Instant, config: Arc<Config>) -> Self {
        // The refusal of a request that was not decided in time has to be sent before the deadline.
        let reserve = config.handshake_timeout.min(Duration::from_secs(10)) / 10;
        let is_from_proxy = config.client_addr.is_proxy(client.peer);
        Self { config, deadline: deadline.checked_sub(reserve).unwrap_or(deadline), is_from_proxy }
    }
}
