//! The record of a session that is handed over.
//!
//! Its fields have names on the wire. A field that one of the two processes does not know is passed over or
//! has its default, and a version that the successor does not know is refused: that session is drained.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use transport::ws_core::{
    BucketSnapshot, Cause, CloseCode, Counters, ScheduledClose, Snapshot, Stats,
};
use transport::{Compression, FrozenSession, Identity, Peer};

use super::messages::monotonic_now;
use crate::limits::client_network;
use crate::net::client_addr::ClientAddrPolicy;
use crate::telemetry::TableRow;

/// The version of records that this process writes. It changes only if an older process would misunderstand
/// a record, and not when a field is added.
const VERSION: u32 = 1;

/// A session as it is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    version: u32,
    pub(super) id: u64,
    /// The path of its endpoint.
    pub(super) path: String,
    age_ns: u64,
    /// When it was frozen, by [`monotonic_now`](monotonic_now).
    pub(super) frozen_at_ns: u64,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    compression: Option<String>,
    /// What its handler has frozen.
    #[serde(default)]
    handler: Bytes,
    /// The address whose limit it counts for.
    #[serde(default)]
    address: Option<IpAddr>,
    /// What the table of sessions has beside, if there is one.
    #[serde(default)]
    pub(super) row: Option<TableRow>,
    machine: MachineRecord,
}

/// The state machine. Times are in nanoseconds since the opening.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct MachineRecord {
    ping_due: u64,
    ping_sent_at: Option<u64>,
    pong_deadline: Option<u64>,
    pong_deadline_is_extended: bool,
    close: Option<CloseRecord>,
    expiry: Option<u64>,
    messages: BucketRecord,
    control_frames: BucketRecord,
    stalled_at: Option<u64>,
    stats: StatsRecord,
}

