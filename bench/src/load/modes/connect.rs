//! Clients that come and go, 32 at a time: connect, upgrade, and a closing handshake that the
//! client begins.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Mode, Outcome, Size, less, micros, more};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link};
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::processor_time;

pub(super) const MODE: Mode = Mode {
    name: "connect",
    meaning: "connections that are opened and closed, 32 at a time",
    measures: &[less("CPU for each connection", "µs"), more("connections per second", "1/s")],
    run,
};

const AT_ONCE: usize = 32;
const WARM_UP: usize = 500;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let count = size.pick(4_000, 20_000);
    let running = Running::start(peer, 0)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    come_and_go(&mut fleet, WARM_UP)?;
    let (used, began) = (processor_time(running.process)?, Instant::now());
    come_and_go(&mut fleet, count)?;
    let time = began.elapsed();
    let used = processor_time(running.process)? - used;
    Ok(Outcome::of([micros(used) / count as f64, count as f64 / time.as_secs_f64()]))
}

fn come_and_go(fleet: &mut Fleet, count: usize) -> io::Result<()> {
    let mut script = |link: &mut Link, event: Event<'_>| match event {
        Event::Opened => link.leave(),
        _ => Ok(()),
    };
    let all = fleet.tally.closes + count;
    while fleet.tally.closes < all || fleet.tally.begun > 0 {
        while fleet.tally.begun < AT_ONCE && fleet.tally.closes + fleet.tally.begun < all {
            fleet.start()?;
        }
        fleet.turn(Duration::from_secs(1), &mut script)?;
    }
    Ok(())
}
