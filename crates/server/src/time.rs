//! The format of durations in the log and in admin responses.

use std::time::Duration;

/// Returns milliseconds, rounded to three decimal places.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
