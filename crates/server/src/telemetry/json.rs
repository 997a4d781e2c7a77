//! Log lines as JSON.
//!
//! Replaces the JSON format of tracing-subscriber, which takes twice as long, mostly to check each part of
//! a line for UTF-8. Many connections at once log many lines.

use std::fmt::{self, Debug};
use std::str;

use serde::Serialize;
use serde_json::to_writer;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::timestamp::Timestamp;

/// Formats each event as one object with `timestamp`, `level` and its fields. Spans are not supported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::with_capacity(32);
        Timestamp.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line(Vec::with_capacity(512));
        line.0.extend(b"{\"timestamp\":\"");
        line.0.extend(time.as_bytes());
        line.0.extend(b"\",\"level\":\"");
        line.0.extend(event.metadata().level().as_str().as_bytes());
        line.0.push(b'"');
        event.record(&mut line);
        line.0.extend(b"}\n");
        writer.write_str(str::from_utf8(&line.0).map_err(|_| fmt::Error)?)
    }
}

/// A line without its closing brace.
struct Line(Vec<u8>);

impl Line {
    /// Begins a field. Names are Rust identifiers from the source, so they need no escaping.
    fn name(&mut self, field: &Field) {
        self.0.extend(b",\"");
        self.0.extend(field.name().as_bytes());
        self.0.extend(b"\":");
    }

    /// Writes a number. NaN and infinities become `null`. Writing to a vector cannot fail.
    fn number(&mut self, field: &Field, value: impl Serialize) {
        self.name(field);
        let _ = to_writer(&mut self.0, &value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        let _ = to_writer(&mut self.0, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, value);
    }
}
