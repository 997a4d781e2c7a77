//! Requests to the service that authenticates clients.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What became of a request to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthOutcome {
    /// The service admits the client.
    Admitted,
    /// It knows the client, and refuses it.
    Forbidden,
    /// It does not know the client.
    Unauthenticated,
    /// It made no decision.
    Unavailable,
}

impl AuthOutcome {
    const ALL: [Self; 4] =
        [Self::Admitted, Self::Forbidden, Self::Unauthenticated, Self::Unavailable];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Forbidden => "forbidden",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    outcome: &'static str,
}

/// Buckets in seconds, from a service on the same machine to a long `auth_timeout_secs`.
const TIMES: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The metrics of these requests.
#[derive(Debug)]
pub(super) struct AuthRequests {
    requests: Family<Asked, Counter>,
    times: Histogram,
}

impl AuthRequests {
    /// Registers the metrics with their initial series.
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default(), times: Histogram::new(TIMES) };
        for outcome in AuthOutcome::ALL {
            let _ = metrics.requests.get_or_create(&Asked { outcome: outcome.as_str() });
        }
        registry.register(
            "auth_requests",
            "Requests to the service at auth_url, by outcome; requests of clients that left do not count",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "auth_request",
            "Time from a request to the service at auth_url to its outcome",
            Unit::Seconds,
            metrics.times.clone(),
        );
        metrics
    }

    pub(super) fn record(&self, outcome: AuthOutcome, time: Duration) {
        self.requests.get_or_create(&Asked { outcome: outcome.as_str() }).inc();
        self.times.observe(time.as_secs_f64());
    }
}
