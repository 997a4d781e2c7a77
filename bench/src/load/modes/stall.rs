//! What active clients notice of the others: of idle ones, of a storm of new ones, and of the end.

use std::io;
use std::time::{Duration, Instant};

use super::{LIMIT, Mode, Outcome, PAYLOAD, Size, check, less, micros, millis, percentile};
use crate::client::{PING, frame};
use crate::load::fleet::Fleet;
use crate::load::link::{Event, Link, Tally};
use crate::load::peer::Peer;
use crate::load::running::Running;

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
const BEAT: Duration = Duration::from_millis(5);
/// Connections of the storm that may be under way, below the backlog of any peer.
const AT_ONCE: usize = 1000;
/// Connections that are begun before the active clients are looked at again.
const AT_A_TIME: usize = 16;

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let (idle, storm) = (size.pick(2_000, 10_000), size.pick(2_000, 9_000));
    let mut running = Running::start(peer, 0)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(ACTIVE + idle)?;

    let mut active = Active::among(ACTIVE + idle);
    let end = Instant::now() + size.pick(Duration::from_secs(1), Duration::from_secs(3));
    while Instant::now() < end {
        active.go_on(&mut fleet)?;
    }
    let mut waits = active.take_waits();
    check(waits.len() > ACTIVE * 10, || "next to no pongs came".to_owned())?;
    let [median, p99] = [50, 99].map(|percent| micros(percentile(&mut waits, percent)));

    let all = fleet.tally.open + storm;
    while fleet.tally.open < all {
        for _ in 0..AT_A_TIME {
            let Tally { begun, open, .. } = fleet.tally;
            if begun < all && begun - open < AT_ONCE {
                fleet.start()?;
            }
        }
        active.go_on(&mut fleet)?;
    }
    let in_storm = active.take_waits().into_iter().max().unwrap_or_default();
    fleet.check_open(all)?;

    fleet.may_be_told = Some(1001);
    running.terminate()?;
    while fleet.tally.begun > 0 {
        active.go_on(&mut fleet)?;
    }
    let at_end = active.take_waits().into_iter().max().unwrap_or_default();
    running.end_well(Duration::from_secs(5))?;
    Ok(Outcome::of([p99, median, millis(in_storm), millis(at_end)]))
}

/// The connections that ping, evenly among the others: a server may deal with them in any order.
struct Active {
    ping: Vec<u8>,
    /// From the place of one of them to that of the next.
    stride: usize,
    /// When each pings again.
    due: [Instant; ACTIVE],
    /// When each has sent the ping that is under way.
    sent: [Option<Instant>; ACTIVE],
    waits: Vec<Duration>,
}

impl Active {
    fn among(all: usize) -> Self {
        let now = Instant::now();
        // Not all at once.
        let due = std::array::from_fn(|place| now + BEAT * place as u32 / ACTIVE as u32);
        let (ping, stride) = (frame(PING, PAYLOAD), all / ACTIVE);
        Self { ping, stride, due, sent: [None; ACTIVE], waits: Vec::new() }
    }

    /// Sends what is due, and handles what has come.
    fn go_on(&mut self, fleet: &mut Fleet) -> io::Result<()> {
        for place in 0..ACTIVE {
            let now = Instant::now();
            if self.sent[place].is_some() || now < self.due[place] {
                continue;
            }
            // After the end there is none.
            let slot = place * self.stride;
            if let Some(link) = fleet.link(slot).ok().filter(|link| link.is_open()) {
                link.say(&self.ping)?;
                self.sent[place] = Some(now);
                self.due[place] = now + BEAT;
            }
        }
        let turned = fleet.turn(Duration::ZERO, &mut |link: &mut Link, event: Event<'_>| {
            // A Close frame is as good as a pong: the client is not left waiting.
            let is_answer = matches!(event, Event::Pong | Event::Close);
            let is_active = link.slot.is_multiple_of(self.stride);
            let sent = self.sent.get_mut(link.slot / self.stride);
            if let Some(sent) = sent.filter(|_| is_active && is_answer) {
                self.waits.extend(sent.take().map(|sent| sent.elapsed()));
            }
            Ok(())
        });
        turned.map(drop)
    }

    /// The waits since the last time, with those that go on.
    fn take_waits(&mut self) -> Vec<Duration> {
        let mut waits = std::mem::take(&mut self.waits);
        waits.extend(self.sent.iter().flatten().map(Instant::elapsed));
        waits
    }
}
