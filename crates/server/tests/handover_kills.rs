//! Processes that are killed, or told to stop, at any moment of a handover: no session is lost with the
//! process that does not have it, and none is served by both.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::Client;
use support::handover::{Fate, Generation, Generations};

/// The moments of a number of rounds, spread over the time in which a debug build starts and takes over.
fn moments(rounds: u32) -> impl Iterator<Item = Duration> {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    (1..=rounds).map(|round| Duration::from_secs_f64((f64::from(round) * GOLDEN).fract() * 0.08))
}

fn open(generation: &Generation, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| generation.open()).collect();
    clients.iter_mut().for_each(Client::exchange_ping);
    clients
}

fn fates(clients: &mut [Client]) -> Vec<Fate> {
    clients.iter_mut().map(Fate::of).collect()
}

fn count(fates: &[Fate], fate: Fate) -> usize {
    fates.iter().filter(|it| **it == fate).count()
}

fn find<'a>(log: &'a [Value], event: &str) -> Option<&'a Value> {
    log.iter().find(|line| line["event"] == event)
}

fn kill(generation: &mut Generation) {
    generation.process.signal(Signal::KILL);
    generation.process.child.wait().unwrap();
}

#[test]
fn the_sessions_of_a_killed_successor_are_those_that_it_had_taken() {
    let generations = Generations::new("kill-successor", &["--close-timeout-secs=0.2"]);
    let mut first = generations.start();
    let mut clients = open(&first, 200);
    let (mut revoked, mut taken) = (0, 0);
    for moment in moments(20) {
        let mut second = Generation::run(generations.successor(&[]));
        thread::sleep(moment);
        kill(&mut second);
        let fates = fates(&mut clients);
        let open_sessions = count(&fates, Fate::Open);
        if open_sessions == fates.len() {
            revoked += 1;
            continue;
        }
        taken += 1;
        let log = first.end();
        let line =
            find(&log, "handed_over").expect("sessions end only with the process that has them");
        assert_eq!(line["sessions"], count(&fates, Fate::Lost), "at {moment:?}: {fates:?}");
        first = generations.start();
        clients = open(&first, 200);
    }
    assert!(revoked > 0 && taken > 0, "{revoked} {taken}");
    let _second = generations.take_over();
    assert_eq!(count(&fates(&mut clients), Fate::Open), 200);
    first.end();
}

#[test]
fn the_sessions_of_a_killed_predecessor_go_on_if_the_successor_serves() {
    let generations = Generations::new("kill-predecessor", &[]);
    let (mut served, mut gone) = (0, 0);
    for moment in moments(20) {
        let mut first = generations.start();
        let mut clients = open(&first, 100);
        let mut second = Generation::run(generations.successor(&[]));
        thread::sleep(moment);
        kill(&mut first);
        let fates = fates(&mut clients);
        let open_sessions = count(&fates, Fate::Open);
        if open_sessions == 0 {
            // It may serve nevertheless, if it had the sockets.
            gone += 1;
            assert_eq!(find(&first.rest(), "handed_over"), None, "at {moment:?}");
            kill(&mut second);
            continue;
        }
        served += 1;
        let line = second.event("taken_over");
        assert_eq!(line["sessions"], open_sessions, "at {moment:?}: {line} {fates:?}");
        // Each is answered once.
        for (client, fate) in clients.iter_mut().zip(&fates) {
            if *fate == Fate::Open {
                client.exchange_ping();
            }
        }
        kill(&mut second);
    }
    assert!(served > 0 && gone > 0, "{served} {gone}");
}

#[test]
fn a_signal_to_either_process_loses_no_session_without_a_close_frame() {
    let generations = Generations::new("term", &["--close-timeout-secs=0.2"]);
    for (round, moment) in (0..).zip(moments(20)) {
        let mut first = generations.start();
        let mut clients = open(&first, 20);
        let mut second = Generation::run(generations.successor(&[]));
        thread::sleep(moment);
        let is_first_stopped = round % 2 == 0;
        let (stopped, other) =
            if is_first_stopped { (&mut first, &mut second) } else { (&mut second, &mut first) };
        stopped.process.signal(Signal::TERM);
        stopped.process.child.wait().unwrap();
        let fates = fates(&mut clients);
        assert_eq!(count(&fates, Fate::Lost), 0, "{round} at {moment:?}: {fates:?}");
        let open_sessions = count(&fates, Fate::Open);
        assert_eq!(open_sessions + count(&fates, Fate::Closed(1001)), 20, "{fates:?}");
        assert!(open_sessions == 0 || other.process.child.try_wait().unwrap().is_none());
        kill(other);
    }
}
