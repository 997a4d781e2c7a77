//! Broadcast: the CPU time for each message, and the time until the last session has received a state.

use std::io;
use std::time::Duration;

use super::states::States;
use super::{Mode, Outcome, Size, TIME_LIMIT, histogram, less, micros};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;

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
    run,
};

const LENGTH: usize = 200;
/// States before the measured ones, so that buffers are allocated.
const WARM_UP: usize = 2;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let counts: &[usize] = size.pick(&[2_000], &[10_000, 18_000]);
    let mut outcome = Outcome::of([]);
    for count in counts {
        let (each, mut deliveries) = publish(peer, *count, size.pick(11, 21))?;
        deliveries.sort_by(|one, other| last(one).total_cmp(&last(other)));
        let median = &deliveries[deliveries.len() / 2];
        if outcome.series.is_empty() {
            outcome.series = histogram(median);
        }
        outcome.values.extend([each, last(median)]);
    }
    Ok(outcome)
}

/// Returns the CPU time for each message in microseconds, and the delivery times of each state.
fn publish(peer: &Peer, count: usize, states: usize) -> io::Result<(f64, Vec<Vec<f64>>)> {
    let peer_process = PeerProcess::start_publisher(peer)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(count)?;
    clients.idle_for(Duration::from_millis(500))?;

    clients.expects_messages = true;
    let readers = vec![true; count];
    let texts = States::new(WARM_UP + states, LENGTH);
    for number in 0..WARM_UP {
        texts.deliver(number, &mut clients, &peer_process, &readers)?;
    }
    let cpu = cpu_time(peer_process.process)?;
    let numbers = WARM_UP..WARM_UP + states;
    let deliveries =
        numbers.map(|number| texts.deliver(number, &mut clients, &peer_process, &readers));
    let deliveries = deliveries.collect::<io::Result<_>>()?;
    let cpu = cpu_time(peer_process.process)? - cpu;
    clients.verify_open(count)?;
    Ok((micros(cpu) / (count * states) as f64, deliveries))
}

fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or_default()
}
