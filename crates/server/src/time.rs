//! Durations as the log and the admin listener show them.

use std::time::Duration;

/// Milliseconds with three digits behind the point.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
