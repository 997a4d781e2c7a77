//! Clients over several generations of processes, in virtual time: sessions freeze at random moments, are handed
//! over, refused or resumed, and no client notices. Each seed is one scenario.
//!
//! `SIMULATION_SEED` and `SIMULATION_SEEDS` choose other seeds, as `simulation/seeds.rs` says.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "handover_simulation/client.rs"]
mod client;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/handover.rs"]
mod handover;
#[allow(dead_code, reason = "the other simulation uses the rest")]
#[path = "simulation/history.rs"]
mod history;
#[path = "support/http2_client.rs"]
mod http2_client;
#[allow(dead_code, reason = "the other simulation uses the rest")]
#[path = "simulation/network.rs"]
mod network;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "support/shared_stream.rs"]
mod shared_stream;
mod support;

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Behavior, Outcome};
use endpoint::{PERMITS, valid_request};
use handover::{PIPE_BYTES, Process, request_of};
use history::History;
use network::Rng;
use numbers::Numbers;
use seeds::run_seeds;
use shared_stream::Witness;
use support::{buffered, in_time};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use transport::DrainOptions;
use transport::ws_core::{Counters, Rate};

const SEEDS: u64 = 2000;
/// Seeds that have found a defect, in the sessions or in this test.
const REGRESSIONS: [u64; 0] = [];

#[test]
fn no_client_notices_that_its_session_changes_the_process() {
    let handed_over = AtomicUsize::new(0);
    let seeds = run_seeds(SEEDS, &REGRESSIONS, async |seed, history| {
        let mut scene = Scene::new(Rng(seed), history);
        scene.run().await;
        handed_over.fetch_add(scene.check().await, Ordering::Relaxed);
        Vec::new()
    });
    let handed_over = handed_over.into_inner();
    // A seed alone may hand over less.
    assert!(seeds == 1 || handed_over > 5 * seeds, "only {handed_over} were handed over");
}

/// The processes, of which the last one accepts connections, and their clients.
struct Scene {
    rng: Rng,
    history: History,
    numbers: Numbers,
    processes: Vec<Process<Numbers>>,
    clients: JoinSet<Outcome>,
    witnesses: Vec<Witness>,
    /// Until then clients send, and numbers are published.
    end: Instant,
}

impl Scene {
    fn new(mut rng: Rng, history: History) -> Self {
        let numbers = Numbers::default();
        let mut process = Process::new(numbers.clone());
        process.set_config(|config| {
            config.limits.control_frames = Rate::new(10, 20);
            config.limits.messages = Rate::new(10, 20);
            config.limits.message_timeout = Some(Duration::from_secs(10));
            // No client of this test is so slow.
            config.timing.close_timeout = Duration::from_secs(30);
            config.timing.pong_timeout = Duration::from_secs(20);
        });
        let end = Instant::now() + rng.millis(3000..25_000);
        let (clients, witnesses) = (JoinSet::new(), Vec::new());
        Self { rng, history, numbers, processes: vec![process], clients, witnesses, end }
    }

    fn current(&self) -> &Process<Numbers> {
        self.processes.last().expect("there is always one")
    }

    async fn run(&mut self) {
        let publisher = tokio::spawn(publish(self.numbers.clone(), self.rng.fork(), self.end));
        self.open().await;
        while Instant::now() < self.end {
            self.wait(0..5000).await;
            if self.rng.percent(40) {
                self.freeze_and_resume().await;
            } else {
                self.hand_over().await;
            }
        }
        publisher.await.unwrap();
    }

    /// Waits, and opens sessions meanwhile.
    async fn wait(&mut self, millis: Range<u64>) {
        let until = Instant::now() + self.rng.millis(millis);
        while self.clients.len() < 8 && self.rng.percent(40) {
            let left = until.saturating_duration_since(Instant::now());
            sleep(left.mul_f64(0.5)).await;
            self.open().await;
        }
        sleep_until(until).await;
    }

