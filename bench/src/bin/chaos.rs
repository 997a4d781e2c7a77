//! The server binary under thousands of misbehaving clients, with well-behaved ones that must not be
//! affected: `chaos SERVER [--seconds N] [--seed S] [--connections C]`.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::misbehaving::{self, Counters};
use bench::process::{Server, field};
use bench::well_behaved::{self, ClientReport};

const WELL_BEHAVED: usize = 50;
const PING_INTERVAL: Duration = Duration::from_millis(200);

/// Short timeouts, so that each occurs many times. The other limits are the defaults.
const FLAGS: [&str; 12] = [
    "--ping-interval-secs=2",
    "--pong-timeout-secs=2",
    "--close-timeout-secs=1",
    "--handshake-timeout-secs=3",
    "--write-timeout-secs=2",
    "--message-timeout-secs=2",
    "--shutdown-grace-secs=10",
    "--allowed-origins=*",
    "--null-origin=allow",
    "--missing-origin=allow",
    "--max-connections-per-address=0",
    "--log=info",
];

/// Limit for the server to release the resources of the misbehaving clients.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Limit of the growth of the memory after the warm-up, in bytes.
const MAX_GROWTH: u64 = 8 << 20;
/// Limits of the median and of the maximum round-trip time.
const MAX_MEDIAN: Duration = Duration::from_millis(50);
const MAXIMUM: Duration = Duration::from_secs(1);

struct Arguments {
    server: PathBuf,
    seconds: u64,
    seed: u64,
    connections: usize,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: chaos SERVER [--seconds N] [--seed S] [--connections C]");
        return ExitCode::from(2);
    };
    let failures = match run(&arguments) {
        Ok(failures) => failures,
        Err(error) => vec![error.to_string()],
    };
    for failures in &failures {
        println!("FAILED: {failures}");
    }
    if failures.is_empty() {
        println!("no failures");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn arguments() -> Option<Arguments> {
    let mut words = env::args().skip(1);
    let server = words.next().filter(|word| !word.starts_with("--"))?.into();
    let mut arguments = Arguments { server, seconds: 60, seed: 1, connections: 2000 };
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name.as_str() {
            "--seconds" => arguments.seconds = value.parse().ok()?,
            "--seed" => arguments.seed = value.parse().ok()?,
            "--connections" => arguments.connections = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(arguments)
}

/// Prints the figures, and collects the failures.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn line(&self, name: &str, figure: impl std::fmt::Display) {
        println!("{name:32} {figure}");
    }

    fn check(&mut self, holds: bool, message: impl Into<String>) {
        if !holds {
            self.0.push(message.into());
        }
    }
}

fn run(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    let Arguments { server, seconds, seed, connections } = arguments;
    let folder = env::temp_dir().join(format!("chaos-{}", std::process::id()));
    let mut server = Server::start(server, &folder, &FLAGS)?;
    println!("server {} at {}, log {}", server.id(), server.address, server.log.path.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::default();

    let (opened, opening) = mpsc::channel();
    let clients = well_behaved::start(server.address, WELL_BEHAVED, PING_INTERVAL, opened);
    for _ in 0..WELL_BEHAVED {
        opening
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| "a well-behaved client cannot connect")?;
    }
    let open_files = server.open_files()?;

    let counters = Arc::new(Counters::default());
    let warm_up = (seconds / 4).clamp(5, 20);
    let mut after_warm_up = 0;
    for (round, seconds) in [("warm-up", warm_up), ("chaos", *seconds)] {
        let maximum = {
            let _inside = runtime.enter();
            let misbehaving = misbehaving::start(server.address, *connections, *seed, &counters);
            let maximum = watch_open_files(&server, seconds)?;
            runtime.block_on(async { drop(misbehaving) });
            maximum
        };
        let settled = settle(&mut server, open_files)?;
        let memory = server.memory("VmRSS")?;
        report.line(&format!("{round}: seconds"), seconds);
        report.line(&format!("{round}: maximum open files"), maximum);
        report.line(&format!("{round}: settled after"), format_args!("{settled:.1?}"));
        report.line(&format!("{round}: memory after"), format_args!("{} KiB", memory / 1024));
        let now = server.open_files()?;
        report.check(
            now <= open_files,
            format!("after {round} {now} files are open, before {open_files}"),
        );
        if after_warm_up == 0 {
            after_warm_up = memory;
        } else {
            let grown = memory.saturating_sub(after_warm_up);
            report.check(grown <= MAX_GROWTH, format!("the memory grew by {} KiB", grown / 1024));
        }
        let summary = server.log.read_new()?;
        let open = summary.opened - summary.closed;
        report.check(open == WELL_BEHAVED, format!("after {round} {open} sessions are open"));
    }
    report.line("maximum memory", format_args!("{} KiB", server.memory("VmHWM")? / 1024));
    stop(&mut server, &mut report)?;
    let reports = clients.join().map_err(|_| "the well-behaved clients panicked")?;
    report_well_behaved(&reports, &mut report);
    report_misbehaving(&mut server, &counters, &mut report)?;
    if report.0.is_empty() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(report.0)
}

