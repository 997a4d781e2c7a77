//! A server that lives for a long time: `soak PUBLISH FOLDER [--minutes N] [--seed S]`.
//!
//! PUBLISH is the example `publish`. Clients of all four ways (HTTP/1.1 and HTTP/2, each with and without
//! TLS) come and go and end in every way, while states are published, settings and certificates are
//! reloaded, and processes hand over to successors. Between rounds of this life there are points of rest:
//! only the clients that stay are connected, so it is known what the process must have.
//!
//! Memory is compared within one process, and each handover makes another. So the rounds are in two phases:
//! in the first third each round has a handover, and every second one a successor that is killed; in the
//! rest one process lives to the end. Its first points of rest are its warm-up: caches and the allocator
//! reach the size that they keep. From then on its memory must not grow with the sessions that it opens.
//! The verdict is the slope of a line through these points, with its standard error; it says which leak it
//! would have found. `cargo xtask soak` runs it.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::handover::faults::{Clock, Fault, Faults};
use bench::handover::free_addresses;
use bench::handover::logs::LoggedSessions;
use bench::handover::publisher::Publisher;
use bench::handover::report::{Report, conclude, millis};
use bench::process::allow_many_files;
use bench::soak::certificates::Certificates;
use bench::soak::life::{Residents, live};
use bench::soak::program::{Handover, Program};
use bench::soak::rest::{Growth, Idle, Rest, Truth};
use bench::soak::world::{Addresses, World, state};
use fastrand::Rng;
use tokio::runtime::Runtime;

const USAGE: &str = "usage: soak PUBLISH FOLDER [--minutes N] [--seed S]";

/// The rounds of a run, and the limits of the length of one.
const ROUNDS: u32 = 30;
const SHORTEST_ROUND: Duration = Duration::from_secs(6);
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// The part of the time with handovers, and the part of the rest that is the warm-up of the process that stays.
const HANDOVERS: f64 = 1.0 / 3.0;
const WARM_UP: f64 = 1.0 / 3.0;
/// Time between two states.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(400);
/// Limit for the clients that stay to be connected, and to have the newest state.
const RESIDENTS_TIMEOUT: Duration = Duration::from_secs(20);
/// The time after a handover in which a client notices the end of its connection.
const NOTICE: Duration = Duration::from_secs(2);
/// The latest moment for a successor to be killed, from its start.
const LATEST_KILL: Duration = Duration::from_millis(300);
/// The shortest round in which a certificate is renewed without a signal: the process notices it within ten
/// seconds.
const RENEWAL_ROUND: Duration = Duration::from_secs(20);
/// The growth after the warm-up that is allowed whatever the slope says, in bytes.
const MAX_GROWTH: f64 = 4.0 * 1024.0 * 1024.0;

/// The sessions after the warm-up without which the slope says nothing: a process that has opened some
/// thousands still grows to the size that it keeps.
const MIN_SESSIONS: f64 = 20_000.0;

/// The warnings that this program causes.
const WARNINGS: [&str; 3] = ["handover_revoked", "reload_refused", "successor_failed"];

struct Arguments {
    publish: PathBuf,
    folder: PathBuf,
    time: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    conclude(run(&arguments), &arguments.folder)
}

fn arguments() -> Option<Arguments> {
    let mut words = env::args().skip(1);
    let mut path = || words.next().filter(|word| !word.starts_with("--")).map(PathBuf::from);
    let mut arguments =
        Arguments { publish: path()?, folder: path()?, time: Duration::from_secs(60), seed: 1 };
    while let Some(name) = words.next() {
        let value: u64 = words.next()?.parse().ok()?;
        match name.as_str() {
            "--minutes" => arguments.time = Duration::from_secs(60 * value),
            "--seed" => arguments.seed = value,
            _ => return None,
        }
    }
    Some(arguments)
}

