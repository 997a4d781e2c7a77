//! The CPU time of the server's pings, and whether they are spread evenly or sent in a burst.

use std::io;
use std::time::{Duration, Instant};

use super::{Mode, Outcome, Size, TIME_LIMIT, ensure, less, millis};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;
use crate::load::session::{Event, Session};

pub(super) const MODE: Mode = Mode {
    name: "keep-alive",
    meaning: "5,000 connections that are pinged every 8 s (quick: 2,000, every 3 s)",
    measures: &[less("CPU in a second", "ms"), less("most pings within 10 ms", "pings")],
    run,
};

/// Ping intervals that are measured.
const INTERVALS: u32 = 2;
const BIN: Duration = Duration::from_millis(10);

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let count = size.pick(2_000, 5_000);
    let interval = size.pick(3, 8);
    let peer_process = PeerProcess::start(peer, interval)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(count)?;
    // One and a half intervals, so that no burst falls on the boundary of the measurement.
    let interval = Duration::from_secs(interval);
    clients.idle_for(interval * 3 / 2)?;

    let window = interval * INTERVALS;
    let mut histogram = vec![0; 1 + (window.as_millis() / BIN.as_millis()) as usize];
    let (cpu, pings) = (cpu_time(peer_process.process)?, clients.counters.pings);
    let started_at = Instant::now();
    clients.run_for(window, &mut |_: &mut Session, event: Event<'_>| {
        if matches!(event, Event::Ping) {
            let bin = (started_at.elapsed().as_millis() / BIN.as_millis()) as usize;
            let last = histogram.len() - 1;
            histogram[bin.min(last)] += 1;
        }
        Ok(())
    })?;
    let cpu = cpu_time(peer_process.process)? - cpu;
    let pings = (clients.counters.pings - pings) as f64;

    clients.verify_open(count)?;
    let each = pings / count as f64 / f64::from(INTERVALS);
    ensure((0.75..1.25).contains(&each), || format!("{each:.2} pings arrived in each interval"))?;
    let most = histogram.iter().max().copied().unwrap_or(0);
    Ok(Outcome::of([millis(cpu) / window.as_secs_f64(), f64::from(most)]))
}
