//! Sets up logging: the output, the format, the filter, and the panic hook.

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Event, Level, Subscriber, error, subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;
use crate::config::values::LogFormat;
use crate::telemetry::json::JsonLines;
use crate::telemetry::peer_text::truncated;
use crate::telemetry::text::TextLines;
use crate::telemetry::writer::LogWriter;

/// Starts logging to stderr. A dedicated thread writes the lines, so a blocked reader does not block the
/// server.
///
/// Events of the `log` crate are not captured, because the WebSocket codec logs client data there.
///
/// If the program has set a subscriber, the events go there, and there is no writer.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// The system refuses the thread, or the registration of the signal.
pub(crate) fn start(config: &Config) -> io::Result<Option<LogWriter>> {
    // SIGXFSZ is raised when the log file reaches the size limit (`LimitFSIZE=`), and ends the process by
    // default. tokio's handler replaces that action permanently, so the write fails as on a full disk.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    let writer = if tracing::dispatcher::has_been_set() {
        None
    } else {
        let (filter, handle) = reload::Layer::new(config.log.clone());
        let (writer, lines) = LogWriter::start(io::stderr(), handle)?;
        tracing_subscriber::registry().with(layer(config, lines).with_filter(filter)).init();
        Some(writer)
    };

    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        // A handler may include text of a peer in its panic message.
        let message = &*truncated(text.unwrap_or_default());
        error!(event = "panicked", place, message);
    }));
    Ok(writer)
}

/// Runs `work` with a log that has the same format, and writes to stderr without the thread. Returns the
/// number of warnings, which the filter does not hide.
pub(crate) fn with_synchronous_log(config: &Config, work: impl FnOnce()) -> usize {
    let layer = layer(config, io::stderr).with_filter(config.log.clone());
    let warnings = Arc::new(AtomicUsize::new(0));
    let counter = WarningCounter(Arc::clone(&warnings));
    let registry = tracing_subscriber::registry().with(layer).with(counter);
    subscriber::with_default(registry, work);
    warnings.load(Ordering::Relaxed)
}

struct WarningCounter(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for WarningCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
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