/// Returns the failures.
fn run(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    allow_many_files()?;
    let Arguments { publish, folder, time, seed } = arguments;
    println!("seed {seed}");
    let [plain, tls, admin] = free_addresses()?;
    let addresses = Addresses { plain, tls, admin };
    let certificates = Certificates::generate()?;
    let tls = certificates.clients.clone();
    let program = Program::start(publish, folder, addresses, certificates)?;
    let idle = Idle::measure(program.pid)?;
    let world = Arc::new(World::new(addresses, tls, Faults::new(Clock::start())));
    let runtime = Runtime::new()?;
    let mut rng = Rng::with_seed(*seed);
    let residents = {
        let _inside = runtime.enter();
        Residents::start(&world, &mut rng)
    };
    let mut soak = Soak {
        program,
        world,
        runtime,
        rng,
        idle,
        handovers: Vec::new(),
        revoked: 0,
        refused: 0,
        failures: Vec::new(),
    };
    println!("{}", Rest::HEAD);
    soak.wait_for(&residents)?;
    soak.rest(residents.count(), residents.connections)?;

    let round = (*time / ROUNDS).clamp(SHORTEST_ROUND, LONGEST_ROUND);
    let mut number = 0;
    while soak.now() < time.mul_f64(HANDOVERS) {
        soak.round(round, events(number, round, Phase::Handovers))?;
        soak.wait_for(&residents)?;
        soak.rest(residents.count(), residents.connections)?;
        number += 1;
    }
    let began = soak.now();
    let warm = began + time.saturating_sub(began).mul_f64(WARM_UP);
    let mut points = Vec::new();
    while soak.now() < *time {
        soak.round(round, events(number, round, Phase::OneProcess))?;
        soak.wait_for(&residents)?;
        let rest = soak.rest(residents.count(), residents.connections)?;
        if soak.now() >= warm {
            points.push((rest.opened, rest.memory as f64));
        }
        number += 1;
    }
    drop(residents);
    soak.rest(0, 0)?;
    soak.program.stop()?;
    soak.report(&points)
}

/// What is done to the program in a round.
#[derive(Clone, Copy)]
enum Event {
    HandOver,
    KillSuccessor,
    Reload,
    ReloadWrong,
    RenewCertificate,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Handovers,
    OneProcess,
}

/// Returns what is done in the round with this number and this length.
fn events(number: u32, length: Duration, phase: Phase) -> Vec<Event> {
    let hands_over = phase == Phase::Handovers;
    let all = [
        (Event::Reload, true),
        (Event::HandOver, hands_over),
        (Event::KillSuccessor, hands_over && number.is_multiple_of(2)),
        (Event::ReloadWrong, number.is_multiple_of(3)),
        (Event::RenewCertificate, length >= RENEWAL_ROUND && number.is_multiple_of(4)),
    ];
    all.into_iter().filter(|(_, is_done)| *is_done).map(|(event, _)| event).collect()
}

struct Soak {
    program: Program,
    world: Arc<World>,
    runtime: Runtime,
    rng: Rng,
    idle: Idle,
    /// The times of handovers in which sessions may be drained.
    handovers: Vec<RangeInclusive<Duration>>,
    /// Successors that were killed, and settings that were refused.
    revoked: usize,
    refused: usize,
    failures: Vec<String>,
}

impl Soak {
    fn now(&self) -> Duration {
        self.world.faults.clock.now()
    }

    /// Lets clients come and go for this time, and does this to the program at random moments.
    fn round(&mut self, time: Duration, mut events: Vec<Event>) -> Result<(), Box<dyn Error>> {
        let World { addresses, newest, faults, .. } = &*self.world;
        let (newest, faults) = (newest.clone(), faults.clone());
        let publisher = Publisher::start(addresses.admin, PUBLISH_INTERVAL, newest, faults, state);
        let started = Instant::now();
        let life = self.runtime.spawn(live(Arc::clone(&self.world), self.rng.fork(), time));
        self.rng.shuffle(&mut events);
        let pause = time / (events.len() as u32 + 1);
        for (number, event) in (1_u32..).zip(events) {
            let due = pause.mul_f64(f64::from(number) + self.rng.f64() - 0.5);
            sleep(due.saturating_sub(started.elapsed()));
            self.perform(event)?;
        }
        self.runtime.block_on(life)?;
        publisher.finish()?;
        Ok(())
    }

    fn perform(&mut self, event: Event) -> io::Result<()> {
        let began = self.now();
        let outcome = match event {
            Event::HandOver => self.program.hand_over().map(|()| Handover::Completed),
            Event::KillSuccessor => {
                self.program.kill_successor(LATEST_KILL.mul_f64(self.rng.f64()))
            }
            Event::Reload => return self.program.reload(),
            Event::ReloadWrong => {
                self.refused += 1;
                self.program.reload_wrong()?;
                // So that the metrics say that the latest reload was applied.
                return self.program.reload();
            }
            Event::RenewCertificate => return self.program.renew_certificate(),
        };
        match outcome? {
            Handover::Completed => self.handovers.push(began..=self.now() + NOTICE),
            Handover::Revoked => self.revoked += 1,
        }
        Ok(())
    }

