//! Many sessions and their drain over a simulated network, in virtual time, with good peers and bad
//! ones, partitions, resets, and a process that stalls.
//!
//! The crate `broadcast` plays the same with its own publisher.
//!
//! `SIMULATION_SEED=n` plays one seed again, and `SIMULATION_SEEDS=n` plays so many.
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
#[allow(dead_code, reason = "it is shared, and only a part of it is needed here")]
#[path = "../support/frames.rs"]
mod frames;
#[path = "network.rs"]
mod network;

use std::env;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use clients::{Kind, Saw, Told, Voice};
use network::{Dice, connect};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use transport::ws_core::{Cause, CloseCode, CloseRecord, Limits, Rate, SessionConfig, Timing};
use transport::{Drain, DrainOptions, SizeLimits, WebSocket, run};

use crate::Publisher;

const SEEDS: u64 = 300;
/// Seeds that once showed a defect, of the sessions or of this test.
const REMEMBERED: [u64; 7] = [2341, 11_130, 12_844, 14_141, 26_701, 158_208, 264_127];

pub(crate) const PING: Duration = Duration::from_secs(25);
pub(crate) const PONG: Duration = Duration::from_secs(10);
pub(crate) const CLOSE: Duration = Duration::from_secs(3);
/// The message timeout and the write timeout.
pub(crate) const SLOW: Duration = Duration::from_secs(10);

/// Longer than any exchange of a few frames takes when nothing stands in its way.
pub(crate) const EXCHANGE: Duration = Duration::from_millis(2000);

/// A deadline may be kept 50 ms late together with others. Two of them lie in the longest path, and the
/// peer gets back how late the second one was, and that again may be kept so late.
const SLACK: Duration = Duration::from_millis(210);

/// The most that a stream keeps for itself. It goes out within the write timeout, however slow the peer
/// reads.
const BUFFER: u64 = 400;

fn config() -> SessionConfig {
    let timing =
        Timing { ping_interval: PING, pong_timeout: PONG, close_timeout: CLOSE, max_age: None };
    let limits = Limits {
        control_frames: Rate::new(10, 20),
        message_timeout: Some(SLOW),
        messages: Rate::new(10, 20),
        write_timeout: Some(SLOW),
    };
    SessionConfig { timing, limits }
}

#[test]
fn every_seed_ends_as_it_should() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIMULATION_SEED") {
        let complaints = simulate(seed, true);
        assert!(complaints.is_empty(), "{complaints:#?}");
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let remembered = REMEMBERED.into_iter().filter(|seed| *seed >= seeds);
    let seeds: Vec<u64> = (0..seeds).chain(remembered).collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let play = || {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = mine.map_while(|index| seeds.get(index));
        mine.flat_map(|seed| simulate(*seed, false)).collect::<Vec<_>>()
    };
    let complaints: Vec<String> = thread::scope(|scope| {
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    let some = &complaints[..complaints.len().min(10)];
    assert!(some.is_empty(), "{} complaints, such as {some:#?}", complaints.len());
}

/// The server does not run in these windows, and everything else does.
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

/// What a seed has in store beside its clients.
struct Fate {
    stalls: Stalls,
    /// When each state is published.
    states: Vec<Instant>,
    drained_at: Option<Instant>,
    spread: Duration,
    aborted_at: Option<Instant>,
}

impl Fate {
    fn new(dice: &mut Dice, start: Instant) -> Self {
        let mut stalls = Vec::new();
        let mut from = start;
        for _ in 0..dice.within(0..3) {
            from += dice.millis(100..60_000);
            let until = from + dice.millis(100..30_000);
            stalls.push(from..until);
            from = until;
        }
        let drained_at = dice.percent(85).then(|| start + dice.millis(1000..100_000));
        let aborted_at =
            drained_at.filter(|_| dice.percent(30)).map(|at| at + dice.millis(0..6000));
        let spread = dice.millis(0..30_000) * u32::from(dice.percent(50));
        let mut at = start;
        let states = (0..dice.within(0..60)).map(|_| {
            at += dice.millis(0..4000);
            at
        });
        let states = states.collect();
        Self { stalls: stalls.into(), states, drained_at, spread, aborted_at }
    }

    /// How long the server stalls between these moments.
    fn stalled(&self, from: Instant, until: Instant) -> Duration {
        let part = |stall: &Range<Instant>| stall.end.min(until) - stall.start.max(from).min(until);
        self.stalls.iter().filter(|stall| stall.end > from).map(part).sum()
    }

    /// The number of the newest state that a session of that time was told for certain: there was time
    /// to tell it before the closing handshake, and the server did not stall.
    fn newest_state(&self, opened: Instant, ended: Instant) -> Option<u64> {
        let is_told = |at: Instant| {
            let from = at.max(opened);
            from + 2 * EXCHANGE < ended && self.stalled(from, ended).is_zero()
        };
        let told = (1..).zip(&self.states).filter(|(_, at)| is_told(**at));
        told.map(|(number, _)| number).max()
    }

    /// When what has to be over by `time` is over at the latest: a stall makes it late, and then the
    /// peer gets the lateness back.
    fn at_the_latest(&self, from: Instant, time: Duration) -> Instant {
        let far = from + Duration::from_secs(3600);
        from + time + 2 * self.stalled(from, far) + SLACK
    }
}

/// A session that is over.
struct Record {
    kind: Kind,
    opened: Instant,
    /// How long after the beginning of a drain it is closed.
    turn: Duration,
    ended: Instant,
    record: CloseRecord,
    /// Whether its handler tells the state.
    has_state: bool,
    saw: Option<Saw>,
    /// When the network stood in its way.
    partition: Option<(Instant, Option<Instant>)>,
}

/// Plays a seed, and says what was wrong.
fn simulate(seed: u64, is_told: bool) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let complaints = runtime.unwrap().block_on(play(seed, is_told));
    complaints.into_iter().map(|it| format!("SIMULATION_SEED={seed}: {it}")).collect()
}

