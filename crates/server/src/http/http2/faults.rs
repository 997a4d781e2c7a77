//! Passes the violations that the head check of an HTTP/2 connection finds to the task that answers
//! requests.

use std::collections::VecDeque;

use h2::{Reason, StreamId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::Rejection;

/// The maximum number of requests that wait for their refusal. If one is dropped, a request with a
/// malformed head gets 404 instead, and one with malformed trailers ends as if they were valid.
const MAX_PENDING: usize = 1024;

/// The violations of one connection.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
    connection_failed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Requests to refuse, in the order of their streams.
    pending: VecDeque<(u32, Rejection)>,
    /// The last stream for which [`Faults::take_rejection`] was called.
    last_answered: u32,
    connection_error: Option<Reason>,
}

impl Faults {
    /// Has the request on this stream refused. Returns false if it was answered before.
    pub(crate) fn refuse_request(&self, stream: u32, rejection: Rejection) -> bool {
        let state = &mut *self.state.lock();
        if stream <= state.last_answered {
            return false;
        }
        if state.pending.len() >= MAX_PENDING {
            state.pending.pop_front();
        }
        let index = state.pending.partition_point(|(id, _)| *id < stream);
        state.pending.insert(index, (stream, rejection));
        true
    }

    /// Reports a connection error (RFC 9113, section 5.4.1).
    pub(crate) fn fail_connection(&self, reason: Reason) {
        self.state.lock().connection_error = Some(reason);
        self.connection_failed.notify_one();
    }

    /// Returns the rejection of the request on this stream, if there is one. It must be called for every
    /// request, in the order of their streams.
    pub(crate) fn take_rejection(&self, stream: StreamId) -> Option<Rejection> {
        let State { pending, last_answered, .. } = &mut *self.state.lock();
        *last_answered = stream.as_u32();
        // h2 has refused the requests before this one, because too many streams were open.
        let end = pending.partition_point(|(id, _)| *id <= stream.as_u32());
        let last = pending.drain(..end).next_back();
        if pending.is_empty() {
            *pending = VecDeque::new();
        }
        last.filter(|(id, _)| *id == stream.as_u32()).map(|(_, rejection)| rejection)
    }

    /// Waits for a connection error. No more input is read after that. Cancel safe.
    pub(crate) async fn connection_error(&self) -> Reason {
        loop {
            self.connection_failed.notified().await;
            if let Some(reason) = self.state.lock().connection_error {
                return reason;
            }
        }
    }

    /// Returns the number of requests that wait for their refusal.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> usize {
        self.state.lock().pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_refusals_are_bounded() {
        let faults = Faults::default();
        for stream in (1..).step_by(2).take(5 * MAX_PENDING) {
            assert!(faults.refuse_request(stream, Rejection::Malformed));
        }
        assert_eq!(faults.pending(), MAX_PENDING);
    }
}
