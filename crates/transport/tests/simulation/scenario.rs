//! Sessions and their drain over a simulated network, in virtual time: healthy and misbehaving peers,
//! partitions, resets, and a process that stalls. Each seed is one scenario.
//!
//! The crate `broadcast` runs the same scenarios with its own publisher.
//!
//! `SIMULATION_SEED` and `SIMULATION_SEEDS` choose other seeds, as `seeds.rs` says.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../support/buffered.rs"]
mod buffered;
#[path = "clients.rs"]
mod clients;
#[path = "../support/deflate.rs"]
mod deflate;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/frames.rs"]
mod frames;
#[path = "history.rs"]
mod history;
#[path = "network.rs"]
mod network;
#[path = "seeds.rs"]
mod seeds;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use clients::{Kind, Received, ReceivedEnd, SimulatedHandler};
use history::History;
use network::{Rng, connect};
use seeds::run_seeds;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use transport::ws_core::{Cause, CloseRecord, Limits, Rate, SessionConfig, Timing};
use transport::{Compression, Drain, DrainOptions, SizeLimits, WebSocket, run};

use crate::Publisher;

const SEEDS: u64 = 300;
/// Seeds that have found a defect, in the sessions or in this test.
const REGRESSIONS: [u64; 7] = [2341, 11_130, 12_844, 14_141, 26_701, 158_208, 264_127];

pub(crate) const PING: Duration = Duration::from_secs(25);
pub(crate) const PONG: Duration = Duration::from_secs(10);
pub(crate) const CLOSE: Duration = Duration::from_secs(3);
/// The message timeout and the write timeout.
pub(crate) const SLOW: Duration = Duration::from_secs(10);

/// Longer than an exchange of a few frames takes without a partition or a stall.
pub(crate) const EXCHANGE: Duration = Duration::from_millis(2000);

/// A coalesced deadline may fire 50 ms late. The longest path has two of them; the peer is credited with
/// the lateness of the second, and that credit may again end 50 ms late.
const SLACK: Duration = Duration::from_millis(210);

/// Upper limit of a stream's write buffer: the slowest reader empties it within the write timeout.
const BUFFER: u64 = 400;

fn config() -> SessionConfig {
    let timing = Timing {
        ping_interval: PING,
        pong_timeout: PONG,
        close_timeout: CLOSE,
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    let limits = Limits {
        control_frames: Rate::new(10, 20),
        message_timeout: Some(SLOW),
        messages: Rate::new(10, 20),
        write_timeout: Some(SLOW),
    };
    SessionConfig { timing, limits }
}

#[test]
fn every_seed_ends_as_expected() {
    run_seeds(SEEDS, &REGRESSIONS, run_scenario);
}

/// Time ranges in which the server does not run. Clients and network go on.
type Stalls = Arc<[Range<Instant>]>;

/// A future that is not polled while the server stalls.
struct Stalling<F> {
    future: F,
    stalls: Stalls,
    end_of_stall: Pin<Box<Sleep>>,
}

impl<F: Future + Unpin> Future for Stalling<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let now = Instant::now();
        if let Some(end) = self.stalls.iter().find(|stall| stall.contains(&now)).map(|it| it.end) {
            self.end_of_stall.as_mut().reset(end);
            if self.end_of_stall.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.future).poll(cx)
    }
}

/// The events of a scenario other than those of its clients.
struct Schedule {
    stalls: Stalls,
    /// The instant at which each state is published.
    states: Vec<Instant>,
    drained_at: Option<Instant>,
    spread: Duration,
    aborted_at: Option<Instant>,
}

impl Schedule {
    fn new(rng: &mut Rng, start: Instant) -> Self {
        let mut stalls = Vec::new();
        let mut from = start;
        for _ in 0..rng.within(0..3) {
            from += rng.millis(100..60_000);
            let until = from + rng.millis(100..30_000);
            stalls.push(from..until);
            from = until;
        }
        let drained_at = rng.percent(85).then(|| start + rng.millis(1000..100_000));
        let aborted_at = drained_at.filter(|_| rng.percent(30)).map(|at| at + rng.millis(0..6000));
        let spread = rng.millis(0..30_000) * u32::from(rng.percent(50));
        let mut at = start;
        let states = (0..rng.within(0..60)).map(|_| {
            at += rng.millis(0..4000);
            at
        });
        let states = states.collect();
        Self { stalls: stalls.into(), states, drained_at, spread, aborted_at }
    }