    /// Waits until the clients that stay are connected and have the newest state.
    fn wait_for(&mut self, residents: &Residents) -> Result<(), Box<dyn Error>> {
        let (started, newest) = (Instant::now(), self.world.newest.number());
        loop {
            let (count, open) = (residents.count(), residents.open());
            let having = residents.having(newest);
            if open == count && having == count {
                return Ok(());
            }
            if started.elapsed() > RESIDENTS_TIMEOUT {
                let text = format!(
                    "of {count} clients that stay, {open} are connected, and {having} have the \
                     newest state"
                );
                self.failures.push(text);
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Measures the process while only this many sessions are open.
    fn rest(&mut self, sessions: usize, connections: usize) -> Result<Rest, Box<dyn Error>> {
        let truth = Truth { sessions, connections, idle: self.idle };
        let rest = Rest::measure(self.program.pid, self.world.addresses.admin, truth)?;
        println!("{}", rest.row(self.now(), self.program.pid));
        let minute = self.now().as_secs_f64() / 60.0;
        for wrong in &rest.wrong {
            let text = format!("at minute {minute:.1}: {wrong}");
            eprintln!("{text}");
            self.failures.push(text);
        }
        Ok(rest)
    }

    fn report(self, points: &[(f64, f64)]) -> Result<Vec<String>, Box<dyn Error>> {
        let Self { program, world, handovers, revoked, refused, failures, .. } = self;
        println!();
        for (what, count) in world.counts() {
            println!("{what}: {count}");
        }
        let mut report = Report { failures };
        report.begin();
        report.figure("handovers", handovers.len());
        report.figure("successors killed", revoked);
        report_faults(&mut report, &world, &handovers);
        report_log(&mut report, &program, &world.counts(), revoked, refused)?;
        report_memory(&mut report, points);
        Ok(report.failures)
    }
}

fn report_faults(report: &mut Report, world: &World, handovers: &[RangeInclusive<Duration>]) {
    report.check_none("what no client may see", &grouped(&world.faults.take()));
    let is_allowed = |fault: &Fault| handovers.iter().any(|time| time.contains(&fault.at));
    let (allowed, wrong): (Vec<_>, Vec<_>) = world.drained.take().into_iter().partition(is_allowed);
    report.figure("sessions and requests left to predecessors in handovers", allowed.len());
    report.check_none("the same at other times", &grouped(&wrong));
}

/// Returns what was seen, with how often and when first; the most frequent first.
fn grouped(faults: &[Fault]) -> Vec<String> {
    let mut groups: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for fault in faults {
        groups.entry(&fault.text).or_insert((0, fault.at)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, _))| usize::MAX - count);
    let text = |(text, (count, first)): &(&str, (usize, Duration))| {
        format!("{count} times, first at {}: {text}", millis(*first))
    };
    groups.iter().map(text).collect()
}

fn report_log(
    report: &mut Report,
    program: &Program,
    counts: &BTreeMap<String, usize>,
    revoked: usize,
    refused: usize,
) -> Result<(), Box<dyn Error>> {
    let sessions = LoggedSessions::read(&[program.log()], &WARNINGS)?;
    let count = |prefix: &str| -> usize {
        counts.iter().filter(|(what, _)| what.starts_with(prefix)).map(|(_, count)| count).sum()
    };
    let opened = count("opened: ") + count("crowd: 101");
    let required = format!("at least {opened}");
    report.check("sessions in the log", sessions.count, required, sessions.count >= opened);
    report.check_none("sessions without one `opened`", &sessions.wrongly_opened);
    report.check_none("sessions without `closed`", &sessions.never_closed);
    report.check_none("sessions with more than one `closed`", &sessions.wrongly_closed);
    for (event, limit, is_exact) in [
        ("handover_revoked", revoked, false),
        ("successor_failed", revoked, true),
        ("reload_refused", refused, true),
    ] {
        let found = sessions.expected.get(event).copied().unwrap_or(0);
        let holds = found == limit || !is_exact && found < limit;
        report.check(&format!("lines `{event}`"), found, limit, holds);
    }
    report.check_none("unexpected lines in the log", &sessions.unexpected);
    let limited = count("crowd: 429");
    report.check("requests refused by the limit", limited, "at least 1", limited > 0);
    Ok(())
}

fn report_memory(report: &mut Report, points: &[(f64, f64)]) {
    let Some(growth) = Growth::of(points) else {
        report.check("points of rest after the warm-up", points.len(), "at least 3", false);
        return;
    };
    let (first, last) = (points[0], points[points.len() - 1]);
    let grown = last.1 - first.1;
    let found = format!("{:.0} KiB", grown / 1024.0);
    let required = format!("at most {:.0} KiB", MAX_GROWTH / 1024.0);
    report.check("memory gained after the warm-up", found, required, grown <= MAX_GROWTH);
    let found = format!("{:.1} ± {:.1} B", growth.bytes, growth.error);
    if last.0 - first.0 < MIN_SESSIONS {
        report.figure("memory gained for each session, too few for a verdict", found);
        return;
    }
    report.check("memory gained for each session", found, "no leak", !growth.is_leak());
    let least = format!("{:.0} B a session", growth.found_from());
    report.figure("the least leak that is found", least);
}
