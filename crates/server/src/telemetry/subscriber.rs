//! Where the log goes, and how its lines look.

use std::io::{self, IsTerminal};
use std::panic;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;
use crate::config::values::LogFormat;
use crate::telemetry::json::JsonLines;
use crate::telemetry::peer_text::truncated;
use crate::telemetry::text::TextLines;
use crate::telemetry::writer::LogWriter;

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
        LogFormat::Text => layer.event_format(TextLines).boxed(),
    }
}
