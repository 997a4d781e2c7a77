//! The log: where it goes, and the lines that sessions leave in it.

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{error, info};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use transport::ws_core::{Closure, Initiator};
use transport::{Event, Observer};

use crate::config::{Config, LogFormat};

/// Starts logging to stderr.
///
/// The codec's own log is left alone: it holds what clients sent.
pub fn start(config: &Config) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .with_target(false);
    let lines = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(config.log.clone())).init();

    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or_default();
        error!(event = "panicked", place, message);
    }));
}

/// Writes a line for each opening, closing and refusal, and counts how sessions ended.
#[derive(Debug, Default)]
pub(crate) struct Log {
    opened: AtomicU64,
    clean: AtomicU64,
    unclean: AtomicU64,
}

/// How many sessions there have been, and how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Sessions that have begun.
    pub(crate) opened: u64,
    /// Sessions whose closing handshake was completed.
    pub(crate) clean: u64,
    /// Sessions that ended in another way.
    pub(crate) unclean: u64,
}

impl Log {
    /// The counts of this moment.
    pub(crate) fn count(&self) -> Count {
        // In this order, so that no session is counted as ended and not as begun.
        let clean = self.clean.load(Ordering::SeqCst);
        let unclean = self.unclean.load(Ordering::SeqCst);
        Count { opened: self.opened.load(Ordering::SeqCst), clean, unclean }
    }
}

impl Count {
    /// Sessions that have begun and not ended.
    pub(crate) fn open(self) -> u64 {
        self.opened.saturating_sub(self.clean).saturating_sub(self.unclean)
    }
}

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        match *event {
            Event::Closed { id, closure } => {
                let ended = if closure.clean { &self.clean } else { &self.unclean };
                ended.fetch_add(1, Ordering::SeqCst);
                closed(id, closure);
            }
            Event::Opened { id, peer, request } => {
                self.opened.fetch_add(1, Ordering::SeqCst);
                info!(
                    event = "opened",
                    id,
                    %peer,
                    origin = request.origin().unwrap_or_default(),
                    user_agent = request.user_agent().unwrap_or_default(),
                );
            }
            Event::Refused { peer, request, rejection } => info!(
                event = "refused",
                %peer,
                origin = request.origin().unwrap_or_default(),
                refusal = rejection.as_str(),
                status = rejection.status().as_u16(),
            ),
            Event::Panicked { .. } | Event::Tally { .. } | _ => {}
        }
    }
}

fn closed(id: u64, closure: &Closure) {
    info!(
        event = "closed",
        id,
        cause = closure.cause.as_str(),
        code = u16::from(closure.code),
        reason = closure.reason.as_str(),
        clean = closure.clean,
        initiator = match closure.initiator {
            Initiator::Local => "server",
            Initiator::Nobody => "none",
            Initiator::Peer => "peer",
        },
        duration_ms = milliseconds(closure.duration),
        // What was never measured is not a number, and JSON has `null` for that.
        rtt_ms = closure.round_trip.map_or(f64::NAN, milliseconds),
        messages_in = closure.received.messages,
        messages_out = closure.sent.messages,
        bytes_in = closure.received.bytes,
        bytes_out = closure.sent.bytes,
    );
}

/// Milliseconds with three digits behind the point.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
