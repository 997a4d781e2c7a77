//! The real binary among thousands of hostile clients, beside some healthy ones that must not
//! notice: `chaos SERVER [--seconds N] [--seed S] [--connections C]`.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::healthy::{self, Fared};
use bench::hostile::{self, Deeds};
use bench::process::{Server, field};

const HEALTHY: usize = 50;
const BEAT: Duration = Duration::from_millis(200);

/// Short, so that all of it happens many times. The other limits are the defaults.
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

/// From the last hostile client to the moment when nothing is left of them.
const SETTLING: Duration = Duration::from_secs(15);
/// What the memory may grow by from the warm-up to the end.
const GROWTH: u64 = 8 << 20;
/// How late the middle one of the pongs may be, and the last one.
const MEDIAN: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(1);

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
    let wrong = match play(&arguments) {
        Ok(wrong) => wrong,
        Err(error) => vec![error.to_string()],
    };
    for wrong in &wrong {
        println!("FAILED: {wrong}");
    }
    if wrong.is_empty() {
        println!("all is well");
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

/// What is expected, and what was not so.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn line(&self, name: &str, figure: impl std::fmt::Display) {
        println!("{name:32} {figure}");
    }

    fn check(&mut self, is_right: bool, what: impl Into<String>) {
        if !is_right {
            self.0.push(what.into());
        }
    }
}

fn play(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    let Arguments { server, seconds, seed, connections } = arguments;
    let folder = env::temp_dir().join(format!("chaos-{}", std::process::id()));
    let mut server = Server::start(server, &folder, &FLAGS)?;
    println!("server {} at {}, log {}", server.id(), server.address, server.log.path.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::default();

    let (opened, opening) = mpsc::channel();
    let clients = healthy::start(server.address, HEALTHY, BEAT, opened);
    for _ in 0..HEALTHY {
        opening.recv_timeout(Duration::from_secs(10)).map_err(|_| "the healthy cannot connect")?;
    }
    let files = server.files()?;

    let deeds = Arc::new(Deeds::default());
    let warm_up = (seconds / 4).clamp(5, 20);
    let mut after_warm_up = 0;
    for (round, seconds) in [("warm-up", warm_up), ("chaos", *seconds)] {
        let most = {
            let _inside = runtime.enter();
            let hostile = hostile::start(server.address, *connections, *seed, &deeds);
            let most = watch(&server, seconds)?;
            runtime.block_on(async { drop(hostile) });
            most
        };
        let settled = settle(&mut server, files)?;
        let memory = server.memory("VmRSS")?;
        table.line(&format!("{round}: seconds"), seconds);
        table.line(&format!("{round}: most open files"), most);
        table.line(&format!("{round}: settled after"), format_args!("{settled:.1?}"));
        table.line(&format!("{round}: memory then"), format_args!("{} KiB", memory / 1024));
        let now = server.files()?;
        table.check(now <= files, format!("after {round} {now} files are open, before {files}"));
        if after_warm_up == 0 {
            after_warm_up = memory;
        } else {
            let grown = memory.saturating_sub(after_warm_up);
            table.check(grown <= GROWTH, format!("the memory grew by {} KiB", grown / 1024));
        }
        let count = server.log.look()?;
        let open = count.opened - count.closed;
        table.check(open == HEALTHY, format!("after {round} {open} sessions are open"));
    }
    table.line("memory at most", format_args!("{} KiB", server.memory("VmHWM")? / 1024));
    stop(&mut server, &mut table)?;
    let fared = clients.join().map_err(|_| "the healthy clients panicked")?;
    tell_of_the_healthy(&fared, &mut table);
    tell_of_the_hostile(&mut server, &deeds, &mut table)?;
    if table.0.is_empty() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(table.0)
}

/// Waits, and gives back how many files were open at most.
fn watch(server: &Server, seconds: u64) -> std::io::Result<usize> {
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        sleep(Duration::from_millis(250));
        most = most.max(server.files()?);
    }
    Ok(most)
}

/// Waits until nothing is left of the hostile clients, or too long.
fn settle(server: &mut Server, files: usize) -> std::io::Result<Duration> {
    let began = Instant::now();
    while began.elapsed() < SETTLING {
        let count = server.log.look()?;
        if count.opened - count.closed <= HEALTHY && server.files()? <= files {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    Ok(began.elapsed())
}

/// Tells the server to stop, and checks how it does.
fn stop(server: &mut Server, table: &mut Table) -> Result<(), Box<dyn Error>> {
    server.terminate()?;
    let status = server.end_within(Duration::from_secs(20))?;
    let code = status.and_then(|status| status.code());
    table.line("exit code", format_args!("{code:?}"));
    table.check(code == Some(0), format!("it ended with {status:?}"));

    let count = server.log.look()?;
    let stopped = count.stopped.as_deref().unwrap_or_default();
    let fields = ["clean", "timed_out", "aborted"].map(|name| field(stopped, name));
    let expected = [Some(HEALTHY.to_string()), Some("0".to_owned()), Some("0".to_owned())];
    table.line("shut down in ms", field(stopped, "duration_ms").unwrap_or("?"));
    table.check(fields == expected.each_ref().map(Option::as_deref), format!("said: {stopped}"));
    table.check(count.opened == count.closed, "not every session that opened has closed");
    Ok(())
}

fn tell_of_the_healthy(fared: &[Fared], table: &mut Table) {
    let mut waits: Vec<Duration> = fared.iter().flat_map(|one| one.waits.clone()).collect();
    waits.sort_unstable();
    let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len() - 1));
    let [median, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    table.line("pongs for the healthy", waits.len());
    table.line("their median, p99, max", format_args!("{median:.2?}, {p99:.2?}, {max:.2?}"));
    table.check(median <= MEDIAN, format!("the median pong took {median:.2?}"));
    table.check(max <= LATEST, format!("the last pong took {max:.2?}"));
    for one in fared {
        let is_right = one.end.as_ref().is_ok_and(|end| *end == (1001, "drained".to_owned()));
        table.check(is_right, format!("a healthy client ended with {:?}", one.end));
    }
    table.check(fared.len() == HEALTHY, "a healthy client is missing");
}

fn tell_of_the_hostile(
    server: &mut Server,
    deeds: &Deeds,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let count = server.log.look()?;
    let [connected, not, upgraded] = [&deeds.connected, &deeds.not_connected, &deeds.upgraded]
        .map(|it| it.load(Ordering::SeqCst));
    table.line("hostile: connected, not", format_args!("{connected}, {not}"));
    table.line("hostile: upgraded", upgraded);
    table.line("log: opened, closed", format_args!("{}, {}", count.opened, count.closed));
    table.line("log: refused", count.refused);
    for (cause, times) in &count.causes {
        table.line(&format!("log: closed as {cause}"), times);
    }
    // Without these the hostile ones were not hostile.
    let causes = count.causes.len();
    table.check(causes >= 8, format!("only {causes} causes came about"));
    let lines = &count.alarming[..count.alarming.len().min(5)];
    table.check(lines.is_empty(), format!("{} alarming lines: {lines:?}", count.alarming.len()));
    Ok(())
}