async fn play(seed: u64, is_told: bool) -> Vec<String> {
    let mut dice = Dice(seed);
    let start = Instant::now();
    let fate = Fate::new(&mut dice, start);
    let (drain, keeper) = Drain::new();
    let config = Arc::new(config());
    let (mut sessions, mut carriers) = (JoinSet::new(), JoinSet::new());
    carriers.spawn(Stalling {
        future: Box::pin(keeper),
        stalls: Arc::clone(&fate.stalls),
        end_of_stall: Box::pin(sleep_until(start)),
    });
    let publisher = Publisher::default();
    let count = dice.size(3..13);

    for _ in 0..count {
        let mut dice = dice.other();
        let opened = start + dice.millis(0..20_000);
        let (kind, habits, mut weather) = Kind::throw(&mut dice, opened);
        // The remembered seeds found what they found without. Dice of its own, for their sake.
        if !REMEMBERED.contains(&seed) {
            let mut dice = dice.clone();
            weather.buffer = dice.size(1..BUFFER) * usize::from(dice.percent(50));
        }
        let partition = weather.partition;
        let sizes =
            SizeLimits { max_message_bytes: 4096, max_queued_bytes: dice.size(128..65_536) };
        let (spread, config, token) = (fate.spread, Arc::clone(&config), drain.token());
        let stalls = Arc::clone(&fate.stalls);
        let state = dice.percent(50).then(|| publisher.subscribe());
        let (near, far, carrying) = connect(weather, dice.other());
        carriers.spawn(carrying);
        sessions.spawn(async move {
            sleep_until(opened).await;
            let client = tokio::spawn(clients::run(far, habits));
            let voice = Voice::of(kind, state);
            let has_state = matches!(voice, Voice::State(_));
            let session = run(WebSocket::new(near, sizes), config, voice, token);
            let turn = session.drain_offset(spread);
            let end_of_stall = Box::pin(sleep_until(opened));
            let record = Stalling { future: session, stalls, end_of_stall }.await;
            let ended = Instant::now();
            // A client behind a partition never learns of the end.
            let saw = timeout(Duration::from_secs(60), client).await;
            let saw = saw.ok().map(|saw| saw.expect("a client never panics"));
            Record { kind, opened, turn, ended, record, has_state, saw, partition }
        });
    }

    let signals = async {
        if let Some(at) = fate.drained_at {
            sleep_until(at).await;
            drain.start(DrainOptions { code: CloseCode::GOING_AWAY, spread: fate.spread });
        }
        if let Some(at) = fate.aborted_at {
            sleep_until(at).await;
            drain.abort();
        }
    };
    let closed = async {
        timeout(Duration::from_secs(3600), drain.closed()).await.ok().map(|()| Instant::now())
    };
    let states = async {
        for (number, at) in (1..).zip(&fate.states) {
            sleep_until(*at).await;
            publisher.publish(format!("state {number}"));
        }
    };
    let ((), (), closed) = tokio::join!(signals, states, closed);
    if is_told {
        let moment = |at: Instant| at - start;
        let stalls: Vec<_> =
            fate.stalls.iter().map(|it| moment(it.start)..moment(it.end)).collect();
        let (drained, aborted) = (fate.drained_at.map(moment), fate.aborted_at.map(moment));
        println!("stalls {stalls:?}, drain {drained:?}, abort {aborted:?}");
    }
    let mut complaints = Vec::new();
    let mut records = Vec::new();
    while let Some(record) = sessions.join_next().await {
        match record {
            Ok(record) => records.push(record),
            Err(error) => complaints.push(format!("a session has no record: {error}")),
        }
    }

    let last = records.iter().map(|record| record.ended).max();
    if closed != last {
        complaints.push(format!("Drain::closed() at {closed:?}, the last session at {last:?}"));
    }
    if records.len() != count {
        complaints.push(format!("{count} opened, {} closed", records.len()));
    }
    for record in &records {
        if let Err(complaint) = judge(record, &fate) {
            let Record { kind, opened, record, saw, .. } = record;
            let opened = *opened - start;
            complaints
                .push(format!("{kind:?}, opened at {opened:?}: {complaint}; {record:?}, {saw:?}"));
        }
        if is_told {
            let Record { kind, opened, turn, ended, record, .. } = record;
            let (opened, ended) = (*opened - start, *ended - start);
            let CloseRecord { cause, clean, .. } = record;
            println!("{kind:?} {opened:?} to {ended:?}, turn {turn:?}: {cause} {clean}");
        }
    }
    complaints
}

