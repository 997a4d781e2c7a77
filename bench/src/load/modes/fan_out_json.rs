//! Broadcast of larger states, with compression and without: the bytes that a session receives, the CPU
//! time for each message, and the time until the last session has a state.

use std::io;
use std::time::Duration;

use super::fan_out::{Load, WARM_UP, last, publish};
use super::states::{States, Wait};
use super::{Mode, Outcome, Size, histogram, less};
use crate::load::peer::Peer;

pub(super) const MODE: Mode = Mode {
    name: "fan-out-json",
    meaning: "states in JSON of 9 KB and, in a fresh process, of 28 KB, of which 5 % change, for \
        10,000 sessions that offer permessage-deflate (quick: 2,000), each published when all \
        sessions have the one before",
    measures: &[
        less("bytes for each message, of 9 KB", "bytes"),
        less("CPU for each message, of 9 KB", "µs"),
        less("until the last has it, of 9 KB", "ms"),
        less("bytes for each message, of 28 KB", "bytes"),
        less("CPU for each message, of 28 KB", "µs"),
        less("until the last has it, of 28 KB", "ms"),
    ],
    run,
};

/// Entries of the states, of 93 bytes on average.
const ENTRIES: [usize; 2] = [100, 300];
/// A server that compresses each state for each session needs minutes.
const TIME_LIMIT: Duration = Duration::from_secs(300);

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let measured = size.pick(11, 21);
    let mut outcome = Outcome::of([]);
    for entries in ENTRIES {
        let delivered = publish(
            peer,
            Load {
                sessions: size.pick(2_000, 10_000),
                states: States::services(WARM_UP + measured, entries),
                measured,
                offers_deflate: true,
                wait: Wait::Pause,
                time_limit: TIME_LIMIT,
            },
        )?;
        if outcome.series.is_empty() {
            outcome.series = histogram(&delivered.times);
        }
        outcome.values.extend([delivered.bytes, delivered.cpu, last(&delivered.times)]);
    }
    Ok(outcome)
}
