//! Round trips of active clients beside idle connections, during a burst of new ones, and after SIGTERM.

use std::io;
use std::time::{Duration, Instant};

use super::{Mode, Outcome, PAYLOAD, Size, TIME_LIMIT, ensure, less, micros, millis, percentile};
use crate::client::{PING, frame};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::session::{Counters, Event, Session};

pub(super) const MODE: Mode = Mode {
    name: "stall",
    meaning: "32 connections that ping every 5 ms: beside 10,000 idle ones (quick: 2,000), while \
        9,000 more connect (quick: 2,000), and at the end",
    measures: &[
        less("pong beside idle ones, p99", "µs"),
        less("pong beside idle ones, median", "µs"),
        less("latest pong while many connect", "ms"),
        less("latest answer after SIGTERM", "ms"),
    ],
    run,
};

const ACTIVE: usize = 32;
const PING_INTERVAL: Duration = Duration::from_millis(5);
/// The most connections of the burst that may be pending, below the listen backlog of any peer.
const MAX_PENDING: usize = 1000;
/// Connections that are started between two polls of the active clients.
const BATCH: usize = 16;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let (idle, burst) = (size.pick(2_000, 10_000), size.pick(2_000, 9_000));
    let mut peer_process = PeerProcess::start(peer, 0)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(ACTIVE + idle)?;

    let mut active = Active::among(ACTIVE + idle);
    let end = Instant::now() + size.pick(Duration::from_secs(1), Duration::from_secs(3));
    while Instant::now() < end {
        active.poll(&mut clients)?;
    }
    let mut round_trips = active.take_round_trips();
    ensure(round_trips.len() > ACTIVE * 10, || "too few pongs arrived".to_owned())?;
    let [median, p99] = [50, 99].map(|percent| micros(percentile(&mut round_trips, percent)));

    let all = clients.counters.open + burst;
    while clients.counters.open < all {
        for _ in 0..BATCH {
            let Counters { started, open, .. } = clients.counters;
            if started < all && started - open < MAX_PENDING {
                clients.start()?;
            }
        }
        active.poll(&mut clients)?;
    }
    let during_burst = active.take_round_trips().into_iter().max().unwrap_or_default();
    clients.verify_open(all)?;

    clients.expected_close = Some(1001);
    peer_process.terminate()?;
    while clients.counters.started > 0 {
        active.poll(&mut clients)?;
    }
    let after_sigterm = active.take_round_trips().into_iter().max().unwrap_or_default();
    peer_process.wait_for_exit(Duration::from_secs(5))?;
    Ok(Outcome::of([p99, median, millis(during_burst), millis(after_sigterm)]))
}

/// The connections that ping. They are spread evenly among the others, because a server may handle
/// connections in any order.
struct Active {
    ping: Vec<u8>,
    /// Distance between the keys of two active connections.
    stride: usize,
    /// When each sends its next ping.
    due: [Instant; ACTIVE],
    /// When each sent its unanswered ping, if it has one.
    sent: [Option<Instant>; ACTIVE],
    round_trips: Vec<Duration>,
}

impl Active {
    fn among(all: usize) -> Self {
        let now = Instant::now();
        // Spread over the interval.
        let due = std::array::from_fn(|index| now + PING_INTERVAL * index as u32 / ACTIVE as u32);
        let (ping, stride) = (frame(PING, PAYLOAD), all / ACTIVE);
        Self { ping, stride, due, sent: [None; ACTIVE], round_trips: Vec::new() }
    }

    /// Sends the pings that are due, and handles input.
    fn poll(&mut self, clients: &mut Clients) -> io::Result<()> {
        for index in 0..ACTIVE {
            let now = Instant::now();
            if self.sent[index].is_some() || now < self.due[index] {
                continue;
            }
            // The session may have ended.
            let key = index * self.stride;
            if let Some(session) = clients.session(key).ok().filter(|session| session.is_open()) {
                session.send(&self.ping)?;
                self.sent[index] = Some(now);
                self.due[index] = now + PING_INTERVAL;
            }
        }
        let polled =
            clients.poll(Duration::ZERO, &mut |session: &mut Session, event: Event<'_>| {
                // A Close frame counts as an answer.
                let is_answer = matches!(event, Event::Pong | Event::Close);
                let is_active = session.key.is_multiple_of(self.stride);
                let sent = self.sent.get_mut(session.key / self.stride);
                if let Some(sent) = sent.filter(|_| is_active && is_answer) {
                    self.round_trips.extend(sent.take().map(|sent| sent.elapsed()));
                }
                Ok(())
            });
        polled.map(drop)
    }

    /// Takes the round trips since the last call, and the ages of the unanswered pings.
    fn take_round_trips(&mut self) -> Vec<Duration> {
        let mut round_trips = std::mem::take(&mut self.round_trips);
        round_trips.extend(self.sent.iter().flatten().map(Instant::elapsed));
        round_trips
    }
}
