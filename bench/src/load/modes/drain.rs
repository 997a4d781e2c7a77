//! Shutdown: the time from SIGTERM until every client has received its Close frame.

use std::io;
use std::time::{Duration, Instant};

use super::{Mode, Outcome, PAYLOAD, Size, TIME_LIMIT, histogram, less, millis};
use crate::client::{PING, frame};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::session::{Event, Session};

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
    let mut peer_process = PeerProcess::start(peer, 0)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(count)?;
    clients.send_to_all(&frame(PING, PAYLOAD), 1)?;
    clients.idle_for(Duration::from_millis(300))?;
    clients.verify_open(count)?;

    clients.expected_close = Some(1001);
    let started_at = Instant::now();
    peer_process.terminate()?;
    let mut closed_at = Vec::with_capacity(count);
    let mut on_event = |_: &mut Session, event: Event<'_>| {
        if matches!(event, Event::Close) {
            closed_at.push(millis(started_at.elapsed()));
        }
        Ok(())
    };
    // A session that ends without a Close frame makes `poll` fail.
    while clients.counters.started > 0 {
        clients.poll(Duration::from_secs(1), &mut on_event)?;
    }
    let ended = millis(started_at.elapsed());
    peer_process.wait_for_exit(Duration::from_secs(5))?;
    let last = closed_at.last().copied().unwrap_or_default();
    Ok(Outcome { values: vec![last, ended], series: histogram(&closed_at) })
}
