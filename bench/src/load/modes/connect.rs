//! Short connections, 32 at a time: connect, upgrade, and a closing handshake started by the client.

use std::io;
use std::time::{Duration, Instant};

use super::{Mode, Outcome, Size, TIME_LIMIT, less, micros, more};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;
use crate::load::session::{Event, Session};

pub(super) const MODE: Mode = Mode {
    name: "connect",
    meaning: "connections that are opened and closed, 32 at a time",
    measures: &[less("CPU for each connection", "µs"), more("connections per second", "1/s")],
    run,
};

const MAX_PENDING: usize = 32;
const WARM_UP: usize = 500;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let count = size.pick(4_000, 20_000);
    let peer_process = PeerProcess::start(peer, 0)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    open_and_close(&mut clients, WARM_UP)?;
    let (cpu, started_at) = (cpu_time(peer_process.process)?, Instant::now());
    open_and_close(&mut clients, count)?;
    let time = started_at.elapsed();
    let cpu = cpu_time(peer_process.process)? - cpu;
    Ok(Outcome::of([micros(cpu) / count as f64, count as f64 / time.as_secs_f64()]))
}

fn open_and_close(clients: &mut Clients, count: usize) -> io::Result<()> {
    let mut on_event = |session: &mut Session, event: Event<'_>| match event {
        Event::Opened => session.start_close(),
        _ => Ok(()),
    };
    let all = clients.counters.closes + count;
    while clients.counters.closes < all || clients.counters.started > 0 {
        while clients.counters.started < MAX_PENDING
            && clients.counters.closes + clients.counters.started < all
        {
            clients.start()?;
        }
        clients.poll(Duration::from_secs(1), &mut on_event)?;
    }
    Ok(())
}
