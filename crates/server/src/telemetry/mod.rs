//! Telemetry of connections and sessions: log lines, metrics, and the table of sessions.
//!
//! [`Telemetry`] observes the events of `transport`, and passes each to the three. `subscriber`, `json`
//! and `writer` define the output and the format of the log. The HTTP interface is in `admin`.

mod connection_table;
mod json;
mod log_limits;
pub(crate) mod metrics;
mod peer_text;
mod session_log;
pub(crate) mod subscriber;
mod text;
mod timestamp;
pub(crate) mod writer;

use std::fmt::Display;
use std::io;

use hyper::StatusCode;
use prometheus_client::registry::Registry;
use tracing::{info, warn};
use transport::{EndpointEvent, Observer, Peer};

use crate::config::Config;

use self::connection_table::ConnectionTable;
use self::log_limits::LogLimits;
use self::metrics::Metrics;
use self::peer_text::truncated;

pub(crate) use self::connection_table::{MAX_PAGE_ROWS, Row, TableRow};

/// Records the events of all sessions.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    pub(crate) table: Option<ConnectionTable>,
    pub(crate) log_limits: LogLimits,
}

impl Telemetry {
    /// `metrics` has those of the program.
    pub(crate) fn new(config: &Config, metrics: Registry) -> Self {
        let table = config.connection_table.then(ConnectionTable::default);
        Self {
            metrics: Metrics::new(config.settings.definitions(), metrics),
            table,
            log_limits: LogLimits::new(),
        }
    }

    /// Records that accepting a connection failed.
    pub(crate) fn record_accept_failure(&self, error: &io::Error) {
        self.metrics.count_accept_failure();
        if self.log_limits.admit_accept_failure() {
            warn!(event = "accept_failed", %error);
        }
    }

    /// Records that the service that authenticates clients made no decision.
    pub(crate) fn record_auth_failure(&self, error: &impl Display) {
        if self.log_limits.admit_auth_failure() {
            warn!(event = "auth_unavailable", error = &*truncated(&error.to_string()));
        }
    }

    /// Records that the admin listener refused a request. `path` and `host` are empty if the request could
    /// not be parsed.
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
        // Last, because the subscriber of a program that embeds the server may panic.
        session_log::log_event(event);
    }
}
