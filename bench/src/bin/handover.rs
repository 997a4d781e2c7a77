//! Upgrades of the server that its clients must not notice: `handover PUBLISH FOLDER [--sessions N]
//! [--upgrades N] [--haproxy] [--kill-after MS] [--publish-interval MS] [--chaos SECONDS] [--seed S]`.
//!
//! PUBLISH is the example `publish`. Each upgrade starts a successor, which takes the sessions over. In every
//! second one the successor is killed before the commit, and the next one is its repetition. With `--chaos`,
//! upgrades follow one another for that time, and either process is killed at a random moment. Half of the
//! clients connect through HAProxy with `--haproxy`. `cargo xtask handover` runs it.

use std::env;
use std::error::Error;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::handover::clients::{Clients, Measured};
use bench::handover::faults::{Clock, Fault, Faults, Kind};
use bench::handover::haproxy::Haproxy;
use bench::handover::logs::LoggedSessions;
use bench::handover::probes::Probes;
use bench::handover::publisher::{Newest, Publisher};
use bench::handover::report::{Percentiles, Report, conclude, millis, print_upgrades};
use bench::handover::servers::Servers;
use bench::handover::upgrade::{Kill, Outcome, Side, Upgrade};
use bench::handover::{Routes, admin, free_addresses};
use bench::process::{Server, allow_many_files};

const USAGE: &str = "usage: handover PUBLISH FOLDER [--sessions N] [--upgrades N] [--haproxy] \
    [--kill-after MS] [--publish-interval MS] [--chaos SECONDS] [--seed S]";

/// Time between two upgrades, before the first and after the last.
const PAUSE: Duration = Duration::from_secs(3);
/// The same with `--chaos`.
const CHAOS_PAUSE: Duration = Duration::from_millis(500);
/// The latest moment for a kill.
const LATEST_KILL: Duration = Duration::from_millis(300);
/// The latest moment, as a part of the time until the successor before was ready. A kill after the commit,
/// which is shortly before that, loses the sessions of the successor; with `--chaos` it may.
const KILLED_BEFORE_COMMIT: f64 = 0.7;
const KILLED_AT_ANY_TIME: f64 = 1.3;
/// Time in which clients notice that their sessions are lost.
const NOTICE: Duration = Duration::from_millis(200);
/// Limit for all sessions to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without pings, probes and states before the end, and limit for gauges and descriptors to be right.
const QUIET: Duration = Duration::from_secs(2);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a predecessor says of a successor that was killed.
const KILL_WARNINGS: [&str; 2] = ["handover_refused", "handover_revoked"];

struct Arguments {
    publish: PathBuf,
    folder: PathBuf,
    sessions: usize,
    upgrades: usize,
    haproxy: bool,
    kill_after: Option<Duration>,
    /// By default it depends on the sessions.
    publish_interval: Option<Duration>,
    chaos: Option<Duration>,
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
    let mut arguments = Arguments {
        publish: path()?,
        folder: path()?,
        sessions: 10_000,
        upgrades: 5,
        haproxy: false,
        kill_after: None,
        publish_interval: None,
        chaos: None,
        seed: 1,
    };
    while let Some(name) = words.next() {
        if name == "--haproxy" {
            arguments.haproxy = true;
            continue;
        }
        let value: u64 = words.next()?.parse().ok()?;
        match name.as_str() {
            "--sessions" => arguments.sessions = usize::try_from(value).ok()?,
            "--upgrades" => arguments.upgrades = usize::try_from(value).ok()?,
            "--kill-after" => arguments.kill_after = Some(Duration::from_millis(value)),
            "--publish-interval" => {
                arguments.publish_interval = Some(Duration::from_millis(value));
            }
            "--chaos" => arguments.chaos = Some(Duration::from_secs(value)),
            "--seed" => arguments.seed = value,
            _ => return None,
        }
    }
    Some(arguments)
}

/// Returns the time between two states: so long that two cores are idle most of the time, with all clients on
/// the same machine. A client that has no time to read skips states.
fn publish_interval(sessions: usize) -> Duration {
    let milliseconds = (sessions / 20).max(100);
    Duration::from_millis(milliseconds as u64)
}

