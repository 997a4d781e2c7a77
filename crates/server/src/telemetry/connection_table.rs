//! The table of open sessions for `/connections` of the admin listener.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use transport::ws_core::Counters;
use transport::{EndpointEvent, Identity, Peer, Protocol};

use crate::telemetry::peer_text::truncated;
use crate::time::milliseconds;

/// Maximum number of rows of a page.
pub(crate) const MAX_PAGE_ROWS: usize = 1000;

/// All open sessions by id. The counters are those of the latest [`EndpointEvent::Traffic`].
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable(Mutex<BTreeMap<u64, Row>>);

#[derive(Clone, Debug)]
struct Row {
    identity: Option<Identity>,
    peer: Peer,
    protocol: Protocol,
    origin: Box<str>,
    opened: Instant,
    round_trip: Option<Duration>,
    received: Counters,
    sent: Counters,
}

impl ConnectionTable {
    /// Records an event.
    pub(crate) fn record(&self, event: &EndpointEvent<'_>) {
        match *event {
            EndpointEvent::Closed { id, .. } => {
                self.0.lock().remove(&id);
            }
            EndpointEvent::Opened { id, identity, peer, protocol, request, .. } => {
                let origin = request.origin().unwrap_or_default();
                let row = Row {
                    identity: identity.cloned(),
                    peer,
                    protocol,
                    origin: truncated(origin).into(),
                    opened: Instant::now(),
                    round_trip: None,
                    received: Counters::default(),
                    sent: Counters::default(),
                };
                self.0.lock().insert(id, row);
            }
            EndpointEvent::Traffic { id, received, sent, round_trip, .. } => {
                if let Some(row) = self.0.lock().get_mut(&id) {
                    row.received += received;
                    row.sent += sent;
                    row.round_trip = round_trip.or(row.round_trip);
                }
            }
            EndpointEvent::Panicked { .. } | EndpointEvent::Refused { .. } | _ => {}
        }
    }

    /// Returns the first sessions with an id greater than `after`, at most `limit`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> Value {
        let (total, mut page) = {
            // Sessions wait for this lock, so the rows are only copied while it is held.
            let rows = self.0.lock();
            let following = rows.range((Bound::Excluded(after), Bound::Unbounded));
            let page: Vec<(u64, Row)> =
                following.take(limit + 1).map(|(id, row)| (*id, row.clone())).collect();
            (rows.len(), page)
        };
        let is_last = page.len() <= limit;
        page.truncate(limit);
        let next = page.last().map(|(id, _)| *id).filter(|_| !is_last);
        let connections: Vec<Value> = page.iter().map(|(id, row)| row.to_json(*id)).collect();
        json!({ "total": total, "next": next, "connections": connections })
    }
}

impl Row {
    /// The keys are the field names of the log event `closed`.
    fn to_json(&self, id: u64) -> Value {
        json!({
            "id": id,
            "identity": self.identity.as_ref().map(Identity::as_str),
            "peer": self.peer.to_string(),
            "protocol": self.protocol.as_str(),
            "origin": self.origin,
            "age_ms": milliseconds(self.opened.elapsed()),
            "rtt_ms": self.round_trip.map(milliseconds),
            "messages_in": self.received.messages,
            "messages_out": self.sent.messages,
            "bytes_in": self.received.bytes,
            "bytes_out": self.sent.bytes,
        })
    }
}