/// Waits, and returns the maximum number of open files.
fn watch_open_files(server: &Server, seconds: u64) -> std::io::Result<usize> {
    let started = Instant::now();
    let mut maximum = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        sleep(Duration::from_millis(250));
        maximum = maximum.max(server.open_files()?);
    }
    Ok(maximum)
}

/// Waits until the resources of the misbehaving clients are released, for `SETTLE_TIMEOUT` at most.
fn settle(server: &mut Server, open_files: usize) -> std::io::Result<Duration> {
    let started = Instant::now();
    while started.elapsed() < SETTLE_TIMEOUT {
        let summary = server.log.read_new()?;
        if summary.opened - summary.closed <= WELL_BEHAVED && server.open_files()? <= open_files {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    Ok(started.elapsed())
}

/// Sends SIGTERM, and checks the shutdown.
fn stop(server: &mut Server, report: &mut Report) -> Result<(), Box<dyn Error>> {
    server.terminate()?;
    let status = server.wait_for_exit(Duration::from_secs(20))?;
    let code = status.and_then(|status| status.code());
    report.line("exit code", format_args!("{code:?}"));
    report.check(code == Some(0), format!("the server exited with {status:?}"));

    let summary = server.log.read_new()?;
    let stopped = summary.stopped.as_deref().unwrap_or_default();
    let fields = ["clean", "timed_out", "aborted"].map(|name| field(stopped, name));
    let expected = [Some(WELL_BEHAVED.to_string()), Some("0".to_owned()), Some("0".to_owned())];
    report.line("shut down in ms", field(stopped, "duration_ms").unwrap_or("?"));
    report.check(
        fields == expected.each_ref().map(Option::as_deref),
        format!("summary of the shutdown: {stopped}"),
    );
    report.check(summary.opened == summary.closed, "not every session that opened has closed");
    Ok(())
}

fn report_well_behaved(reports: &[ClientReport], report: &mut Report) {
    let mut round_trips: Vec<Duration> =
        reports.iter().flat_map(|one| one.round_trips.clone()).collect();
    round_trips.sort_unstable();
    let at = |percent: usize| {
        round_trips.get((round_trips.len() * percent / 100).min(round_trips.len() - 1))
    };
    let [median, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    report.line("well-behaved: pongs", round_trips.len());
    report
        .line("well-behaved: median, p99, max", format_args!("{median:.2?}, {p99:.2?}, {max:.2?}"));
    report.check(median <= MAX_MEDIAN, format!("the median pong took {median:.2?}"));
    report.check(max <= MAXIMUM, format!("the slowest pong took {max:.2?}"));
    for one in reports {
        let holds = one.end.as_ref().is_ok_and(|end| *end == (1001, "drained".to_owned()));
        report.check(holds, format!("a well-behaved client ended with {:?}", one.end));
    }
    report.check(reports.len() == WELL_BEHAVED, "a well-behaved client is missing");
}

fn report_misbehaving(
    server: &mut Server,
    counters: &Counters,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let summary = server.log.read_new()?;
    let [connected, not_connected, upgraded] =
        [&counters.connected, &counters.not_connected, &counters.upgraded]
            .map(|it| it.load(Ordering::SeqCst));
    report.line("misbehaving: connected, not", format_args!("{connected}, {not_connected}"));
    report.line("misbehaving: upgraded", upgraded);
    report.line("log: opened, closed", format_args!("{}, {}", summary.opened, summary.closed));
    report.line("log: refused", summary.refused);
    for (cause, count) in &summary.causes {
        report.line(&format!("log: closed as {cause}"), count);
    }
    // With fewer causes, the clients did not exercise the server.
    let causes = summary.causes.len();
    report.check(causes >= 8, format!("only {causes} causes occurred"));
    let lines = &summary.unexpected[..summary.unexpected.len().min(5)];
    report.check(
        lines.is_empty(),
        format!("{} unexpected log lines: {lines:?}", summary.unexpected.len()),
    );
    Ok(())
}
