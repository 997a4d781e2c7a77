//! Metrics for Prometheus, about sessions (here) and the process. Their names and labels are a contract: `docs/metrics.md` lists them, and a
//! test holds the two against each other.

mod labels;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use transport::ws_core::{Cause, CloseRecord, Counters};
use transport::{EndpointEvent, Rejection};

use self::labels::{Build, Closed, Direction, Refused, code_label, usual_codes};
use self::process::ProcessMetrics;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
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

/// Everything that is counted. A fact costs a few additions; a frame costs none.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    sessions: SessionCounters,
    opened: Counter,
    refused: Family<Refused, Counter>,
    closed: Family<Closed, Counter>,
    pong_timeouts: Counter,
    panics: Counter,
    accept_failures: Counter,
    durations: Histogram,
    round_trips: Histogram,
    received: TrafficCounters,
    sent: TrafficCounters,
    sampled: SampledGauges,
}

/// What went in one direction.
#[derive(Debug)]
struct TrafficCounters {
    messages: Counter,
    bytes: Counter,
}

/// How many sessions there have been, and how they ended.
#[derive(Debug, Default)]
struct SessionCounters {
    opened: AtomicU64,
    clean: AtomicU64,
    unclean: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// Sessions that have begun.
    pub(crate) opened: u64,
    /// Sessions whose closing handshake was completed.
    pub(crate) clean: u64,
    /// Sessions that ended in another way.
    pub(crate) unclean: u64,
}

impl SessionCounts {
    /// Sessions that have begun and not ended.
    pub(crate) fn open(self) -> u64 {
        self.opened.saturating_sub(self.clean).saturating_sub(self.unclean)
    }
}

/// What is looked up when somebody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    /// Places that are taken, and how many there are.
    pub(crate) connections: usize,
    pub(crate) max_connections: usize,
    pub(crate) is_ready: bool,
    pub(crate) is_draining: bool,
    /// When the certificate ends, in seconds since 1970; 0 without one.
    pub(crate) certificate_ends: u64,
    pub(crate) dropped_lines: u64,
}

#[derive(Debug, Default)]
struct SampledGauges {
    sessions: Gauge,
    connections: Gauge,
    max_connections: Gauge,
    ready: Gauge,
    drain_remaining: Gauge,
    certificate_ends: Gauge,
    dropped_lines: Counter,
}

/// From a page that is left at once to one that is open for a week.
const DURATIONS: [f64; 10] =
    [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0];