    /// Notes the stalls, which happen without an event of their own.
    fn note_in(&self, history: &History) {
        let start = Instant::now();
        for stall in &*self.stalls {
            let (from, until) = (stall.start - start, stall.end - start);
            history.note(format_args!("the server will stall from {from:?} to {until:?}"));
        }
    }

    /// Returns how long the server stalls between two instants.
    fn stalled(&self, from: Instant, until: Instant) -> Duration {
        let part = |stall: &Range<Instant>| stall.end.min(until) - stall.start.max(from).min(until);
        self.stalls.iter().filter(|stall| stall.end > from).map(part).sum()
    }

    /// Returns the number of the newest state that a session of this time must have received: published
    /// early enough before the closing handshake, with no stall in between.
    fn newest_state(&self, opened: Instant, ended: Instant) -> Option<u64> {
        let is_due = |at: Instant| {
            let from = at.max(opened);
            from + 2 * EXCHANGE < ended && self.stalled(from, ended).is_zero()
        };
        let due = (1..).zip(&self.states).filter(|(_, at)| is_due(**at));
        due.map(|(number, _)| number).max()
    }

    /// Returns the latest instant at which a deadline of `time` may fire: a stall delays it, and the
    /// peer is then credited with the delay.
    fn latest(&self, from: Instant, time: Duration) -> Instant {
        let far = from + Duration::from_secs(3600);
        from + time + 2 * self.stalled(from, far) + SLACK
    }
}

/// The outcome of a session.
struct Outcome {
    kind: Kind,
    opened: Instant,
    /// When it closes, after the start of a drain.
    drain_offset: Duration,
    ended: Instant,
    record: CloseRecord,
    /// Whether its handler sends the state.
    has_state: bool,
    received: Option<Received>,
    /// The start of its partition, and the end if it has one.
    partition: Option<(Instant, Option<Instant>)>,
}

/// Runs one seed and returns its failures.
async fn run_scenario(seed: u64, history: History) -> Vec<String> {
    let mut rng = Rng(seed);
    let start = Instant::now();
    let schedule = Schedule::new(&mut rng, start);
    let (drain, timers) = Drain::new();
    let config = Arc::new(config());
    let (mut sessions, mut background) = (JoinSet::new(), JoinSet::new());
    background.spawn(Stalling {
        future: Box::pin(timers),
        stalls: Arc::clone(&schedule.stalls),
        end_of_stall: Box::pin(sleep_until(start)),
    });
    let publisher = Publisher::default();
    let count = rng.size(3..13);

    schedule.note_in(&history);
    for number in 1..=count {
        let mut rng = rng.fork();
        let opened = start + rng.millis(0..20_000);
        let (kind, behavior, mut link) = Kind::random(&mut rng, opened);
        // The regression seeds found their defects without a write buffer. The clone leaves `rng` as it
        // was.
        if !REGRESSIONS.contains(&seed) {
            let mut rng = rng.clone();
            link.buffer = rng.size(1..BUFFER) * usize::from(rng.percent(50));
        }
        let partition = link.partition;
        let sizes = SizeLimits { max_message_bytes: 4096, max_queued_bytes: rng.size(128..65_536) };
        let (spread, config, token) = (schedule.spread, Arc::clone(&config), drain.token());
        let stalls = Arc::clone(&schedule.stalls);
        let state = rng.percent(50).then(|| publisher.subscribe());
        // As above: compression leaves the rest of the scenario as it was.
        let compression = [None, Some(Compression::Fresh), Some(Compression::Shared)];
        let compression = compression[rng.clone().size(0..3)];
        let client_history = history.of(format_args!("client {number}"));
        let session_history = history.of(format_args!("session {number}"));
        let (near, far, network) = connect(link, rng.fork());
        background.spawn(network);
        sessions.spawn(async move {
            sleep_until(opened).await;
            session_history.note(format_args!("opens, for {kind:?}"));
            let client = tokio::spawn(clients::run(far, behavior, client_history));
            let handler = SimulatedHandler::new(kind, state);
            let has_state = matches!(handler, SimulatedHandler::State(_));
            let socket = WebSocket::new(near, sizes).with_compression(compression);
            let session = run(socket, config, handler, token);
            let drain_offset = session.drain_offset(spread);
            let end_of_stall = Box::pin(sleep_until(opened));
            let record = Stalling { future: session, stalls, end_of_stall }.await;
            let ended = Instant::now();
            session_history.note(format_args!("closes: {}, clean: {}", record.cause, record.clean));
            // A client behind a lasting partition never sees the end.
            let received = timeout(Duration::from_secs(60), client).await;
            let received = received.ok().map(|it| it.expect("a client never panics"));
            Outcome { kind, opened, drain_offset, ended, record, has_state, received, partition }
        });
    }

    let signals = async {
        if let Some(at) = schedule.drained_at {
            sleep_until(at).await;
            history.note(format_args!("drain, spread over {:?}", schedule.spread));
            drain.start(DrainOptions { spread: schedule.spread, ..DrainOptions::default() });
        }
        if let Some(at) = schedule.aborted_at {
            sleep_until(at).await;
            history.note("abort of the drain");
            drain.abort();
        }
    };
    let closed = async {
        timeout(Duration::from_secs(3600), drain.closed()).await.ok().map(|()| Instant::now())
    };
    let states = async {
        for (number, at) in (1..).zip(&schedule.states) {
            sleep_until(*at).await;
            history.note(format_args!("publishes state {number}"));
            publisher.publish(clients::state(number));
        }
    };
    let ((), (), closed) = tokio::join!(signals, states, closed);
    let mut failures = Vec::new();
    let mut outcomes = Vec::new();
    while let Some(outcome) = sessions.join_next().await {
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => failures.push(format!("a session has no record: {error}")),
        }
    }

    let last = outcomes.iter().map(|outcome| outcome.ended).max();
    if closed != last {
        failures.push(format!("Drain::closed() at {closed:?}, the last session at {last:?}"));
    }
    if outcomes.len() != count {
        failures.push(format!("{count} opened, {} closed", outcomes.len()));
    }
    for outcome in &outcomes {
        if let Err(failure) = check(outcome, &schedule) {
            let Outcome { kind, opened, record, received, .. } = outcome;
            let opened = *opened - start;
            failures.push(format!(
                "{kind:?}, opened at {opened:?}: {failure}; {record:?}, {received:?}"
            ));
        }
    }
    failures
}

