//! Metrics of the server in the formats of Prometheus.
//!
//! Names, types and labels are a contract: a test compares them with `docs/metrics.md`. `families` defines
//! the metrics, `sessions` the counters that the drain also uses, `auth_requests` those of the service
//! that authenticates clients, `reloads` those of reloads, and `process` the metrics of the process.

mod auth_requests;
mod families;
mod labels;
mod process;
mod reloads;
mod sessions;

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use transport::ws_core::{Cause, CloseRecord};
use transport::{EndpointEvent, Rejection};

use crate::config::definitions::Definitions;

use self::auth_requests::AuthRequests;
use self::families::Families;
use self::labels::{Closed, Handover, Refused, Reload, code_label};
use self::sessions::SessionCounters;

pub(crate) use self::auth_requests::AuthOutcome;
pub(crate) use self::reloads::RELOADS;
pub(crate) use self::sessions::SessionCounts;

/// The format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Prometheus,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics. An event costs a few additions; single frames cause no event.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    families: Families,
    auth_requests: AuthRequests,
    sessions: SessionCounters,
}

/// Values that are read at each scrape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    /// Connections that hold a permit.
    pub(crate) connections: usize,
    pub(crate) max_connections: usize,
    pub(crate) is_ready: bool,
    pub(crate) is_draining: bool,
    /// The expiry of the certificate in seconds since the Unix epoch; 0 if there is none or it is unknown.
    pub(crate) certificate_expiry: u64,
    pub(crate) dropped_lines: u64,
}

impl Metrics {
    /// Registers all metrics in a registry, which has those of the program.
    pub(crate) fn new(definitions: &Definitions, mut registry: Registry) -> Self {
        let families = Families::registered(definitions, &mut registry);
        let auth_requests =
            AuthRequests::registered(registry.sub_registry_with_prefix("ws_status"));
        Self { registry, families, auth_requests, sessions: SessionCounters::default() }
    }

    /// Records an event.
    pub(crate) fn count(&self, event: &EndpointEvent<'_>) {
        match *event {
            EndpointEvent::Closed { record, .. } => self.count_closed(record),
            EndpointEvent::Opened { .. } => {
                self.sessions.record_opened();
                self.families.opened.inc();
            }
            EndpointEvent::HandedOver { .. } => {
                self.sessions.record_handed_over();
                self.families.handed_over.inc();
            }
            EndpointEvent::TakenOver { .. } => {
                self.sessions.record_taken_over();
                self.families.taken_over.inc();
            }
            EndpointEvent::Panicked { .. } => {
                self.families.panics.inc();
            }
            EndpointEvent::Refused { rejection, .. } => {
                if rejection == Rejection::InternalError {
                    self.families.panics.inc();
                }
                self.count_refusal(rejection);
            }
            EndpointEvent::Traffic {
                received,
                sent,
                control_frames_received,
                control_frames_sent,
                round_trip,
                ..
            } => {
                self.families.received.add(received, control_frames_received);
                self.families.sent.add(sent, control_frames_sent);
                if let Some(round_trip) = round_trip {
                    self.families.round_trips.observe(round_trip.as_secs_f64());
                }
            }
            _ => {}
        }
    }

    /// Records that a request was refused, or that a connection was closed for the same reason.
    pub(crate) fn count_refusal(&self, rejection: Rejection) {
        self.families.refused.get_or_create(&Refused { refusal: rejection.as_str() }).inc();
    }

    /// Records a request to the service that authenticates clients.
    pub(crate) fn record_auth_request(&self, outcome: AuthOutcome, time: Duration) {
        self.auth_requests.record(outcome, time);
    }

    /// Records how a handover to or from another process ended.
    pub(crate) fn count_handover(&self, is_completed: bool) {
        let result = if is_completed { "completed" } else { "revoked" };
        self.families.handovers.get_or_create(&Handover { result }).inc();
    }

    /// Records that accepting a connection failed.
    pub(crate) fn count_accept_failure(&self) {
        self.families.accept_failures.inc();
    }

    /// Returns the number of sessions up to now.
    pub(crate) fn sessions(&self) -> SessionCounts {
        self.sessions.snapshot()
    }

    /// Encodes all metrics.
    pub(crate) fn encode(&self, format: Format, snapshot: Snapshot) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let open = self.sessions().open();
        let sampled = &self.families.sampled;
        set(&sampled.sessions, open);
        set(&sampled.connections, count(snapshot.connections));
        set(&sampled.max_connections, count(snapshot.max_connections));
        set(&sampled.ready, snapshot.is_ready.into());
        set(&sampled.drain_remaining, if snapshot.is_draining { open } else { 0 });
        set(&sampled.certificate_expiry, snapshot.certificate_expiry);
        sampled.dropped_lines.inner().store(snapshot.dropped_lines, Ordering::Relaxed);
        for (result, count) in RELOADS.by_result() {
            let counter = sampled.reloads.get_or_create(&Reload { result });
            counter.inner().store(count, Ordering::Relaxed);
        }
        set(&sampled.reload_ok, RELOADS.is_ok().into());

        let mut text = String::new();
        let encoded = match format {
            Format::OpenMetrics => text::encode(&mut text, &self.registry),
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry),
        };
        encoded.expect("writing to a string cannot fail");
        text
    }

    fn count_closed(&self, record: &CloseRecord) {
        self.sessions.record_closed(record.clean);
        let CloseRecord { cause, code, duration, .. } = record;
        let labels = Closed { cause: cause.as_str(), code: code_label(*code) };
        self.families.closed.get_or_create(&labels).inc();
        if *cause == Cause::PongTimeout {
            self.families.pong_timeouts.inc();
        }
        self.families.durations.observe(duration.as_secs_f64());
    }
}
