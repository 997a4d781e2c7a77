//! What is wrong with the requests of an HTTP/2 connection, between where it is found and where they are
//! answered.

use std::collections::VecDeque;

use h2::{Reason, StreamId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::Rejection;

/// Requests that may wait for their refusal. One with a bad head that is forgotten gets 404 instead, and one
/// with bad trailers an end.
const MAX_REQUESTS: usize = 1024;

/// The faults of one connection that were found in front of h2.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    found: Mutex<Found>,
    found_of_connection: Notify,
}

#[derive(Debug, Default)]
struct Found {
    /// Requests that are to be refused, in the order of their streams.
    requests: VecDeque<(u32, Rejection)>,
    /// The latest stream whose request was asked for.
    answered: u32,
    /// Why the connection is to end.
    of_connection: Option<Reason>,
}

impl Faults {
    /// Has a request refused; false if it is too late, because it was answered already.
    pub(crate) fn add_of_request(&self, stream: u32, rejection: Rejection) -> bool {
        let found = &mut *self.found.lock();
        if stream <= found.answered {
            return false;
        }
        if found.requests.len() >= MAX_REQUESTS {
            found.requests.pop_front();
        }
        let place = found.requests.partition_point(|(id, _)| *id < stream);
        found.requests.insert(place, (stream, rejection));
        true
    }

    pub(crate) fn add_of_connection(&self, reason: Reason) {
        self.found.lock().of_connection = Some(reason);
        self.found_of_connection.notify_one();
    }

    /// Why the request on this stream is to be refused, if it is. It is asked for all requests, in the
    /// order of their streams.
    pub(crate) fn take(&self, stream: StreamId) -> Option<Rejection> {
        let Found { requests, answered, .. } = &mut *self.found.lock();
        *answered = stream.as_u32();
        // h2 has refused those before it by itself, because too many streams were open.
        let until = requests.partition_point(|(id, _)| *id <= stream.as_u32());
        let last = requests.drain(..until).next_back();
        if requests.is_empty() {
            *requests = VecDeque::new();
        }
        last.filter(|(id, _)| *id == stream.as_u32()).map(|(_, rejection)| rejection)
    }

    /// Waits for a fault that ends the connection. Nothing more is read from then on. Cancel safe.
    pub(crate) async fn of_connection(&self) -> Reason {
        loop {
            self.found_of_connection.notified().await;
            if let Some(reason) = self.found.lock().of_connection {
                return reason;
            }
        }
    }

    /// How many requests wait for their refusal.
    #[cfg(test)]
    pub(crate) fn requests(&self) -> usize {
        self.found.lock().requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_bounded_and_the_latest_is_kept() {
        let faults = Faults::default();
        for stream in (1..).step_by(2).take(5 * MAX_REQUESTS) {
            assert!(faults.add_of_request(stream, Rejection::Malformed));
        }
        assert_eq!(faults.requests(), MAX_REQUESTS);
    }
}
