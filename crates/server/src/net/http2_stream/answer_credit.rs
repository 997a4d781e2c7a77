//! The answers that a client owes to what its sessions were sent.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many frames answer a DATA frame: one opens the window of its stream, and one the connection's.
const ANSWERS: u32 = 2;

/// Answers that a client may send for free.
#[derive(Debug)]
pub(crate) struct AnswerCredit {
    credit: AtomicU32,
    most: u32,
}

impl AnswerCredit {
    /// No credit yet, and never more than `most`.
    pub(crate) fn new(most: u32) -> Self {
        Self { credit: AtomicU32::new(0), most }
    }

    /// A session has sent a DATA frame, which the client may answer.
    pub(crate) fn earn(&self) {
        let more = |credit: u32| Some(credit.saturating_add(ANSWERS).min(self.most));
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a frame is an answer, of which there is one less then.
    pub(crate) fn take(&self) -> bool {
        let less = |credit: u32| credit.checked_sub(1);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}
