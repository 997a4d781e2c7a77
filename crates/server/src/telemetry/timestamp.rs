//! The time of a log line.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

/// The current time in UTC with microseconds, such as `2026-11-30T22:40:31.000123Z` (RFC 3339).
///
/// Each thread formats a second once: that is most of the cost, and a burst of connections logs thousands
/// of lines in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp;

impl FormatTime for Timestamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        LAST.with_borrow_mut(|last| {
            let mut now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // The formatter reads the clock itself. Its text is of this second if the second has not
            // ended afterwards.
            while last.second != Some(now.as_secs()) {
                last.text.clear();
                time::SystemTime.format_time(&mut Writer::new(&mut last.text))?;
                last.text.truncate(TO_THE_SECOND);
                last.second = Some(now.as_secs());
                now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            }
            write!(writer, "{}.{:06}Z", last.text, now.subsec_micros())
        })
    }
}

/// Length of the date and the time to the second.
const TO_THE_SECOND: usize = "2026-11-30T22:40:31".len();

thread_local! {
    static LAST: RefCell<Second> = const { RefCell::new(Second { second: None, text: String::new() }) };
}

/// The second that was formatted last.
struct Second {
    /// Since the epoch.
    second: Option<u64>,
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_between_two_of_tracing_subscriber_whichever_second_was_formatted_last() {
        let text_of = |timer: &dyn FormatTime| {
            let mut text = String::new();
            timer.format_time(&mut Writer::new(&mut text)).unwrap();
            text
        };
        for is_current in [false, true] {
            if !is_current {
                let text = "2001-09-09T01:46:40".to_owned();
                LAST.set(Second { second: Some(1_000_000_000), text });
            }
            let times: [&dyn FormatTime; 3] = [&time::SystemTime, &Timestamp, &time::SystemTime];
            let times = times.map(text_of);
            assert!(times.is_sorted(), "{times:?}");
            assert!(times.iter().all(|time| time.len() == times[0].len()), "{times:?}");
        }
    }
}
