//! The end: how long it takes from SIGTERM until every client has its Close frame.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Mode, Outcome, PAYLOAD, Size, less, millis, steps};
use crate::client::{PING, frame};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link};
use crate::load::peer::Peer;
use crate::load::running::Running;

pub(super) const MODE: Mode = Mode {
    name: "drain",
    meaning: "SIGTERM with 5,000 idle connections (quick: 1,000)",
    measures: &[
        less("until the last Close frame", "ms"),
        less("until every connection has ended", "ms"),
    ],
    run,
};

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let count = size.pick(1_000, 5_000);
    let mut running = Running::start(peer, 0)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(count)?;
    fleet.ask_all(&frame(PING, PAYLOAD), 1)?;
    fleet.rest(Duration::from_millis(300))?;
    fleet.check_open(count)?;

    fleet.may_be_told = Some(1001);
    let began = Instant::now();
    running.terminate()?;
    let mut told = Vec::with_capacity(count);
    let mut script = |_: &mut Link, event: Event<'_>| {
        if matches!(event, Event::Close) {
            told.push(millis(began.elapsed()));
        }
        Ok(())
    };
    // Whoever is cut without a Close frame is an error of the fleet.
    while fleet.tally.begun > 0 {
        fleet.turn(Duration::from_secs(1), &mut script)?;
    }
    let ended = millis(began.elapsed());
    running.end_well(Duration::from_secs(5))?;
    let last = told.last().copied().unwrap_or_default();
    Ok(Outcome { values: vec![last, ended], series: steps(&told) })
}
