//! Broadcast: the CPU time for each message, and the time until the last session has received a state.

use std::io;
use std::time::Duration;

use super::states::{States, Wait};
use super::{Mode, Outcome, Size, TIME_LIMIT, ensure, histogram, less, micros};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;
use crate::load::protocol::Protocol;

pub(super) const MODE: Mode = Mode {
    name: "fan-out",
    meaning: "states of 200 bytes for 10,000 sessions (quick: 2,000) and for 18,000 (quick: not), \
        each published when all sessions have the one before",
    measures: &[
        less("CPU for each message", "µs"),
        less("until the last session has it, median", "ms"),
        less("CPU for each message, of 18,000", "µs"),
        less("until the last has it, of 18,000", "ms"),
    ],
    run: |peer, size| run(peer, size.pick(&[2_000], &[10_000, 18_000]), size, Wait::Pause),
};

/// The same with a load generator that is woken by the messages, as a simple one is.
pub(super) const WOKEN: Mode = Mode {
    name: "fan-out-woken",
    meaning: "as fan-out, of 10,000 sessions (quick: 2,000), read by a thread that blocks in epoll",
    measures: &[
        less("CPU for each message", "µs"),
        less("until the last session has it, median", "ms"),
    ],
    run: |peer, size| run(peer, size.pick(&[2_000], &[10_000]), size, Wait::Epoll),
};

const LENGTH: usize = 200;
/// States before the measured ones, so that buffers are allocated.
pub(super) const WARM_UP: usize = 2;

fn run(peer: &Peer, counts: &[usize], size: Size, wait: Wait) -> io::Result<Outcome> {
    let measured = size.pick(11, 21);
    let mut outcome = Outcome::of([]);
    for count in counts {
        let delivered = publish(
            peer,
            Load {
                sessions: *count,
                states: States::numbered(WARM_UP + measured, LENGTH),
                measured,
                offers_deflate: false,
                wait,
                time_limit: TIME_LIMIT,
            },
        )?;
        if outcome.series.is_empty() {
            outcome.series = histogram(&delivered.times);
        }
        outcome.values.extend([delivered.cpu, last(&delivered.times)]);
    }
    Ok(outcome)
}

/// What is published to how many sessions.
pub(super) struct Load {
    pub(super) sessions: usize,
    pub(super) states: States,
    /// The number of states, without the [first ones](WARM_UP).
    pub(super) measured: usize,
    /// Whether sessions offer permessage-deflate.
    pub(super) offers_deflate: bool,
    pub(super) wait: Wait,
    pub(super) time_limit: Duration,
}

pub(super) struct Delivered {
    /// The CPU time for each message in microseconds.
    pub(super) cpu: f64,
    /// The bytes that a session received for each state.
    pub(super) bytes: f64,
    /// The times of the state for which the last one is the median, in milliseconds.
    pub(super) times: Vec<f64>,
}

/// Publishes each state when all sessions have the one before.
pub(super) fn publish(peer: &Peer, load: Load) -> io::Result<Delivered> {
    let Load { sessions, mut states, measured, offers_deflate, wait, time_limit } = load;
    let peer_process = PeerProcess::start_publisher(peer)?;
    let protocol = Protocol { offers_deflate, ..peer_process.protocol.clone() };
    let mut clients = Clients::new(peer_process.address, &protocol, time_limit)?;
    clients.open(sessions)?;
    clients.idle_for(Duration::from_millis(500))?;
    for key in 0..sessions {
        ensure(
            clients.session(key)?.is_compressed() == (peer.compresses && offers_deflate),
            || {
                "a session is compressed although it should not be, or is not although it should"
                    .to_owned()
            },
        )?;
    }

    clients.expects_messages = true;
    let readers = vec![true; sessions];
    for number in 0..WARM_UP {
        states.deliver(number, &mut clients, &peer_process, &readers, wait)?;
    }
    let (cpu, bytes) = (cpu_time(peer_process.process)?, clients.counters.bytes);
    let numbers = WARM_UP..WARM_UP + measured;
    let deliveries =
        numbers.map(|number| states.deliver(number, &mut clients, &peer_process, &readers, wait));
    let mut deliveries: Vec<Vec<f64>> = deliveries.collect::<io::Result<_>>()?;
    let cpu = cpu_time(peer_process.process)? - cpu;
    let bytes = clients.counters.bytes - bytes;
    clients.verify_open(sessions)?;
    deliveries.sort_by(|one, other| last(one).total_cmp(&last(other)));
    let messages = (sessions * measured) as f64;
    Ok(Delivered {
        cpu: micros(cpu) / messages,
        bytes: bytes as f64 / messages,
        times: deliveries.swap_remove(deliveries.len() / 2),
    })
}

pub(super) fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or_default()
}
