//! Messages as fast as the server reads them, in large writes. A ping follows the last message; its pong
//! proves that all messages were read.

use std::io;
use std::time::{Duration, Instant};

use super::{Mode, Outcome, PAYLOAD, Size, TIME_LIMIT, less, millis, more};
use crate::client::{BINARY, PING, frame};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::cpu_time;
use crate::load::session::{Event, Session};

pub(super) const MODE: Mode = Mode {
    name: "absorb",
    meaning: "64 connections that send messages of 8 bytes in writes of 16 KiB",
    measures: &[less("CPU for a million messages", "ms"), more("messages per second", "1/s")],
    run,
};

const CONNECTIONS: usize = 64;
const WRITE: usize = 16 << 10;
/// Messages on each connection before the ping. The mode repeats this until its time has passed.
const MESSAGES: usize = 4_000;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let peer_process = PeerProcess::start(peer, 0)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(CONNECTIONS)?;
    send(&mut clients)?;
    let min_time = size.pick(Duration::from_secs(1), Duration::from_secs(3));
    let (cpu, started_at) = (cpu_time(peer_process.process)?, Instant::now());
    let mut messages = 0.0;
    while started_at.elapsed() < min_time {
        send(&mut clients)?;
        messages += (CONNECTIONS * MESSAGES) as f64;
    }
    let time = started_at.elapsed();
    let cpu = cpu_time(peer_process.process)? - cpu;
    clients.verify_open(CONNECTIONS)?;
    Ok(Outcome::of([millis(cpu) * 1e6 / messages, messages / time.as_secs_f64()]))
}

/// Sends messages on each connection, and waits for the pong behind them.
fn send(clients: &mut Clients) -> io::Result<()> {
    let all = [frame(BINARY, PAYLOAD).repeat(MESSAGES), frame(PING, PAYLOAD)].concat();
    let mut sent = [0; CONNECTIONS];
    let mut on_event = |session: &mut Session, event: Event<'_>| {
        if matches!(event, Event::Writable) {
            let sent = &mut sent[session.key];
            *sent += session.try_send(&all[*sent..all.len().min(*sent + WRITE)])?;
            session.wants_write = *sent < all.len();
        }
        Ok(())
    };
    let pongs = clients.counters.pongs + CONNECTIONS;
    clients.request_writable()?;
    while clients.counters.pongs < pongs {
        clients.poll(Duration::from_secs(1), &mut on_event)?;
    }
    Ok(())
}
