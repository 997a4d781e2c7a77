//! The table of open connections, for an operator who asks who is there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use transport::ws_core::Counters;
use transport::{EndpointEvent, Peer, Protocol};

use crate::telemetry::peer_text::truncated;
use crate::time::milliseconds;

/// How many connections a page of the table holds at most.
pub(crate) const MAX_PAGE_ROWS: usize = 1000;

/// Every open session by its number. What is counted is as of its latest ping or million.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable(Mutex<BTreeMap<u64, Row>>);

#[derive(Clone, Debug)]
struct Row {
    peer: Peer,
    protocol: Protocol,
    origin: Box<str>,
    opened: Instant,
    round_trip: Option<Duration>,
    received: Counters,
    sent: Counters,
}

impl ConnectionTable {
    /// Takes in one fact.
    pub(crate) fn record(&self, event: &EndpointEvent<'_>) {
        match *event {
            EndpointEvent::Closed { id, .. } => {
                self.0.lock().remove(&id);
            }
            EndpointEvent::Opened { id, peer, protocol, request, .. } => {
                let origin = request.origin().unwrap_or_default();
                let row = Row {
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

    /// The first connections behind the number `after`, at most `most`.
    pub(crate) fn page(&self, after: u64, most: usize) -> Value {
        let (total, mut page) = {
            // Sessions wait for this lock, so nothing is written while it is held.
            let rows = self.0.lock();
            let behind = rows.range((Bound::Excluded(after), Bound::Unbounded));
            let page: Vec<(u64, Row)> =
                behind.take(most + 1).map(|(id, row)| (*id, row.clone())).collect();
            (rows.len(), page)
        };
        let is_last = page.len() <= most;
        page.truncate(most);
        let next = page.last().map(|(id, _)| *id).filter(|_| !is_last);
        let connections: Vec<Value> = page.iter().map(|(id, row)| row.to_json(*id)).collect();
        json!({ "total": total, "next": next, "connections": connections })
    }
}

impl Row {
    /// The names are those of the log's `closed` line.
    fn to_json(&self, id: u64) -> Value {
        json!({
            "id": id,
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