    async fn open(&mut self) {
        let is_slow = self.rng.percent(30);
        let pipe_bytes = if is_slow { self.rng.size(16..2000) } else { PIPE_BYTES };
        let leaves_at = Instant::now() + self.rng.millis(0..20_000);
        let behavior = Behavior {
            leaves_at: Some(leaves_at).filter(|_| self.rng.percent(20)),
            slowness: 5 * u64::from(is_slow),
        };
        let request = if self.rng.percent(50) { request_of("alice") } else { valid_request() };
        let id = self.current().drain.next_session_id();
        let (peer, witness) = self.current().connect_over(&request, pipe_bytes).await;
        self.witnesses.push(witness);
        let history = self.history.of(format_args!("client {id}"));
        history.note("opens a session");
        let client = client::run(id, peer.0, behavior, self.rng.fork(), self.end, history);
        self.clients.spawn(client);
    }

    async fn freeze_and_resume(&mut self) {
        self.history.note("freezes the sessions, to resume them");
        self.current().freeze().await;
        self.wait(0..2000).await;
        if self.rng.percent(50) {
            self.current().drain.seal();
            self.wait(0..500).await;
        }
        self.history.note("resumes the sessions");
        self.current().resume().await;
    }

    /// Hands sessions over to a new process, in several batches, and drains the old one or leaves it.
    async fn hand_over(&mut self) {
        let successor = self.current().successor();
        for _ in 0..self.rng.within(1..4) {
            self.history.note("freezes the sessions, to hand them over");
            self.current().freeze().await;
            self.wait(0..1500).await;
            if self.rng.percent(50) {
                self.current().drain.seal();
                self.wait(0..500).await;
            }
            let mut refused = self.current().sink.frozen();
            refused.retain(|_| self.rng.percent(20));
            self.history.note(format_args!("hands over, except for {refused:?}"));
            self.current().hand_over(&successor, &refused).await;
            sleep(self.rng.millis(0..500)).await;
        }
        if self.rng.percent(40) {
            let spread = self.rng.millis(0..2000);
            self.current().drain.start(DrainOptions { spread, ..DrainOptions::default() });
        }
        self.processes.push(successor);
    }

    /// Waits for the end of all sessions, and checks what their clients and the observers have seen.
    async fn check(mut self) -> usize {
        let mut outcomes = BTreeMap::new();
        for outcome in in_time(mem::take(&mut self.clients).join_all()).await {
            assert!(outcomes.insert(outcome.id, outcome).is_none(), "an id of two sessions");
        }
        for process in &self.processes {
            in_time(process.drain.closed()).await;
            assert_eq!(process.permits.available_permits(), PERMITS);
            assert!(process.sessions.is_empty());
        }
        assert!(self.witnesses.iter().all(|witness| witness.foreign_accesses() == 0));

        let ledger = self.current().ledger();
        assert!(ledger.opened.iter().eq(outcomes.keys()), "each has one `opened`");
        let mut closed = BTreeMap::new();
        let (mut received, mut sent) = (Counters::default(), Counters::default());
        for (id, at, record) in &ledger.closed {
            assert!(closed.insert(*id, (at, record)).is_none(), "two `closed` of {id}");
            received += record.received;
            sent += record.sent;
        }
        assert!(closed.keys().eq(outcomes.keys()), "each has one `closed`");
        assert_eq!((ledger.received, ledger.sent), (received, sent), "all observers together");
        for (id, outcome) in &outcomes {
            let (closed, record) = closed[id];
            assert_eq!(record.duration, *closed - outcome.opened);
            outcome.check(self.numbers.latest());
        }
        ledger.handed_over
    }
}

async fn publish(numbers: Numbers, mut rng: Rng, end: Instant) {
    numbers.publish();
    while Instant::now() < end {
        sleep(rng.millis(0..1000)).await;
        numbers.publish();
    }
}
