//! The table of open sessions for `/connections` of the admin listener.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use transport::ws_core::{Counters, Stats};
use transport::{EndpointEvent, FrozenSession, Identity, Peer, Protocol};

use crate::telemetry::peer_text::truncated;
use crate::time::milliseconds;

/// Maximum number of rows of a page.
pub(crate) const MAX_PAGE_ROWS: usize = 1000;

/// All open sessions by id. The counters are those of the latest [`EndpointEvent::Traffic`].
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable(Mutex<BTreeMap<u64, Row>>);

/// What a row has that its session has not, for another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableRow {
    /// In the form of the log.
    peer: String,
    #[serde(default)]
    origin: String,
}

/// What the table has of a session.
#[derive(Clone, Debug)]
pub(crate) struct Row {
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
            EndpointEvent::Closed { id, .. } | EndpointEvent::HandedOver { id, .. } => {
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

    /// Returns what another process needs for the row of a session.
    pub(crate) fn row(&self, id: u64) -> Option<TableRow> {
        let rows = self.0.lock();
        let Row { peer, origin, .. } = rows.get(&id)?;
        Some(TableRow { peer: peer.to_string(), origin: origin.to_string() })
    }

    /// Enters a session of another process.
    pub(crate) fn insert(&self, id: u64, row: Row) {
        self.0.lock().insert(id, row);
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

impl TableRow {
    pub(crate) fn peer(&self) -> Peer {
        let address = self.peer.parse().map(Peer::Address).ok();
        address.or_else(|| self.peer.parse().map(Peer::Host).ok()).unwrap_or(Peer::Local)
    }
}

impl Row {
    /// Creates the row of a session of another process. `peer` is the peer of the socket, if that process had
    /// no table.
    pub(crate) fn of(session: &FrozenSession, row: Option<&TableRow>, peer: Peer) -> Self {
        let Stats { round_trip, received, sent, .. } = session.snapshot.stats;
        Self {
            identity: session.identity.clone(),
            peer: row.map_or(peer, TableRow::peer),
            protocol: Protocol::Http1,
            origin: truncated(row.map_or("", |row| &row.origin)).into(),
            opened: Instant::now().checked_sub(session.age).unwrap_or_else(Instant::now),
            round_trip,
            received,
            sent,
        }
    }

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