/// Checks that a session ended as its kind may.
fn check(outcome: &Outcome, schedule: &Schedule) -> Result<(), String> {
    let Outcome { kind, opened, drain_offset, ended, ref record, has_state, received, partition } =
        *outcome;
    let expected = kind.expected();
    let fail_if = |failed: bool, why: &str| if failed { Err(why.to_owned()) } else { Ok(()) };

    fail_if(ended != opened + record.duration, "its duration is not the time it was open")?;
    fail_if(ended > schedule.latest(opened, expected.within), "it outlived its bound")?;
    if let Some(drained) = schedule.drained_at.map(|at| at.max(opened)) {
        fail_if(ended > schedule.latest(drained, drain_offset + CLOSE), "it outlived the drain")?;
    }
    if let Some(aborted) = schedule.aborted_at.map(|at| at.max(opened)) {
        let stalled = schedule.stalls.iter().find(|stall| stall.contains(&aborted));
        let aborted = stalled.map_or(aborted, |stall| stall.end);
        fail_if(ended > aborted + SLACK, "it outlived the abort")?;
    }

    if let Some(Received { state, is_in_order, .. }) = received {
        fail_if(!is_in_order, "it received an older state after a newer one")?;
        let is_due = kind.is_never_blocked() && has_state && record.clean;
        let newest = schedule.newest_state(opened, ended).filter(|_| is_due);
        fail_if(
            newest.is_some_and(|newest| state < newest),
            "it did not receive the newest state",
        )?;
    }
    if record.cause != Cause::Drained {
        fail_if(!expected.causes.contains(&record.cause), "its kind does not end by this cause")?;
        fail_if(record.duration + SLACK < expected.not_before, "it ended before its time")?;
        // An abort during a closing handshake makes it unclean, and the record keeps the first cause.
        let is_cut = schedule.aborted_at.is_some_and(|aborted| aborted <= ended);
        let is_wrong = expected.clean != record.clean && !(expected.clean && is_cut);
        return fail_if(is_wrong, "`clean` is wrong");
    }
    let Some(drained) = schedule.drained_at.filter(|drained| *drained <= ended) else {
        return Err("there was no drain".to_owned());
    };
    if kind.answers_the_drain() {
        let until = schedule.latest(drained.max(opened), drain_offset + EXCHANGE);
        let is_cut = schedule.aborted_at.is_some_and(|aborted| aborted <= until);
        let is_partitioned = partition.is_some_and(|(from, _)| from <= until)
            && partition.is_some_and(|(_, to)| to.is_none_or(|to| to >= drained));
        let is_unclean =
            !record.clean || received.is_none_or(|it| it.end != ReceivedEnd::Close(1001));
        fail_if(
            is_unclean && !is_cut && !is_partitioned,
            "a peer that answers was not drained clean",
        )?;
    }
    Ok(())
}
