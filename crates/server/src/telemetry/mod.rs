//! What is kept and told of connections and sessions: log lines, metrics, the table of connections.
//!
//! [`Telemetry`] takes in the events of `transport` and hands each to the three. Where the log goes and
//! how its lines look is in `subscriber`, `json` and `writer`; what is exposed over HTTP is `admin`'s.

mod connection_table;
mod json;
mod log_limits;
pub(crate) mod metrics;
mod peer_text;
mod session_log;
pub(crate) mod subscriber;
mod text;
pub(crate) mod writer;

use std::io;

use hyper::StatusCode;
use tracing::{info, warn};
use transport::{EndpointEvent, Observer, Peer};

use crate::config::Config;

use self::connection_table::ConnectionTable;
use self::log_limits::LogLimits;
use self::metrics::Metrics;
use self::peer_text::truncated;

pub(crate) use self::connection_table::MAX_PAGE_ROWS;

/// Everything that is kept of what happens to sessions.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    pub(crate) table: Option<ConnectionTable>,
    pub(crate) log_limits: LogLimits,
}

impl Telemetry {
    pub(crate) fn new(config: &Config) -> Self {
        let table = config.connection_table.then(ConnectionTable::default);
        Self { metrics: Metrics::new(), table, log_limits: LogLimits::new() }
    }

    /// Accepting a connection has failed.
    pub(crate) fn record_accept_failure(&self, error: &io::Error) {
        self.metrics.count_accept_failure();
        if self.log_limits.admit_accept_failure() {
            warn!(event = "accept_failed", %error);
        }
    }

    /// The admin listener has refused a request, or what was none and has neither path nor host.
    pub(crate) fn record_admin_refusal(
        &self,
        peer: Peer,
        path: &str,
        host: &str,
        status: StatusCode,
    ) {
        if self.log_limits.admit_refusal(peer) {
            info!(
                event = "admin_refused",
                %peer,
                path = &*truncated(path),
                host = &*truncated(host),
                status = status.as_u16(),
            );
        }
    }
}

impl Observer for Telemetry {
    fn observe(&self, event: &EndpointEvent<'_>) {
        self.metrics.count(event);
        if let Some(table) = &self.table {
            table.record(event);
        }
        if let EndpointEvent::Refused { peer, .. } = *event
            && !self.log_limits.admit_refusal(peer)
        {
            return;
        }
        // Last, because whoever calls `run` may have a subscriber that panics.
        session_log::log_event(event);
    }
}
