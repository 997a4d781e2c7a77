//! Clients of an endpoint over a simulated network, in virtual time: requests over HTTP/1.1 and HTTP/2, decisions
//! that take time, compressed states, and a drain. Each seed is one scenario.
//!
//! `SIMULATION_SEED` and `SIMULATION_SEEDS` choose other seeds, as `simulation/seeds.rs` says.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "endpoint_simulation/client.rs"]
mod client;
#[path = "support/deflate.rs"]
mod deflate;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "simulation/history.rs"]
mod history;
#[path = "support/http2_client.rs"]
mod http2_client;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/seeds.rs"]
mod seeds;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{DECISION, Outcome, Plan, Way, state};
use endpoint::{AdmitBy, EventLog, Fixture, PERMITS};
use history::History;
use network::{LinkConditions, Rng, connect};
use seeds::run_seeds;
use support::latest_message::LatestMessage;
use support::{TIMING, buffered};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use transport::{
    Admission, Admit, Compression, CompressionOptions, Denial, DrainOptions, EndpointEvent,
    Handshake, Permission, PreparedMessage, SessionRegistry,
};

const SEEDS: u64 = 100;
/// Seeds that have found a defect, in the product or in this test.
const REGRESSIONS: [u64; 0] = [];

/// Longer than an exchange of a few frames takes.
const EXCHANGE: Duration = Duration::from_secs(3);

#[test]
fn every_client_is_answered_and_nothing_stays() {
    run_seeds(SEEDS, &REGRESSIONS, run_scenario);
}

/// The ids of the sessions that the observer was told of.
#[derive(Default)]
struct Ledger {
    opened: Vec<u64>,
    closed: Vec<u64>,
}

/// Admits or refuses after the time that the request asks for. `alive` counts the decisions that are pending.
fn deciding(states: LatestMessage, alive: &Arc<()>) -> impl Admit<Handler = LatestMessage> + use<> {
    let (states, alive) = (Mutex::new(states), Arc::downgrade(alive));
    AdmitBy(move |handshake: &Handshake<'_>| {
        let alive = alive.upgrade();
        let decision = handshake.headers()[DECISION].to_str().unwrap();
        let (millis, is_admitted) = decision.split_once(' ').unwrap();
        let time = Duration::from_millis(millis.parse().unwrap());
        let handler = (is_admitted == "admit").then(|| states.lock().unwrap().subscribe());
        async move {
            let _alive = alive;
            sleep(time).await;
            handler.map(Admission::new).ok_or_else(|| Denial::forbidden("not_today", "not today"))
        }
    })
}