/// Returns the failures.
fn run(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    allow_many_files()?;
    fastrand::seed(arguments.seed);
    let Arguments { folder, sessions, .. } = arguments;
    fs::create_dir_all(folder)?;
    let [direct, admin, proxy] = free_addresses()?;
    let routes = Routes { direct, proxied: arguments.haproxy.then_some(proxy) };
    let hands_over = arguments.upgrades > 0 || arguments.chaos.is_some();
    let mut servers = Servers::new(&arguments.publish, folder, routes, admin, hands_over);
    let server = servers.start_alone()?;
    let idle = Idle { files: server.open_files()?, memory: server.memory("VmRSS")? };
    let haproxy = arguments.haproxy.then(|| Haproxy::start(folder, proxy, direct, sessions / 2));
    let _haproxy = haproxy.transpose()?;

    let (faults, newest) = (Faults::new(Clock::start()), Newest::default());
    let interval = arguments.publish_interval.unwrap_or_else(|| publish_interval(*sessions));
    let body = |number: u64| number.to_string();
    let publisher = Publisher::start(admin, interval, newest.clone(), faults.clone(), body);
    let clients = Clients::start(*sessions, routes, newest.clone(), faults.clone())?;
    if !clients.wait_until_open(*sessions, OPEN_TIMEOUT) {
        return Err(format!("{} of {sessions} sessions opened", clients.open()).into());
    }
    let probes = Probes::start(routes, &newest, &faults);
    let run = Run {
        arguments,
        servers,
        server,
        idle,
        clients,
        faults,
        upgrades: Vec::new(),
        allowed: Vec::new(),
        memory: Vec::new(),
        report: Report::default(),
    };
    run.finish(publisher, probes)
}

/// The first process before any client had connected.
struct Idle {
    files: usize,
    memory: u64,
}

/// A time in which faults are allowed, because a process was killed that had sessions.
struct Allowed {
    time: RangeInclusive<Duration>,
    lost: usize,
}

struct Run<'a> {
    arguments: &'a Arguments,
    servers: Servers,
    /// The process that serves.
    server: Server,
    idle: Idle,
    clients: Clients,
    faults: Faults,
    upgrades: Vec<Upgrade>,
    allowed: Vec<Allowed>,
    /// The bytes for each session, in the first process and in each successor that serves.
    memory: Vec<u64>,
    report: Report,
}

