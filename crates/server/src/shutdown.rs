//! The end of the server, from its first sign to the summary.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};
use transport::ws_core::CloseCode;
use transport::{Drain, DrainOptions, DrainToken};

use crate::config::{ConfigReceiver, ShutdownOptions};
use crate::systemd;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{Metrics, SessionCounts};
use crate::time::milliseconds;

/// How a server came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownSummary {
    /// Sessions that completed the closing handshake.
    pub clean: u64,
    /// Sessions that did not within their close timeout, or hung up instead.
    pub timed_out: u64,
    /// Sessions that were cut because the grace was over.
    pub aborted: u64,
    /// From the signal to the end.
    pub duration: Duration,
    /// The task that failed first, if one did: that was the reason for the end, or came in its course.
    pub failed: Option<&'static str>,
}

/// How far the server has come in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is not listening yet.
    Starting,
    /// New sessions are welcome.
    Ready,
    /// It was asked to end, and goes by this options.
    Draining { began: Instant, options: ShutdownOptions },
}

impl Stage {
    /// The word for it, the same in answers and documents.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
        }
    }
}

/// The one way in which the server ends, whoever asks for it.
///
/// First readiness says no; after the delay the ports close, requests are refused and sessions leave
/// over the spread; and what is left when the grace is over is cut.
#[derive(Debug)]
pub(crate) struct Shutdown {
    configs: ConfigReceiver,
    stage: watch::Sender<Stage>,
    drain: Drain,
    /// What had happened before the first session was closed.
    before: OnceLock<SessionCounts>,
    has_failed: AtomicBool,
}

impl Shutdown {
    /// The end to come, and the timer of the sessions that are to see it.
    pub(crate) fn new(
        configs: ConfigReceiver,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let stage = watch::Sender::new(Stage::Starting);
        let (drain, timer) = Drain::new();
        let before = OnceLock::new();
        (Self { configs, stage, drain, before, has_failed: AtomicBool::new(false) }, timer)
    }

    /// A token of the drain.
    pub(crate) fn token(&self) -> DrainToken {
        self.drain.token()
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// The server listens.
    pub(crate) fn ready(&self) {
        self.stage.send_if_modified(|stage| {
            let is_starting = *stage == Stage::Starting;
            if is_starting {
                *stage = Stage::Ready;
            }
            is_starting
        });
    }

    /// Asks the server to end, with this code or the one that is set. If it was asked before, that
    /// one counts.
    pub(crate) fn begin(&self, code: Option<CloseCode>) {
        self.stage.send_if_modified(|stage| {
            let is_first = !matches!(stage, Stage::Draining { .. });
            if is_first {
                let mut options = self.configs.borrow().shutdown;
                options.farewell.code = code.unwrap_or(options.farewell.code);
                *stage = Stage::Draining { began: Instant::now(), options };
            }
            is_first
        });
    }

    /// A task that the server cannot do without has failed: it ends, and is not healthy until then.
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

    /// Waits for `signal`, or until somebody else has asked, and then for the end of everything.
    pub(crate) async fn run(
        &self,
        signal: impl Future<Output = ()>,
        telemetry: &Telemetry,
    ) -> ShutdownSummary {
        let metrics = &telemetry.metrics;
        // If this is dropped, by a second signal, there is still what was not written.
        let _last_summary = telemetry.log_limits.summarize_on_drop();
        tokio::select! {
            () = signal => self.begin(None),
            _ = self.begun() => {}
        }
        let (began, ShutdownOptions { grace, delay, farewell }) = self.begun().await;
        let DrainOptions { code, spread } = farewell;
        systemd::stopping();
        info!(
            event = "stopping",
            open = metrics.sessions().open(),
            code = u16::from(code),
            delay_ms = milliseconds(delay),
            spread_ms = milliseconds(spread),
            grace_ms = milliseconds(grace),
        );

        sleep(delay.min(grace)).await;
        self.before.get_or_init(|| metrics.sessions());
        self.drain.start(farewell);
        let in_time = timeout_at(began + grace, self.drain.closed()).await;
        let after_grace = metrics.sessions();
        if in_time.is_err() {
            self.drain.abort();
            // Nothing waits for a peer any more. A handler that blocks its thread is not waited for.
            if timeout(Duration::from_secs(1), self.drain.closed()).await.is_err() {
                warn!(event = "stuck", "something does not end; leaving it behind");
            }
        }

        self.summary(began, after_grace, telemetry)
    }

    /// The summary of an end without a drain.
    pub(crate) fn abort_without_drain(&self, telemetry: &Telemetry) -> ShutdownSummary {
        let now = telemetry.metrics.sessions();
        self.before.get_or_init(|| now);
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
        let before = self.before.get().copied().unwrap_or(now);
        let stopped = ShutdownSummary {
            clean: now.clean - before.clean,
            timed_out: now.unclean - before.unclean,
            aborted: now.open(),
            duration: began.elapsed(),
            failed: None,
        };
        telemetry.log_limits.summarize();
        info!(
            event = "stopped",
            clean = stopped.clean,
            timed_out = stopped.timed_out,
            aborted = stopped.aborted,
            duration_ms = milliseconds(stopped.duration),
        );
        stopped
    }

    /// How far the end has come.
    pub(crate) fn progress(&self, metrics: &Metrics) -> Value {
        // In this order, so that no count is below what it was before.
        let before = self.before.get().copied();
        let now = metrics.sessions();
        let stage = self.stage();
        let Stage::Draining { began, options } = stage else {
            return json!({ "state": stage.as_str(), "open": now.open() });
        };
        let before = before.unwrap_or(now);
        json!({
            "state": stage.as_str(),
            "open": now.open(),
            "clean": now.clean - before.clean,
            "timed_out": now.unclean - before.unclean,
            "code": u16::from(options.farewell.code),
            "elapsed_ms": milliseconds(began.elapsed()),
            "delay_ms": milliseconds(options.delay),
            "spread_ms": milliseconds(options.farewell.spread),
            "grace_ms": milliseconds(options.grace),
        })
    }

    /// Waits until somebody has asked for the end, and says when that was and how it goes.
    pub(crate) async fn begun(&self) -> (Instant, ShutdownOptions) {
        let mut stages = self.stage.subscribe();
        loop {
            if let Stage::Draining { began, options } = *stages.borrow_and_update() {
                return (began, options);
            }
            stages.changed().await.expect("we hold the sender");
        }
    }
}