async fn run_scenario(seed: u64, history: History) -> Vec<String> {
    let mut rng = Rng(seed);
    let (states, alive) = (LatestMessage::default(), Arc::new(()));
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let (entries, observer) = (Arc::clone(&ledger), history.of("observer"));
    let log = EventLog::with_hook(move |event| match event {
        EndpointEvent::Opened { id, .. } => {
            observer.note(format_args!("session {id} opens"));
            entries.lock().unwrap().opened.push(*id);
        }
        EndpointEvent::Closed { id, record, .. } => {
            observer.note(format_args!("session {id} closes: {}", record.cause));
            entries.lock().unwrap().closed.push(*id);
        }
        EndpointEvent::Refused { rejection, .. } => {
            observer.note(format_args!("a request is refused: {rejection}"));
        }
        EndpointEvent::HandedOver { .. }
        | EndpointEvent::Panicked { .. }
        | EndpointEvent::TakenOver { .. }
        | EndpointEvent::Traffic { .. }
        | _ => {}
    });
    let admit = deciding(states.subscribe(), &alive);
    let mut fixture = Fixture::with_log(admit, log, SessionRegistry::default());
    let modes = [None, Some(Compression::Fresh), Some(Compression::Shared)];
    let mode = modes[rng.size(0..3)];
    Arc::make_mut(&mut fixture.policy).compression =
        CompressionOptions { mode, webkit: Permission::Refuse };

    let fixture = Arc::new(fixture);

    let start = Instant::now();
    let drains_at = start + rng.millis(2000..40_000);
    let mut clients = JoinSet::new();
    for number in 1..=rng.within(2..7) {
        let plan = Plan::random(&mut rng, start..drains_at);
        let latency = rng.within(1..100);
        let link = LinkConditions {
            latency: latency..latency + rng.within(1..100),
            piece: rng.size(64..1500),
            // So small that writes are partial, or larger than what is written.
            pipe: if rng.percent(50) { rng.size(16..256) } else { rng.size(1024..8192) },
            buffer: rng.size(1..400) * usize::from(rng.percent(50)),
            partition: None,
            reset: None,
        };
        let (near, far, network) = connect(link, rng.fork());
        tokio::spawn(network);
        let client = history.of(format_args!("client {number}"));
        let (fixture, rng) = (Arc::clone(&fixture), rng.fork());
        clients.spawn(async move {
            sleep_until(plan.connects_at).await;
            match plan.way {
                Way::Http1 => fixture.serve_http1(near),
                Way::Http2 => fixture.serve_http2(near),
            }
            client::run(far, plan, rng, client).await
        });
    }

    let (mut newest, mut number, mut previous) = (0, 0, None);
    loop {
        let at = Instant::now() + rng.millis(0..4000);
        if at >= drains_at {
            break;
        }
        sleep_until(at).await;
        number += 1;
        history.note(format_args!("publishes state {number}"));
        let message = PreparedMessage::compressible(&state(number).into());
        let message = match &previous {
            Some(previous) => message.following(previous),
            None => message,
        };
        previous = Some(message.clone());
        states.publish_prepared(message);
        if at + EXCHANGE < drains_at {
            newest = number;
        }
    }
    sleep_until(drains_at).await;
    history.note("drains");
    fixture.drain.start(DrainOptions::default());
    // A client that is refused closes its connection, which counts as well.
    let bound = TIMING.close_timeout + EXCHANGE;
    let mut failures = Vec::new();
    if timeout(bound, fixture.drain.closed()).await.is_err() {
        failures.push("the drain has not ended within its bound".to_owned());
    }
    let outcomes = match timeout(Duration::from_secs(60), clients.join_all()).await {
        Ok(outcomes) => outcomes,
        Err(_) => return vec!["a client waits for ever".to_owned()],
    };
    failures.extend(outcomes.iter().filter_map(|it| check(it, drains_at, newest).err()));
    failures.extend(remains(&ledger.lock().unwrap(), fixture.permits.available_permits()));
    if Arc::strong_count(&alive) != 1 {
        failures.push("a decision is still pending".to_owned());
    }
    failures
}

/// Checks that each session has closed once, and that all permits were released.
fn remains(ledger: &Ledger, permits: usize) -> Option<String> {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    let is_each_once = sorted(&ledger.opened) == sorted(&ledger.closed);
    let (opened, closed) = (&ledger.opened, &ledger.closed);
    (!is_each_once || permits != PERMITS)
        .then(|| format!("opened {opened:?}, closed {closed:?}, {permits} permits are free"))
}

fn check(outcome: &Outcome, drains_at: Instant, newest: u64) -> Result<(), String> {
    let fail_if = |failed: bool, why: &str| {
        if failed { Err(format!("{why}: {outcome}")) } else { Ok(()) }
    };
    fail_if(
        !outcome.sent.starts_with(&outcome.pongs),
        "pongs are not those of the pings in order",
    )?;
    fail_if(!outcome.states.is_sorted_by(|one, next| one < next), "a state is old or came twice")?;
    let Some(opened) = outcome.opened else { return Ok(()) };
    fail_if(!outcome.plan.is_admitted, "a client that was refused has a session")?;
    match outcome.code {
        Some(1000) => fail_if(outcome.pongs.len() != outcome.sent.len(), "a ping has no pong"),
        Some(1001) => {
            let is_due = opened + EXCHANGE < drains_at;
            fail_if(outcome.ended < drains_at, "it was drained before the drain")?;
            fail_if(
                is_due && outcome.states.last().copied().unwrap_or(0) < newest,
                "it did not receive the newest state",
            )
        }
        code => fail_if(code.is_some() || !outcome.has_left, "it was not closed as it should be"),
    }
}