/// Whether a session ended as one of its kind may.
fn judge(record: &Record, fate: &Fate) -> Result<(), String> {
    let Record { kind, opened, turn, ended, ref record, has_state, saw, partition } = *record;
    let expected = kind.expected();
    let say = |wrong: bool, what: &str| if wrong { Err(what.to_owned()) } else { Ok(()) };

    say(ended != opened + record.duration, "its duration is not how long it was there")?;
    say(ended > fate.at_the_latest(opened, expected.within), "it outlived its bound")?;
    if let Some(drained) = fate.drained_at.map(|at| at.max(opened)) {
        say(ended > fate.at_the_latest(drained, turn + CLOSE), "it outlived the drain")?;
    }
    if let Some(aborted) = fate.aborted_at.map(|at| at.max(opened)) {
        let stalled = fate.stalls.iter().find(|stall| stall.contains(&aborted));
        let aborted = stalled.map_or(aborted, |stall| stall.end);
        say(ended > aborted + SLACK, "it outlived the abort")?;
    }

    if let Some(Saw { state, is_in_order, .. }) = saw {
        say(!is_in_order, "it was told an older state after a newer one")?;
        let is_due = kind.is_never_held_up() && has_state && record.clean;
        let newest = fate.newest_state(opened, ended).filter(|_| is_due);
        say(newest.is_some_and(|newest| state < newest), "it was not told the newest state")?;
    }
    if record.cause != Cause::Drained {
        say(!expected.causes.contains(&record.cause), "its cause is none of its kind's")?;
        say(record.duration + SLACK < expected.not_before, "it ended before its time")?;
        // An abort cuts what is closing already, and the record keeps the first cause.
        let is_cut = fate.aborted_at.is_some_and(|aborted| aborted <= ended);
        let is_odd = expected.clean != record.clean && !(expected.clean && is_cut);
        return say(is_odd, "clean or not is wrong");
    }
    let Some(drained) = fate.drained_at.filter(|drained| *drained <= ended) else {
        return Err("there was no drain".to_owned());
    };
    if kind.answers_the_drain() {
        let until = fate.at_the_latest(drained.max(opened), turn + EXCHANGE);
        let is_cut = fate.aborted_at.is_some_and(|aborted| aborted <= until);
        let is_held = partition.is_some_and(|(from, _)| from <= until)
            && partition.is_some_and(|(_, to)| to.is_none_or(|to| to >= drained));
        let is_unclean = !record.clean || saw.is_none_or(|saw| saw.end != Told::Close(1001));
        say(is_unclean && !is_cut && !is_held, "it would have answered the drain")?;
    }
    Ok(())
}
