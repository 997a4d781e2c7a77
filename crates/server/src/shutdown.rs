//! Graceful shutdown: the stages of the server, the drain, and the summary at the end.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};
use transport::ws_core::CloseCode;
use transport::{Drain, DrainOptions, DrainToken, SessionRegistry};

use crate::accepting::Accepting;
use crate::config::{ConfigReceiver, ShutdownOptions};
use crate::systemd;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{Metrics, SessionCounts};
use crate::time::milliseconds;

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownSummary {
    /// Sessions that completed the closing handshake.
    pub clean: u64,
    /// Sessions that did not complete it within the close timeout, or were disconnected.
    pub timed_out: u64,
    /// Sessions that were aborted at the end of the grace period.
    pub aborted: u64,
    /// From the signal to the end of the shutdown.
    pub duration: Duration,
    /// The first task that failed, if any: it caused the shutdown, or failed during it.
    pub failed: Option<&'static str>,
}

/// The stage of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The server does not accept connections yet.
    Starting,
    /// The server accepts new sessions.
    Ready,
    /// A shutdown was requested, and proceeds by these options.
    Draining { began: Instant, options: ShutdownOptions },
}

impl Stage {
    /// The stage as it appears in admin responses.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
        }
    }
}

/// Coordinates the shutdown. A signal, an admin request and a failed task all take this path.
///
/// First readiness fails. After the delay the listeners close, new requests are refused and sessions are
/// closed over the spread. Sessions that are open at the end of the grace period are aborted.
#[derive(Debug)]
pub(crate) struct Shutdown {
    configs: ConfigReceiver,
    stage: watch::Sender<Stage>,
    drain: Drain,
    accepting: Accepting,
    /// The counts right before the drain closed the first session.
    baseline: OnceLock<SessionCounts>,
    has_failed: AtomicBool,
}

impl Shutdown {
    /// Returns the coordinator, and the timer task that wakes sessions for the drain and their deadlines.
    pub(crate) fn new(
        configs: ConfigReceiver,
        sessions: SessionRegistry,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let stage = watch::Sender::new(Stage::Starting);
        let (drain, timer) = Drain::with_sessions(sessions);
        let baseline = OnceLock::new();
        let has_failed = AtomicBool::new(false);
        let accepting = Accepting::default();
        (Self { configs, stage, drain, accepting, baseline, has_failed }, timer)
    }

    /// Returns a new token of the drain. The drain waits until all tokens are dropped.
    pub(crate) fn token(&self) -> DrainToken {
        self.drain.token()
    }