/// A scheduled close.
#[derive(Debug, Serialize, Deserialize)]
struct CloseRecord {
    at: u64,
    cause: String,
    code: u16,
    #[serde(default)]
    retry: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BucketRecord {
    full_at: u64,
    credit: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StatsRecord {
    pings: u16,
    pongs: u16,
    round_trip: Option<u64>,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    control_frames_in: u16,
    control_frames_out: u16,
}

impl SessionRecord {
    pub(super) fn new(
        frozen: FrozenSession,
        path: String,
        address: Option<IpAddr>,
        row: Option<TableRow>,
    ) -> Self {
        let FrozenSession { id, age, identity, compression, snapshot, handler } = frozen;
        Self {
            version: VERSION,
            id,
            path,
            age_ns: nanos(age),
            frozen_at_ns: monotonic_now(),
            identity: identity.map(|identity| identity.as_str().to_owned()),
            compression: compression.map(|compression| compression.as_str().to_owned()),
            handler,
            address,
            row,
            machine: MachineRecord::of(&snapshot),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("a record can be encoded")
    }

    /// Returns `None` if this is no record, or one of an unknown version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let record: Self = rmp_serde::from_slice(bytes).ok()?;
        let is_known = record.version == VERSION && record.id > 0; // The first id is 1.
        is_known.then_some(record)
    }

    /// Returns the address whose limit the session counts for, if it is known. `peer` is the peer of its socket,
    /// which is the client, unless it is a proxy.
    pub(super) fn client_address(&self, peer: Peer, policy: &ClientAddrPolicy) -> Option<IpAddr> {
        let client = || match &self.row {
            Some(row) => Some(row.peer()),
            None => Some(peer).filter(|peer| !policy.is_proxy(*peer)),
        };
        self.address.or_else(|| client()?.ip().map(client_network))
    }

    /// Returns the session. `None` if something in it has no meaning in this process.
    pub(super) fn frozen(&self) -> Option<FrozenSession> {
        let identity = self.identity.as_deref().map(Identity::try_from).transpose().ok()?;
        let compression = match self.compression.as_deref() {
            None => None,
            Some("fresh") => Some(Compression::Fresh),
            Some("shared") => Some(Compression::Shared),
            Some(_) => return None,
        };
        Some(FrozenSession {
            id: self.id,
            age: Duration::from_nanos(self.age_ns),
            identity,
            compression,
            snapshot: self.machine.snapshot()?,
            handler: self.handler.clone(),
        })
    }
}

impl MachineRecord {
    fn of(snapshot: &Snapshot) -> Self {
        let Stats { pings, pongs, round_trip, received, sent, .. } = snapshot.stats;
        Self {
            ping_due: nanos(snapshot.ping_due),
            ping_sent_at: snapshot.ping_sent_at.map(nanos),
            pong_deadline: snapshot.pong_deadline.map(nanos),
            pong_deadline_is_extended: snapshot.pong_deadline_is_extended,
            close: snapshot.scheduled_close.map(CloseRecord::of),
            expiry: snapshot.expiry.map(nanos),
            messages: BucketRecord::of(snapshot.messages),
            control_frames: BucketRecord::of(snapshot.control_frames),
            stalled_at: snapshot.stalled_at.map(nanos),
            stats: StatsRecord {
                pings,
                pongs,
                round_trip: round_trip.map(nanos),
                messages_in: received.messages,
                messages_out: sent.messages,
                bytes_in: received.bytes,
                bytes_out: sent.bytes,
                control_frames_in: snapshot.stats.control_frames_received,
                control_frames_out: snapshot.stats.control_frames_sent,
            },
        }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let time = Duration::from_nanos;
        let mut snapshot = Snapshot::default();
        snapshot.ping_due = time(self.ping_due);
        snapshot.ping_sent_at = self.ping_sent_at.map(time);
        snapshot.pong_deadline = self.pong_deadline.map(time);
        snapshot.pong_deadline_is_extended = self.pong_deadline_is_extended;
        snapshot.scheduled_close = match &self.close {
            Some(close) => Some(close.scheduled()?),
            None => None,
        };
        snapshot.expiry = self.expiry.map(time);
        snapshot.messages = self.messages.snapshot();
        snapshot.control_frames = self.control_frames.snapshot();
        snapshot.stalled_at = self.stalled_at.map(time);
        let stats = &mut snapshot.stats;
        (stats.pings, stats.pongs) = (self.stats.pings, self.stats.pongs);
        stats.round_trip = self.stats.round_trip.map(time);
        stats.received = Counters { messages: self.stats.messages_in, bytes: self.stats.bytes_in };
        stats.sent = Counters { messages: self.stats.messages_out, bytes: self.stats.bytes_out };
        stats.control_frames_received = self.stats.control_frames_in;
        stats.control_frames_sent = self.stats.control_frames_out;
        Some(snapshot)
    }
}

impl CloseRecord {
    fn of(ScheduledClose { at, cause, code, retry }: ScheduledClose) -> Self {
        let cause = cause.as_str().to_owned();
        Self { at: nanos(at), cause, code: code.into(), retry: retry.map(nanos) }
    }

    fn scheduled(&self) -> Option<ScheduledClose> {
        Some(ScheduledClose {
            at: Duration::from_nanos(self.at),
            cause: *Cause::ALL.iter().find(|cause| cause.as_str() == self.cause)?,
            code: CloseCode::try_from(self.code).ok()?,
            retry: self.retry.map(Duration::from_nanos),
        })
    }
}

impl BucketRecord {
    fn of(BucketSnapshot { full_at, credit }: BucketSnapshot) -> Self {
        Self { full_at: nanos(full_at), credit: nanos(credit) }
    }

    fn snapshot(&self) -> BucketSnapshot {
        let Self { full_at, credit } = *self;
        BucketSnapshot {
            full_at: Duration::from_nanos(full_at),
            credit: Duration::from_nanos(credit),
        }
    }
}

/// Returns the nanoseconds, at most `u64::MAX`.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
