//! Messages as fast as they are taken, in large writes. That the ping behind the last one is
//! answered proves that all were read.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Mode, Outcome, PAYLOAD, Size, less, millis, more};
use crate::client::{BINARY, PING, frame};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link};
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::processor_time;

pub(super) const MODE: Mode = Mode {
    name: "absorb",
    meaning: "64 connections that send messages of 8 bytes in writes of 16 KiB",
    measures: &[less("CPU for a million messages", "ms"), more("messages per second", "1/s")],
    run,
};

const CONNECTIONS: usize = 64;
const WRITE: usize = 16 << 10;
/// Messages on each connection before the ping; this is repeated until the time is up.
const EACH: usize = 4_000;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let running = Running::start(peer, 0)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(CONNECTIONS)?;
    send(&mut fleet)?;
    let least = size.pick(Duration::from_secs(1), Duration::from_secs(3));
    let (used, began) = (processor_time(running.process)?, Instant::now());
    let mut messages = 0.0;
    while began.elapsed() < least {
        send(&mut fleet)?;
        messages += (CONNECTIONS * EACH) as f64;
    }
    let time = began.elapsed();
    let used = processor_time(running.process)? - used;
    fleet.check_open(CONNECTIONS)?;
    Ok(Outcome::of([millis(used) * 1e6 / messages, messages / time.as_secs_f64()]))
}

/// Sends messages on each connection, and waits until they have been read.
fn send(fleet: &mut Fleet) -> io::Result<()> {
    let all = [frame(BINARY, PAYLOAD).repeat(EACH), frame(PING, PAYLOAD)].concat();
    let mut sent = [0; CONNECTIONS];
    let mut script = |link: &mut Link, event: Event<'_>| {
        if matches!(event, Event::Room) {
            let sent = &mut sent[link.slot];
            *sent += link.offer(&all[*sent..all.len().min(*sent + WRITE)])?;
            link.wants_room = *sent < all.len();
        }
        Ok(())
    };
    let pongs = fleet.tally.pongs + CONNECTIONS;
    fleet.want_room()?;
    while fleet.tally.pongs < pongs {
        fleet.turn(Duration::from_secs(1), &mut script)?;
    }
    Ok(())
}
