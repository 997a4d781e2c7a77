//! What the two processes of a handover say to each other, each in a frame of the control connection.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transport::DrainOptions;
use transport::ws_core::CloseCode;

use super::channel::Channel;
use crate::config::ShutdownOptions;
use crate::net::handed_over::SocketDescription;

/// The version of the protocol. Processes with different ones do not hand anything over.
pub(super) const PROTOCOL: u32 = 1;

/// From the successor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromSuccessor {
    /// The first message.
    Hello {
        protocol: u32,
        pid: u32,
        /// How the predecessor closes what it cannot hand over.
        drain: DrainRecord,
    },
    /// The successor is composed, and waits for sessions.
    Ready,
    /// These sessions of the batch, by their indices in it, stay with the predecessor. `Taken` follows.
    Refusing { indices: Vec<usize> },
    /// The batch is the successor's. Short enough to be written as a whole or not at all.
    Taken,
    /// All sessions of the first batch have continued.
    Serving,
}

/// From the predecessor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromPredecessor {
    /// In place of `Welcome`.
    Refused { reason: String },
    /// With the reading end of the pipe, and the listening sockets.
    Welcome {
        pid: u32,
        /// How long the predecessor waits for sessions that are not at rest.
        wait_ms: u64,
        /// The least id that the successor may assign. It holds as well if the predecessor dies before the
        /// first batch is sealed.
        next_id: u64,
        listeners: Vec<SocketDescription>,
    },
    /// Records of sessions, with a descriptor for each.
    Sessions { records: Vec<Bytes> },
    /// The end of a batch.
    Sealed(Seal),
    /// Nothing more is handed over. What the predecessor still has is drained.
    Finished { open: u64 },
    /// How many sessions the predecessor still has.
    Draining { open: u64 },
}

/// What belongs to a batch as a whole.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Seal {
    /// The states of the program, by name.
    pub(super) states: Vec<(String, Bytes)>,
}

/// The part of [`ShutdownOptions`] that a drain after a handover has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct DrainRecord {
    code: u16,
    spread_ms: u64,
    reconnect_spread_ms: u64,
    grace_ms: u64,
}

impl From<ShutdownOptions> for DrainRecord {
    fn from(options: ShutdownOptions) -> Self {
        let DrainOptions { code, spread, reconnect_spread } = options.drain;
        Self {
            code: code.into(),
            spread_ms: millis(spread),
            reconnect_spread_ms: millis(reconnect_spread),
            grace_ms: millis(options.grace),
        }
    }
}

impl From<DrainRecord> for ShutdownOptions {
    /// Without a delay: the listening sockets are the successor's.
    fn from(record: DrainRecord) -> Self {
        let DrainRecord { code, spread_ms, reconnect_spread_ms, grace_ms } = record;
        Self {
            grace: Duration::from_millis(grace_ms),
            delay: Duration::ZERO,
            drain: DrainOptions {
                code: CloseCode::try_from(code).unwrap_or(CloseCode::GOING_AWAY),
                spread: Duration::from_millis(spread_ms),
                reconnect_spread: Duration::from_millis(reconnect_spread_ms),
            },
        }
    }
}

/// Sends a message.
pub(super) async fn send<T: Serialize>(
    channel: &mut Channel,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let frame = rmp_serde::to_vec_named(message).map_err(io::Error::other)?;
    channel.send(&frame, descriptors).await
}

/// Decodes a message. An unknown one is an error.
pub(super) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    rmp_serde::from_slice(frame)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Returns the time of a clock that all processes of this system share, in nanoseconds.
pub(super) fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