impl Run<'_> {
    fn finish(
        mut self,
        publisher: Publisher,
        probes: Probes,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let pause = if self.arguments.chaos.is_some() { CHAOS_PAUSE } else { PAUSE };
        sleep(pause);
        self.measure_memory()?;
        let began = Instant::now();
        loop {
            let is_over = match self.arguments.chaos {
                Some(time) => began.elapsed() >= time,
                None => self.upgrades.len() >= self.arguments.upgrades,
            };
            if is_over {
                break;
            }
            self.upgrade()?;
            sleep(pause);
            self.measure_memory()?;
        }
        sleep(pause);

        let (published, probes) = (publisher.finish()?, probes.finish()?);
        self.clients.quieten();
        sleep(QUIET);
        let rest = self.wait_for_release()?;
        self.clients.expect_end();
        self.server.terminate()?;
        let status = self.server.wait_for_exit(Duration::from_secs(30))?;
        let measured = self.clients.finish()?;

        let Self { arguments, mut report, upgrades, allowed, memory, faults, servers, .. } = self;
        print_upgrades(&mut report, &upgrades, &measured.pongs);
        report.begin();
        report_faults(&mut report, &faults.take(), &allowed);
        let refused = published.refused;
        if allowed.is_empty() {
            report.check("publications refused", refused, 0, refused == 0);
        } else {
            report.figure("publications refused", refused);
        }
        report.figure("publications answered with 503", published.declined);
        report.figure("slowest publication", millis(published.slowest));
        let Percentiles { count, p50, p99, slowest } =
            Percentiles::of(probes.iter().map(|probe| probe.time));
        let figures = format!("{}, {}, {}", millis(p50), millis(p99), millis(slowest));
        report.figure(&format!("{count} new connections: p50, p99, slowest"), figures);
        report_sessions(&mut report, &servers, &allowed)?;
        let Rest { open, gauge, files } = rest;
        report.check("sessions at the end", open, arguments.sessions, open == arguments.sessions);
        report.check("the same in the metrics", gauge, open, gauge == open as f64);
        report.check("descriptors left over", files, 0, files == 0);
        let Measured { closed_at_the_end: closed, .. } = measured;
        report.check("closed with 1001 by SIGTERM", closed, open, closed == open);
        let code = status.and_then(|status| status.code());
        report.check("exit code", format!("{code:?}"), "Some(0)", code == Some(0));
        report_memory(&mut report, &memory);
        Ok(report.failures)
    }

    fn upgrade(&mut self) -> Result<(), Box<dyn Error>> {
        let (open, clock) = (self.clients.open(), self.faults.clock);
        let kill = self.kill();
        let upgrade = Upgrade::perform(&mut self.servers, &mut self.server, kill, clock)?;
        let has_lost =
            matches!(upgrade.outcome, Outcome::Inherited | Outcome::NothingLeft | Outcome::TooLate);
        if has_lost {
            sleep(NOTICE);
        }
        if !self.clients.wait_until_open(self.arguments.sessions, OPEN_TIMEOUT) {
            let text =
                format!("only {} clients are connected after an upgrade", self.clients.open());
            self.report.failures.push(text);
        }
        if let Some(kill) = upgrade.kill.filter(|_| has_lost) {
            let time = *upgrade.time.start() + kill.after..=clock.now();
            self.allowed.push(Allowed { time, lost: upgrade.allowed_losses(open) });
        }
        eprintln!("upgrade {}: {}", self.upgrades.len() + 1, upgrade.outcome.name());
        self.upgrades.push(upgrade);
        Ok(())
    }

    /// Decides whether the next upgrade has a kill, and when.
    fn kill(&self) -> Option<Kill> {
        let is_chaos = self.arguments.chaos.is_some();
        let side = match fastrand::u8(..5) {
            _ if !is_chaos && self.upgrades.len().is_multiple_of(2) => return None,
            0 if is_chaos => return None,
            1 | 2 if is_chaos => Side::Predecessor,
            _ => Side::Successor,
        };
        let part = if is_chaos { KILLED_AT_ANY_TIME } else { KILLED_BEFORE_COMMIT };
        let ready = self.upgrades.iter().rev().find_map(|upgrade| upgrade.ready);
        let latest = ready.map_or(LATEST_KILL, |ready| ready.mul_f64(part).min(LATEST_KILL));
        let random = || latest.mul_f64(fastrand::f64());
        Some(Kill { side, after: self.arguments.kill_after.unwrap_or_else(random) })
    }

    /// Measures the process that serves, unless it is the one that was measured last.
    fn measure_memory(&mut self) -> Result<(), Box<dyn Error>> {
        let is_measured = self.upgrades.last().is_some_and(|it| it.outcome != Outcome::Completed);
        if !is_measured {
            let memory = self.server.memory("VmRSS")?.saturating_sub(self.idle.memory);
            self.memory.push(memory / self.arguments.sessions.max(1) as u64);
        }
        Ok(())
    }

    /// Waits until the process that serves has nothing but the clients' sessions, and returns what it has.
    fn wait_for_release(&self) -> Result<Rest, Box<dyn Error>> {
        let started = Instant::now();
        loop {
            let open = self.clients.open();
            let gauge = admin::metric(self.servers.admin, "ws_status_sessions")?;
            let files = self.server.open_files()?.saturating_sub(self.idle.files + open);
            let is_released = gauge == open as f64 && files == 0;
            if is_released || started.elapsed() > SETTLE_TIMEOUT {
                return Ok(Rest { open, gauge, files });
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// What is left when only the clients are connected.
struct Rest {
    open: usize,
    /// The open sessions by the metrics.
    gauge: f64,
    /// Descriptors beyond those of an idle server and of the sessions.
    files: usize,
}

fn report_faults(report: &mut Report, faults: &[Fault], allowed: &[Allowed]) {
    let is_allowed = |fault: &Fault| allowed.iter().any(|it| it.time.contains(&fault.at));
    for (kind, name) in Kind::ALL {
        let found = faults.iter().filter(|fault| fault.kind == kind);
        let (after_kills, wrong): (Vec<_>, Vec<_>) = found.partition(|fault| is_allowed(fault));
        let text = |fault: &&Fault| format!("at {}: {}", millis(fault.at), fault.text);
        report.check_none(name, &wrong.iter().map(text).collect::<Vec<_>>());
        if kind == Kind::Closed {
            for Allowed { time, lost } in allowed {
                let in_time = |fault: &&&Fault| time.contains(&fault.at);
                let found = after_kills.iter().filter(in_time).count();
                let required = format!("at most {lost}");
                report.check("sessions lost by a kill", found, required, found <= *lost);
            }
        } else if !after_kills.is_empty() {
            report.figure(&format!("{name}, after kills"), after_kills.len());
        }
    }
}

fn report_sessions(
    report: &mut Report,
    servers: &Servers,
    allowed: &[Allowed],
) -> Result<(), Box<dyn Error>> {
    let sessions = LoggedSessions::read(servers.logs(), &KILL_WARNINGS)?;
    report.figure("sessions in the logs", sessions.count);
    // A process that is killed logs no `closed` for its sessions.
    let killed: usize = allowed.iter().map(|allowed| allowed.lost).sum();
    let never = sessions.never_closed.len();
    let required = if killed == 0 { "0".to_owned() } else { format!("at most {killed}") };
    report.check("sessions without `closed`", never, required, never <= killed);
    report.check_none("sessions without one `opened`", &sessions.wrongly_opened);
    report.check_none("sessions with more than one `closed`", &sessions.wrongly_closed);
    report.check_none("unexpected lines in the logs", &sessions.unexpected);
    Ok(())
}

fn report_memory(report: &mut Report, memory: &[u64]) {
    let Some((direct, successors)) = memory.split_first() else { return };
    report.figure("memory for each session, opened directly", format!("{direct} B"));
    if let (Some(least), Some(most)) = (successors.iter().min(), successors.iter().max()) {
        report.figure("memory for each session, in successors", format!("{least} to {most} B"));
    }
}
