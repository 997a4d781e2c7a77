//! Active connections: 64 of them, each with unanswered pings at all times.

use std::io;
use std::time::{Duration, Instant};

use super::{
    Measure, Mode, Outcome, PAYLOAD, Size, TIME_LIMIT, ensure, less, micros, more, percentile,
};
use crate::client::{PING, frame};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;
use crate::load::session::{Event, Session};

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
    /// Number of pongs that are missing.
    pending_pongs: usize,
}

fn run(peer: &Peer, size: Size, depth: usize) -> io::Result<Outcome> {
    let peer_process = PeerProcess::start(peer, 0)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(CONNECTIONS)?;

    let pings = frame(PING, PAYLOAD).repeat(depth);
    let mut batches = Vec::new();
    for key in 0..CONNECTIONS {
        batches.push(Batch { sent: Instant::now(), pending_pongs: depth });
        clients.session(key)?.send(&pings)?;
    }
    let mut round_trips = Vec::with_capacity(1 << 20);
    let mut on_event = |session: &mut Session, event: Event<'_>| {
        let batch = &mut batches[session.key];
        match event {
            Event::Pong => batch.pending_pongs -= 1,
            _ => return Err(io::Error::other("received something other than a pong")),
        }
        if batch.pending_pongs == 0 {
            let now = Instant::now();
            round_trips.push(now - batch.sent);
            *batch = Batch { sent: now, pending_pongs: depth };
            session.send(&pings)?;
        }
        Ok(())
    };
    clients.run_for(Duration::from_millis(500), &mut on_event)?;
    let (cpu, pongs) = (cpu_time(peer_process.process)?, clients.counters.pongs);
    let started_at = Instant::now();
    clients.run_for(size.pick(Duration::from_secs(1), Duration::from_secs(3)), &mut on_event)?;
    let cpu = cpu_time(peer_process.process)? - cpu;
    let (pongs, time) = ((clients.counters.pongs - pongs) as f64, started_at.elapsed());

    clients.verify_open(CONNECTIONS)?;
    ensure(pongs > 0.0 && round_trips.len() > CONNECTIONS * 10, || {
        "too few pongs arrived".to_owned()
    })?;
    let [median, p99] = [50, 99].map(|percent| micros(percentile(&mut round_trips, percent)));
    Ok(Outcome::of([micros(cpu) / pongs, pongs / time.as_secs_f64(), median, p99]))
}