/// From the same machine to the other end of the world on a bad line, and the usual pong timeout.
const ROUND_TRIPS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let (messages, bytes) = (Family::default(), Family::default());
        let mut metrics = Self {
            registry: Registry::default(),
            sessions: SessionCounters::default(),
            opened: Counter::default(),
            refused: Family::default(),
            closed: Family::default(),
            pong_timeouts: Counter::default(),
            panics: Counter::default(),
            accept_failures: Counter::default(),
            durations: Histogram::new(DURATIONS),
            round_trips: Histogram::new(ROUND_TRIPS),
            received: TrafficCounters::new(&messages, &bytes, "received"),
            sent: TrafficCounters::new(&messages, &bytes, "sent"),
            sampled: SampledGauges::default(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics));
        let ours = registry.sub_registry_with_prefix("ws_status");
        metrics.register(ours);
        ours.register(
            "messages",
            "Whole messages and control frames, told at each ping, its pong and the end, or a million",
            messages,
        );
        ours.register_with_unit(
            "payload",
            "Their payload, told at the same moments",
            Unit::Bytes,
            bytes,
        );
        metrics.registry = registry;
        metrics.initialize_series();
        metrics
    }

    fn register(&self, ours: &mut Registry) {
        let build = Family::<Build, Gauge>::default();
        build
            .get_or_create(&Build { version: env!("CARGO_PKG_VERSION"), commit: env!("COMMIT") })
            .set(1);
        let now = &self.sampled;

        ours.register("build_info", "Which build this is; always 1", build);
        ours.register("ready", "Whether new sessions are welcome: 1 or 0", now.ready.clone());
        ours.register(
            "connections",
            "Connections that have a place, sessions included",
            now.connections.clone(),
        );
        ours.register("connections_max", "How many places there are", now.max_connections.clone());
        ours.register("sessions", "SessionCounters that are open", now.sessions.clone());
        ours.register("sessions_opened", "SessionCounters that were opened", self.opened.clone());
        ours.register(
            "sessions_closed",
            "SessionCounters that ended, by why the end began and the close code",
            self.closed.clone(),
        );
        ours.register(
            "handshakes_refused",
            "Requests that were not upgraded, by why not",
            self.refused.clone(),
        );
        ours.register_with_unit(
            "session_duration",
            "How long sessions lasted",
            Unit::Seconds,
            self.durations.clone(),
        );
        ours.register_with_unit(
            "round_trip",
            "From a ping to its pong",
            Unit::Seconds,
            self.round_trips.clone(),
        );
        ours.register(
            "pong_timeouts",
            "SessionCounters that were given up because nothing came after a ping",
            self.pong_timeouts.clone(),
        );
        ours.register(
            "drain_remaining",
            "SessionCounters that a drain still waits for; 0 while there is none",
            now.drain_remaining.clone(),
        );
        ours.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "ReadPhase the certificate ends, since 1970; 0 without one",
            Unit::Seconds,
            now.certificate_ends.clone(),
        );
        ours.register(
            "panics",
            "SessionCounters that panicked, or did not begin for a panic; each of them is a bug",
            self.panics.clone(),
        );
        ours.register(
            "accept_failures",
            "How often accepting a connection failed, mostly for lack of files",
            self.accept_failures.clone(),
        );
        ours.register(
            "log_lines_dropped",
            "Log lines that were dropped because too many waited to be written",
            now.dropped_lines.clone(),
        );
    }

    /// Whatever can be counted is there from the beginning, so that its first increase is seen.
    fn initialize_series(&self) {
        for &rejection in Rejection::ALL {
            let _ = self.refused.get_or_create(&Refused { refusal: rejection.as_str() });
        }
        for &cause in Cause::ALL {
            for code in usual_codes(cause) {
                let _ = self.closed.get_or_create(&Closed { cause: cause.as_str(), code });
            }
        }
    }

    /// Takes in one fact.
    pub(crate) fn count(&self, event: &EndpointEvent<'_>) {
        match *event {
            EndpointEvent::Closed { record, .. } => self.count_closed(record),
            EndpointEvent::Opened { .. } => {
                self.sessions.opened.fetch_add(1, Ordering::SeqCst);
                self.opened.inc();
            }
            EndpointEvent::Panicked { .. } => {
                self.panics.inc();
            }
            EndpointEvent::Refused { rejection, .. } => {
                if rejection == Rejection::InternalError {
                    self.panics.inc();
                }
                self.count_refusal(rejection);
            }
            EndpointEvent::Traffic { received, sent, round_trip, .. } => {
                self.received.add(received);
                self.sent.add(sent);
                if let Some(round_trip) = round_trip {
                    self.round_trips.observe(round_trip.as_secs_f64());
                }
            }
            _ => {}
        }
    }

    /// A request was refused, or a connection was hung up on for the same reason.
    pub(crate) fn count_refusal(&self, rejection: Rejection) {
        self.refused.get_or_create(&Refused { refusal: rejection.as_str() }).inc();
    }

    /// Accepting a connection has failed.
    pub(crate) fn count_accept_failure(&self) {
        self.accept_failures.inc();
    }

    /// How many sessions there have been up to this moment.
    pub(crate) fn sessions(&self) -> SessionCounts {
        // In this order, so that no session is counted as ended and not as begun.
        let clean = self.sessions.clean.load(Ordering::SeqCst);
        let unclean = self.sessions.unclean.load(Ordering::SeqCst);
        SessionCounts { opened: self.sessions.opened.load(Ordering::SeqCst), clean, unclean }
    }

    /// Everything, for a reader of this format.
    pub(crate) fn encode(&self, format: Format, snapshot: Snapshot) -> String {
        let gauge = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let open = self.sessions().open();
        let now = &self.sampled;
        gauge(&now.sessions, open);
        gauge(&now.connections, count(snapshot.connections));
        gauge(&now.max_connections, count(snapshot.max_connections));
        gauge(&now.ready, snapshot.is_ready.into());
        gauge(&now.drain_remaining, if snapshot.is_draining { open } else { 0 });
        gauge(&now.certificate_ends, snapshot.certificate_ends);
        now.dropped_lines.inner().store(snapshot.dropped_lines, Ordering::Relaxed);

        let mut text = String::new();
        let written = match format {
            Format::OpenMetrics => text::encode(&mut text, &self.registry),
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry),
        };
        written.expect("a string takes everything");
        text
    }

    fn count_closed(&self, record: &CloseRecord) {
        let ended = if record.clean { &self.sessions.clean } else { &self.sessions.unclean };
        ended.fetch_add(1, Ordering::SeqCst);
        let CloseRecord { cause, code, duration, .. } = record;
        let labels = Closed { cause: cause.as_str(), code: code_label(*code) };
        self.closed.get_or_create(&labels).inc();
        if *cause == Cause::PongTimeout {
            self.pong_timeouts.inc();
        }
        self.durations.observe(duration.as_secs_f64());
    }
}

impl TrafficCounters {
    fn new(
        messages: &Family<Direction, Counter>,
        bytes: &Family<Direction, Counter>,
        direction: &'static str,
    ) -> Self {
        let direction = Direction { direction };
        Self {
            messages: messages.get_or_create_owned(&direction),
            bytes: bytes.get_or_create_owned(&direction),
        }
    }

    fn add(&self, tally: Counters) {
        self.messages.inc_by(tally.messages);
        self.bytes.inc_by(tally.bytes);
    }
}
