//! A state for everyone: what it costs to send it to each session, and when the last one has it.

use std::io;
use std::time::Duration;

use super::states::States;
use super::{LIMIT, Mode, Outcome, Size, less, micros, steps};
use crate::load::fleet::Fleet;
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::processor_time;

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
/// States before the measured ones, for buffers that are made once.
const WARM_UP: usize = 2;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let counts: &[usize] = size.pick(&[2_000], &[10_000, 18_000]);
    let mut outcome = Outcome::of([]);
    for count in counts {
        let (each, mut deliveries) = publish(peer, *count, size.pick(11, 21))?;
        deliveries.sort_by(|one, other| last(one).total_cmp(&last(other)));
        let median = &deliveries[deliveries.len() / 2];
        if outcome.series.is_empty() {
            outcome.series = steps(median);
        }
        outcome.values.extend([each, last(median)]);
    }
    Ok(outcome)
}

/// The processor time in microseconds for each message, and when each state came to each session.
fn publish(peer: &Peer, count: usize, states: usize) -> io::Result<(f64, Vec<Vec<f64>>)> {
    let running = Running::start_publisher(peer)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(count)?;
    fleet.rest(Duration::from_millis(500))?;

    fleet.may_be_sent = true;
    let readers = vec![true; count];
    let texts = States::new(WARM_UP + states, LENGTH);
    for number in 0..WARM_UP {
        texts.deliver(number, &mut fleet, &running, &readers)?;
    }
    let used = processor_time(running.process)?;
    let numbers = WARM_UP..WARM_UP + states;
    let deliveries = numbers.map(|number| texts.deliver(number, &mut fleet, &running, &readers));
    let deliveries = deliveries.collect::<io::Result<_>>()?;
    let used = processor_time(running.process)? - used;
    fleet.check_open(count)?;
    Ok((micros(used) / (count * states) as f64, deliveries))
}

fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or_default()
}