    /// Returns the drain of all sessions.
    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Returns whether connections are accepted.
    pub(crate) fn accepting(&self) -> &Accepting {
        &self.accepting
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Moves from `Starting` to `Ready`.
    pub(crate) fn ready(&self) {
        self.stage.send_if_modified(|stage| {
            let is_starting = *stage == Stage::Starting;
            if is_starting {
                *stage = Stage::Ready;
            }
            is_starting
        });
    }

    /// Requests the shutdown, with this close code or the configured one. Only the first request counts.
    pub(crate) fn begin(&self, code: Option<CloseCode>) {
        let mut options = self.configs.borrow().shutdown;
        options.drain.code = code.unwrap_or(options.drain.code);
        self.begin_with(options);
    }

    /// Requests the shutdown with these options. Only the first request counts.
    pub(crate) fn begin_with(&self, options: ShutdownOptions) {
        self.stage.send_if_modified(|stage| {
            let is_first = !matches!(stage, Stage::Draining { .. });
            if is_first {
                *stage = Stage::Draining { began: Instant::now(), options };
            }
            is_first
        });
    }

    /// Requests the shutdown because a required task has failed, and marks the server as unhealthy.
    pub(crate) fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.begin(None);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.stage(), Stage::Draining { .. })
    }

    /// Waits for `signal` or another request, then performs the shutdown.
    pub(crate) async fn run(
        &self,
        signal: impl Future<Output = ()>,
        telemetry: &Telemetry,
    ) -> ShutdownSummary {
        let metrics = &telemetry.metrics;
        // Also when this future is dropped by a second signal, suppressed lines are summarized.
        let _last_summary = telemetry.log_limits.summarize_on_drop();
        tokio::select! {
            () = signal => self.begin(None),
            _ = self.begun() => {}
        }
        let (began, ShutdownOptions { grace, delay, drain }) = self.begun().await;
        let DrainOptions { code, spread, reconnect_spread } = drain;
        // A handover that is being decided comes first: the listening sockets may be another process's.
        let _ = timeout(grace, self.accepting.settled()).await;
        systemd::stopping();
        info!(
            event = "stopping",
            open = metrics.sessions().open(),
            code = u16::from(code),
            delay_ms = milliseconds(delay),
            spread_ms = milliseconds(spread),
            reconnect_spread_ms = milliseconds(reconnect_spread),
            grace_ms = milliseconds(grace),
        );

        sleep(delay.min(grace)).await;
        self.baseline.get_or_init(|| metrics.sessions());
        self.drain.start(drain);
        let in_time = timeout_at(began + grace, self.drain.closed()).await;
        let after_grace = metrics.sessions();
        if in_time.is_err() {
            self.drain.abort();
            // Aborted sessions end without their peer. One second bounds a handler that blocks its thread.
            if timeout(Duration::from_secs(1), self.drain.closed()).await.is_err() {
                warn!(
                    event = "stuck",
                    "some connections did not end after they were aborted; exiting without them"
                );
            }
        }

        self.summary(began, after_grace, telemetry)
    }

    /// Returns the summary of a shutdown that skips the drain.
    pub(crate) fn abort_without_drain(&self, telemetry: &Telemetry) -> ShutdownSummary {
        let now = telemetry.metrics.sessions();
        self.baseline.get_or_init(|| now);
        let began = match self.stage() {
            Stage::Draining { began, .. } => began,
            Stage::Ready | Stage::Starting => Instant::now(),
        };
        self.summary(began, now, telemetry)
    }

    fn summary(
        &self,
        began: Instant,
        now: SessionCounts,
        telemetry: &Telemetry,
    ) -> ShutdownSummary {
        let baseline = self.baseline.get().copied().unwrap_or(now);
        let summary = ShutdownSummary {
            clean: now.clean - baseline.clean,
            timed_out: now.unclean - baseline.unclean,
            aborted: now.open(),
            duration: began.elapsed(),
            failed: None,
        };
        telemetry.log_limits.summarize();
        info!(
            event = "stopped",
            clean = summary.clean,
            timed_out = summary.timed_out,
            aborted = summary.aborted,
            duration_ms = milliseconds(summary.duration),
        );
        summary
    }

    /// Returns the state of the drain for the admin listener.
    pub(crate) fn progress(&self, metrics: &Metrics) -> Value {
        // The baseline is read first: counts only grow, so no difference is negative.
        let baseline = self.baseline.get().copied();
        let now = metrics.sessions();
        let stage = self.stage();
        let Stage::Draining { began, options } = stage else {
            return json!({ "state": stage.as_str(), "open": now.open() });
        };
        let baseline = baseline.unwrap_or(now);
        json!({
            "state": stage.as_str(),
            "open": now.open(),
            "clean": now.clean - baseline.clean,
            "timed_out": now.unclean - baseline.unclean,
            "code": u16::from(options.drain.code),
            "elapsed_ms": milliseconds(began.elapsed()),
            "delay_ms": milliseconds(options.delay),
            "spread_ms": milliseconds(options.drain.spread),
            "reconnect_spread_ms": milliseconds(options.drain.reconnect_spread),
            "grace_ms": milliseconds(options.grace),
        })
    }

    /// Waits until a shutdown is requested. Returns when it was requested, and its options.
    pub(crate) async fn begun(&self) -> (Instant, ShutdownOptions) {
        let mut stages = self.stage.subscribe();
        loop {
            if let Stage::Draining { began, options } = *stages.borrow_and_update() {
                return (began, options);
            }
            stages.changed().await.expect("the sender is alive");
        }
    }
}
