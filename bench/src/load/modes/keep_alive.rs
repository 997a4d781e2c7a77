//! What the server's own pings cost, and whether they come evenly or in a burst.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Mode, Outcome, Size, check, less, millis};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link};
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::processor_time;

pub(super) const MODE: Mode = Mode {
    name: "keep-alive",
    meaning: "5,000 connections that are pinged every 8 s (quick: 2,000, every 3 s)",
    measures: &[less("CPU in a second", "ms"), less("pings within 10 ms at most", "pings")],
    run,
};

/// Intervals over which it is measured.
const INTERVALS: u32 = 2;
const STEP: Duration = Duration::from_millis(10);

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let count = size.pick(2_000, 5_000);
    let interval = size.pick(3, 8);
    let running = Running::start(peer, interval)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(count)?;
    // And a half, so that no burst is on the border of what is measured.
    let interval = Duration::from_secs(interval);
    fleet.rest(interval * 3 / 2)?;

    let window = interval * INTERVALS;
    let mut steps = vec![0; 1 + (window.as_millis() / STEP.as_millis()) as usize];
    let (used, pings) = (processor_time(running.process)?, fleet.tally.pings);
    let began = Instant::now();
    fleet.play(window, &mut |_: &mut Link, event: Event<'_>| {
        if matches!(event, Event::Ping) {
            let step = (began.elapsed().as_millis() / STEP.as_millis()) as usize;
            let last = steps.len() - 1;
            steps[step.min(last)] += 1;
        }
        Ok(())
    })?;
    let used = processor_time(running.process)? - used;
    let pings = (fleet.tally.pings - pings) as f64;

    fleet.check_open(count)?;
    let each = pings / count as f64 / f64::from(INTERVALS);
    check((0.75..1.25).contains(&each), || format!("{each:.2} pings came for each interval"))?;
    let most = steps.iter().max().copied().unwrap_or(0);
    Ok(Outcome::of([millis(used) / window.as_secs_f64(), f64::from(most)]))
}
