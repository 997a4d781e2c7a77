//! Busy connections: 64 of them, each with some pings under way all the time.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Measure, Mode, Outcome, PAYLOAD, Size, check, less, micros, more, percentile};
use crate::client::{PING, frame};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link};
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::processor_time;

pub(super) const ONE: Mode = Mode {
    name: "ping-1",
    meaning: "64 connections with one ping under way on each",
    measures: MEASURES,
    run: |peer, size| run(peer, size, 1),
};

pub(super) const SIXTEEN: Mode = Mode {
    name: "ping-16",
    meaning: "64 connections that send 16 pings in one write each",
    measures: MEASURES,
    run: |peer, size| run(peer, size, 16),
};

const MEASURES: &[Measure] = &[
    less("CPU for each ping and pong", "µs"),
    more("pongs per second", "1/s"),
    less("round trip, median", "µs"),
    less("round trip, p99", "µs"),
];

const CONNECTIONS: usize = 64;

struct Batch {
    sent: Instant,
    /// Pongs that are still to come.
    owed: usize,
}

fn run(peer: &Peer, size: Size, depth: usize) -> io::Result<Outcome> {
    let running = Running::start(peer, 0)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(CONNECTIONS)?;

    let pings = frame(PING, PAYLOAD).repeat(depth);
    let mut batches = Vec::new();
    for slot in 0..CONNECTIONS {
        batches.push(Batch { sent: Instant::now(), owed: depth });
        fleet.link(slot)?.say(&pings)?;
    }
    let mut waits = Vec::with_capacity(1 << 20);
    let mut script = |link: &mut Link, event: Event<'_>| {
        let batch = &mut batches[link.slot];
        match event {
            Event::Pong => batch.owed -= 1,
            _ => return Err(io::Error::other("something else than a pong came")),
        }
        if batch.owed == 0 {
            let now = Instant::now();
            waits.push(now - batch.sent);
            *batch = Batch { sent: now, owed: depth };
            link.say(&pings)?;
        }
        Ok(())
    };
    fleet.play(Duration::from_millis(500), &mut script)?;
    let (used, pongs) = (processor_time(running.process)?, fleet.tally.pongs);
    let began = Instant::now();
    fleet.play(size.pick(Duration::from_secs(1), Duration::from_secs(3)), &mut script)?;
    let used = processor_time(running.process)? - used;
    let (pongs, time) = ((fleet.tally.pongs - pongs) as f64, began.elapsed());

    fleet.check_open(CONNECTIONS)?;
    check(pongs > 0.0 && waits.len() > CONNECTIONS * 10, || "next to no pongs came".to_owned())?;
    let [median, p99] = [50, 99].map(|percent| micros(percentile(&mut waits, percent)));
    Ok(Outcome::of([micros(used) / pongs, pongs / time.as_secs_f64(), median, p99]))
}
