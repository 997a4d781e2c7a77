//! The log: where it goes, and the lines that sessions leave in it.

use std::io::{self, IsTerminal};
use std::panic;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use transport::ws_core::{Closure, Initiator};
use transport::{Event, Protocol, StreamEnd};

use crate::config::{Config, LogFormat};
use crate::json_lines::JsonLines;
use crate::log_writer::LogWriter;
use crate::peer_text::truncated;

/// Starts logging to stderr. The lines are written by a thread of their own, so a reader that stands
/// still holds up nobody.
///
/// The codec's own log is left alone: it holds what clients sent.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// The system has no thread for it, or does not let us have the signal.
pub(crate) fn start(config: &Config) -> io::Result<LogWriter> {
    // A log that has reached the greatest size of a file (`LimitFSIZE=`) fails like a full disk. By
    // default this signal would end the process; once somebody has listened for it, it does nothing.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let (filter, handle) = reload::Layer::new(config.log.clone());
    let (writer, lines) = LogWriter::start(io::stderr(), handle)?;
    tracing_subscriber::registry().with(layer(config, lines).with_filter(filter)).init();

    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        // A handler that quotes a message puts a peer's text there.
        let message = &*truncated(text.unwrap_or_default());
        error!(event = "panicked", place, message);
    }));
    Ok(writer)
}

/// Does something whose lines are written at once, as a log that was started would have them.
pub(crate) fn without_a_thread(config: &Config, work: impl FnOnce()) {
    let layer = layer(config, io::stderr).with_filter(config.log.clone());
    subscriber::with_default(tracing_subscriber::registry().with(layer), work);
}

fn layer<W>(config: &Config, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let layer = fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .with_target(false);
    match config.log_format {
        LogFormat::Json => layer.event_format(JsonLines).boxed(),
        LogFormat::Text => layer.boxed(),
    }
}

/// Writes a line for each opening, closing and refusal.
pub(crate) fn write(event: &Event<'_>) {
    match *event {
        Event::Closed { id, closure, stream_end, .. } => closed(id, closure, stream_end),
        Event::Opened { id, peer, protocol, request, .. } => info!(
            event = "opened",
            id,
            %peer,
            protocol = protocol.as_str(),
            origin = &*truncated(request.origin().unwrap_or_default()),
            user_agent = &*truncated(request.user_agent().unwrap_or_default()),
        ),
        Event::Refused { peer, protocol, request, rejection, .. } => info!(
            event = "refused",
            %peer,
            protocol = protocol.map_or("", Protocol::as_str),
            origin = &*truncated(request.origin().unwrap_or_default()),
            refusal = rejection.as_str(),
            status = rejection.status().as_u16(),
        ),
        // The panic itself has left a line.
        Event::Panicked { .. } | Event::Tally { .. } | _ => {}
    }
}

fn closed(id: u64, closure: &Closure, stream_end: Option<StreamEnd>) {
    info!(
        event = "closed",
        id,
        cause = closure.cause.as_str(),
        code = u16::from(closure.code),
        reason = &*truncated(closure.reason.as_str()),
        clean = closure.clean,
        initiator = match closure.initiator {
            Initiator::Local => "server",
            Initiator::Nobody => "none",
            Initiator::Peer => "peer",
        },
        error = stream_end.map_or("", StreamEnd::as_str),
        duration_ms = milliseconds(closure.duration),
        rtt_ms = closure.round_trip.map(milliseconds),
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
