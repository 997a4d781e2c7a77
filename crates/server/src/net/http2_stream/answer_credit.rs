//! Credit for the frames by which a client answers the DATA frames of its sessions.

use std::sync::atomic::{AtomicU32, Ordering};

/// Answers to a `DATA` frame: a `WINDOW_UPDATE` for its stream, and one for the connection.
const ANSWERS_PER_DATA_FRAME: u32 = 2;

/// The number of answers that the frame budget does not charge.
#[derive(Debug)]
pub(crate) struct AnswerCredit {
    credit: AtomicU32,
    max: u32,
}

impl AnswerCredit {
    /// Creates an empty credit, of at most `max`.
    pub(crate) fn new(max: u32) -> Self {
        Self { credit: AtomicU32::new(0), max }
    }

    /// Adds the answers to a DATA frame that a session has sent.
    pub(crate) fn add(&self) {
        let increase =
            |credit: u32| Some(credit.saturating_add(ANSWERS_PER_DATA_FRAME).min(self.max));
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increase);
    }

    /// Takes one answer, and returns whether there was one.
    pub(crate) fn take(&self) -> bool {
        let decrease = |credit: u32| credit.checked_sub(1);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decrease).is_ok()
    }
}
