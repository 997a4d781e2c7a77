//! The metric families: their names, help texts, units, buckets and initial series.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use transport::Rejection;
use transport::ws_core::{Cause, Counters};

use crate::config::definitions::Definitions;
use crate::telemetry::metrics::labels::{
    Build, Closed, Direction, Handover, Refused, Reload, usual_codes,
};
use crate::telemetry::metrics::process::ProcessMetrics;

/// The metrics that events update, and the gauges that are set at each scrape.
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) opened: Counter,
    pub(crate) taken_over: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) handovers: Family<Handover, Counter>,
    pub(crate) refused: Family<Refused, Counter>,
    pub(crate) closed: Family<Closed, Counter>,
    pub(crate) pong_timeouts: Counter,
    pub(crate) panics: Counter,
    pub(crate) accept_failures: Counter,
    pub(crate) durations: Histogram,
    pub(crate) round_trips: Histogram,
    pub(crate) received: TrafficCounters,
    pub(crate) sent: TrafficCounters,
    pub(crate) sampled: SampledGauges,
}

/// Messages, control frames and payload bytes of one direction.
#[derive(Debug)]
pub(crate) struct TrafficCounters {
    messages: Counter,
    control_frames: Counter,
    bytes: Counter,
}

/// Metrics whose values are read at each scrape.
#[derive(Debug, Default)]
pub(crate) struct SampledGauges {
    pub(crate) sessions: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) max_connections: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) drain_remaining: Gauge,
    pub(crate) certificate_expiry: Gauge,
    pub(crate) dropped_lines: Counter,
    pub(crate) reloads: Family<Reload, Counter>,
    pub(crate) reload_ok: Gauge,
}

/// Buckets in seconds, from a page that is left at once to one that is open for a week.
const DURATIONS: [f64; 10] =
    [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0];

/// Buckets in seconds, from the same machine to the default pong timeout.
const ROUND_TRIPS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Families {
    /// Creates all families with their initial series, in this registry.
    pub(crate) fn registered(definitions: &Definitions, registry: &mut Registry) -> Self {
        let (messages, control_frames, bytes) =
            (Family::default(), Family::default(), Family::default());
        let families = Self {
            opened: Counter::default(),
            taken_over: Counter::default(),
            handed_over: Counter::default(),
            handovers: Family::default(),
            refused: Family::default(),
            closed: Family::default(),
            pong_timeouts: Counter::default(),
            panics: Counter::default(),
            accept_failures: Counter::default(),
            durations: Histogram::new(DURATIONS),
            round_trips: Histogram::new(ROUND_TRIPS),
            received: TrafficCounters::new(&messages, &control_frames, &bytes, "received"),
            sent: TrafficCounters::new(&messages, &control_frames, &bytes, "sent"),
            sampled: SampledGauges::default(),
        };
        registry.register_collector(Box::new(ProcessMetrics));
        let prefixed = registry.sub_registry_with_prefix("ws_status");
        families.register_sampled(definitions, prefixed);
        families.register_sessions(prefixed);
        prefixed.register(
            "messages",
            "Messages, reported at each ping, pong and close, and when many are unreported",
            messages,
        );
        prefixed.register(
            "control_frames",
            "Pings, pongs and Close frames, reported at the same times",
            control_frames,
        );
        prefixed.register_with_unit(
            "payload",
            "Payload of messages and control frames without compression, reported at the same times",
            Unit::Bytes,
            bytes,
        );
        families.register_failures(prefixed);
        families.create_series();
        families
    }

    fn register_sampled(&self, definitions: &Definitions, registry: &mut Registry) {
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build { version: definitions.version, commit: definitions.commit })
            .set(1);
        let sampled = &self.sampled;

        registry.register("build_info", "Version and commit of the build; always 1", build);
        registry.register(
            "ready",
            "Whether the server accepts new sessions: 1 or 0",
            sampled.ready.clone(),
        );
        registry.register(
            "connections",
            "Connections that hold a permit, including sessions",
            sampled.connections.clone(),
        );
        registry.register(
            "connections_max",
            "Limit of connections",
            sampled.max_connections.clone(),
        );
        registry.register("sessions", "Open sessions", sampled.sessions.clone());
        registry.register(
            "drain_remaining",
            "Sessions that a drain still waits for; 0 without a drain",
            sampled.drain_remaining.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "Expiry of the certificate chain, in seconds since the Unix epoch; 0 if there is none or \
             it is unknown",
            Unit::Seconds,
            sampled.certificate_expiry.clone(),
        );
        registry.register(
            "config_reloads",
            "Reloads of the settings, by result",
            sampled.reloads.clone(),
        );
        registry.register(
            "config_reload_ok",
            "Whether the latest reload of the settings was applied, or there was none: 1 or 0",
            sampled.reload_ok.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines that were dropped because the queue was full",
            sampled.dropped_lines.clone(),
        );
    }

    fn register_sessions(&self, registry: &mut Registry) {
        registry.register("sessions_opened", "Sessions that were opened", self.opened.clone());
        registry.register(
            "sessions_taken_over",
            "Sessions that were taken over from the process before",
            self.taken_over.clone(),
        );
        registry.register(
            "sessions_handed_over",
            "Sessions that were handed over to the process after",
            self.handed_over.clone(),
        );
        registry.register(
            "handovers",
            "Handovers to or from another process, by result",
            self.handovers.clone(),
        );
        registry.register(
            "sessions_closed",
            "Sessions that ended, by cause and close code",
            self.closed.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Requests that were not upgraded, by refusal",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "session_duration",
            "Duration of sessions",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "round_trip",
            "Time from a ping to its pong",
            Unit::Seconds,
            self.round_trips.clone(),
        );
        registry.register(
            "pong_timeouts",
            "Sessions that were dropped because no data followed a ping in time",
            self.pong_timeouts.clone(),
        );
    }

    fn register_failures(&self, registry: &mut Registry) {
        registry.register(
            "panics",
            "Sessions that panicked, or could not begin because of a panic; each is a bug",
            self.panics.clone(),
        );
        registry.register(
            "accept_failures",
            "Failures to accept a connection, mostly caused by the limit of open files",
            self.accept_failures.clone(),
        );
    }

    /// Creates every series whose labels are known, so that `rate` and `increase` see the first event.
    fn create_series(&self) {
        for &rejection in Rejection::ALL {
            let _ = self.refused.get_or_create(&Refused { refusal: rejection.as_str() });
        }
        for result in ["completed", "revoked"] {
            let _ = self.handovers.get_or_create(&Handover { result });
        }
        for &cause in Cause::ALL {
            for code in usual_codes(cause) {
                let _ = self.closed.get_or_create(&Closed { cause: cause.as_str(), code });
            }
        }
    }
}

impl TrafficCounters {
    fn new(
        messages: &Family<Direction, Counter>,
        control_frames: &Family<Direction, Counter>,
        bytes: &Family<Direction, Counter>,
        direction: &'static str,
    ) -> Self {
        let direction = Direction { direction };
        Self {
            messages: messages.get_or_create_owned(&direction),
            control_frames: control_frames.get_or_create_owned(&direction),
            bytes: bytes.get_or_create_owned(&direction),
        }
    }

    pub(crate) fn add(&self, counters: Counters, control_frames: u64) {
        self.messages.inc_by(counters.messages);
        self.control_frames.inc_by(control_frames);
        self.bytes.inc_by(counters.bytes);
    }
}
