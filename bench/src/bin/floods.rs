//! Three clients flood a server on one core, while the round trips of others are measured:
//! `floods SERVER [--seconds N] [--only NAME]`.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::Duration;

use bench::flood::{self, Counters, Flood, Http2Frame, Target};
use bench::load::peer_process::{LOAD_CORE, PEER_CORE, pin};
use bench::load::protocol::{Certificate, Http};
use bench::process::Server;
use bench::well_behaved;

const ATTACKERS: usize = 3;
const WELL_BEHAVED: usize = 20;
const PING_INTERVAL: Duration = Duration::from_millis(50);
/// Limit of the 99th percentile of the round trips, in milliseconds.
const MAX_P99_MS: f64 = 50.0;
/// Time from the last attack to SIGTERM, for the pongs that are due.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// Rate limits that admit the pings of the well-behaved clients, which exceed the default rate,
/// including pings that accumulate while the server does not read.
const RATE: &str = "--control-frames-per-second=50";
const BURST: &str = "--control-frame-burst=400";

/// One flood of a new server process.
struct Scenario {
    name: &'static str,
    reach: Reach,
    flood: Flood,
    flags: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Reach {
    Baseline,
    Tcp,
    Tls,
    Unix,
}

const SETTINGS: u8 = 4;
const HTTP2_PING: u8 = 6;
const DATA: u8 = 0;

/// SETTINGS frames that change the window of each stream.
const WINDOWS: &[Http2Frame] = &[
    Http2Frame { kind: SETTINGS, stream: 0, payload: &[0, 4, 0, 1, 0, 0] },
    Http2Frame { kind: SETTINGS, stream: 0, payload: &[0, 4, 0, 2, 0, 0] },
];
const HTTP2_PINGS: &[Http2Frame] = &[Http2Frame { kind: HTTP2_PING, stream: 0, payload: &[0; 8] }];
const EMPTY_DATA: &[Http2Frame] = &[Http2Frame { kind: DATA, stream: 1, payload: &[] }];

const fn http2(sessions: usize, frames: &'static [Http2Frame]) -> Flood {
    Flood::Http2 { sessions, frames }
}

/// Sizes of the socket buffers: the default, the kernel's automatic size, and 4 MiB.
const BY_DEFAULT: &[&str] = &[RATE, BURST];
const AUTOMATIC: &[&str] = &[RATE, BURST, "--socket-buffer-bytes=0"];
const LARGE: &[&str] = &[RATE, BURST, "--socket-buffer-bytes=4194304"];
/// Without a rate limit each ping is answered, and no session is closed.
const NO_LIMIT: &[&str] = &["--control-frames-per-second=0"];
const STREAMS: &str = "--http2-max-streams=1000";
const STREAMS_BY_DEFAULT: &[&str] = &[RATE, BURST, STREAMS];
const STREAMS_AUTOMATIC: &[&str] = &[RATE, BURST, STREAMS, "--socket-buffer-bytes=0"];
const STREAMS_LARGE: &[&str] = &[RATE, BURST, STREAMS, "--socket-buffer-bytes=4194304"];

const SCENARIOS: &[Scenario] = &[
    scenario("baseline", Reach::Baseline, Flood::Pings, BY_DEFAULT),
    // The server closes these sessions at once. The attackers continue to send while the server discards
    // their input, and then reconnect.
    scenario("tcp-pings", Reach::Tcp, Flood::Pings, BY_DEFAULT),
    scenario("tcp-pings-0", Reach::Tcp, Flood::Pings, AUTOMATIC),
    scenario("tcp-pings-4m", Reach::Tcp, Flood::Pings, LARGE),
    scenario("unix-pings", Reach::Unix, Flood::Pings, BY_DEFAULT),
    scenario("unix-pings-0", Reach::Unix, Flood::Pings, AUTOMATIC),
    scenario("unix-pings-4m", Reach::Unix, Flood::Pings, LARGE),
    scenario("tls-pings", Reach::Tls, Flood::Pings, BY_DEFAULT),
    scenario("tls-pings-0", Reach::Tls, Flood::Pings, AUTOMATIC),
    scenario("tls-pings-4m", Reach::Tls, Flood::Pings, LARGE),
    scenario("tcp-pings-free", Reach::Tcp, Flood::Pings, NO_LIMIT),
    scenario("unix-pings-free", Reach::Unix, Flood::Pings, NO_LIMIT),
    scenario("tls-empty", Reach::Tls, Flood::EmptyRecords, BY_DEFAULT),
    scenario("tls-empty-0", Reach::Tls, Flood::EmptyRecords, AUTOMATIC),
    scenario("tls-empty-4m", Reach::Tls, Flood::EmptyRecords, LARGE),
    scenario("h2-settings-64", Reach::Tcp, http2(64, WINDOWS), BY_DEFAULT),
    scenario("h2-settings-1000", Reach::Tcp, http2(1000, WINDOWS), STREAMS_BY_DEFAULT),
    scenario("h2-settings-1000-0", Reach::Tcp, http2(1000, WINDOWS), STREAMS_AUTOMATIC),
    scenario("h2-settings-1000-4m", Reach::Tcp, http2(1000, WINDOWS), STREAMS_LARGE),
    scenario("h2-pings-64", Reach::Tcp, http2(64, HTTP2_PINGS), BY_DEFAULT),
    scenario("h2-pings-1000", Reach::Tcp, http2(1000, HTTP2_PINGS), STREAMS_BY_DEFAULT),
    scenario("h2-empty-64", Reach::Tcp, http2(64, EMPTY_DATA), BY_DEFAULT),
    scenario("h2-empty-1000", Reach::Tcp, http2(1000, EMPTY_DATA), STREAMS_BY_DEFAULT),
];

const fn scenario(
    name: &'static str,
    reach: Reach,
    flood: Flood,
    flags: &'static [&'static str],
) -> Scenario {
    Scenario { name, reach, flood, flags }
}

struct Arguments {
    server: PathBuf,
    seconds: u64,
    only: Option<String>,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: floods SERVER [--seconds N] [--only NAME]");
        return ExitCode::from(2);
    };
    println!(
        "{:19} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "flood", "pongs", "median", "p99", "max", "send p99", "attacks", "MB"
    );
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut passed = true;
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(only)) {
        let failure = run(scenario, &arguments).unwrap_or_else(|error| Some(error.to_string()));
        if let Some(failure) = failure {
            println!("FAILED: {}: {failure}", scenario.name);
            passed = false;
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Option<Arguments> {
    let mut words = env::args().skip(1);
    let server = words.next().filter(|word| !word.starts_with("--"))?.into();
    let mut arguments = Arguments { server, seconds: 8, only: None };
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name.as_str() {
            "--seconds" => arguments.seconds = value.parse().ok()?,
            "--only" => arguments.only = Some(value),
            _ => return None,
        }
    }
    Some(arguments)
}

/// Runs a scenario, prints its line of the table, and returns a failure if there is one.
fn run(scenario: &Scenario, arguments: &Arguments) -> Result<Option<String>, Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("floods-{}", std::process::id()));
    let certificate = Certificate::generate(&folder)?;
    let socket = folder.join("socket");
    let mut server = start(scenario, arguments, &folder, &certificate, &socket)?;
    let target = match scenario.reach {
        Reach::Baseline => None,
        Reach::Tcp => Some(Target::Tcp(server.address)),
        Reach::Unix => Some(Target::Unix(socket)),
        Reach::Tls => {
            let address =
                server.log.read_new()?.tls_address.ok_or("the server does not listen with TLS")?;
            let mut config =
                certificate.protocol(Http::One).tls.as_deref().cloned().ok_or("no TLS")?;
            config.enable_secret_extraction = true;
            Some(Target::Tls(address, Arc::new(config)))
        }
    };

    let (opened, opening) = mpsc::channel();
    let clients = well_behaved::start(server.address, WELL_BEHAVED, PING_INTERVAL, opened);
    for _ in 0..WELL_BEHAVED {
        opening
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| "a well-behaved client cannot connect")?;
    }
    let counters = Arc::new(Counters::default());
    let attackers: Vec<_> = target
        .iter()
        .flat_map(|target| {
            (0..ATTACKERS).map(|_| flood::start(target.clone(), scenario.flood, &counters))
        })
        .collect();
    sleep(Duration::from_secs(arguments.seconds));
    counters.stop();
    let mut last_error = None;
    for attacker in attackers {
        last_error = attacker.join().map_err(|_| "an attacker panicked")?.or(last_error);
    }
    sleep(SETTLE_TIME);
    server.terminate()?;
    server.wait_for_exit(Duration::from_secs(20))?;
    let reports = clients.join().map_err(|_| "the well-behaved clients panicked")?;
    std::fs::remove_dir_all(folder)?;

    let pongs = reports.iter().map(|one| one.round_trips.len()).sum::<usize>();
    let [median, p99, max] = percentiles(reports.iter().map(|one| &one.round_trips));
    let [_, send_p99, _] = percentiles(reports.iter().map(|one| &one.send_delays));
    let [attacks, bytes] =
        [&counters.connections, &counters.bytes].map(|it| it.load(Ordering::Relaxed));
    let (name, megabytes) = (scenario.name, bytes as f64 / 1e6);
    println!(
        "{name:19} {pongs:7} {median:8.1} {p99:8.1} {max:8.1} {send_p99:8.1} {attacks:8} {megabytes:8.1}"
    );
    let disconnected = reports.iter().find_map(|one| one.end.as_ref().err());
    Ok(match disconnected {
        Some(error) => Some(format!("a well-behaved client was disconnected: {error}")),
        None if target.is_some() && attacks == 0 => {
            Some(format!("no attack started: {last_error:?}"))
        }
        None if p99 < MAX_P99_MS => None,
        None if send_p99 >= MAX_P99_MS => Some(format!(
            "the machine is overloaded: the pings were sent up to {send_p99:.0} ms late"
        )),
        None => Some(format!("one in a hundred pongs took {p99:.0} ms or more")),
    })
}

/// Returns the median, the 99th percentile and the maximum, in milliseconds.
fn percentiles<'a>(times: impl Iterator<Item = &'a Vec<Duration>>) -> [f64; 3] {
    let mut times: Vec<Duration> = times.flatten().copied().collect();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(last));
    [50, 99, 100].map(|percent| at(percent).map_or(0.0, |time| time.as_secs_f64() * 1000.0))
}

/// Starts the server on a separate core.
fn start(
    scenario: &Scenario,
    arguments: &Arguments,
    folder: &Path,
    certificate: &Certificate,
    socket: &Path,
) -> Result<Server, Box<dyn Error>> {
    let listen = format!("--listen=tls:127.0.0.1:0,unix:{},127.0.0.1:0", socket.display());
    let cert = format!("--tls-cert-file={}", certificate.cert.display());
    let key = format!("--tls-key-file={}", certificate.key.display());
    let listen_arguments = [listen.as_str(), &cert, &key, "--missing-origin=allow"];
    pin(PEER_CORE)?;
    let server =
        Server::start(&arguments.server, folder, &[&listen_arguments, scenario.flags].concat());
    pin(LOAD_CORE)?;
    Ok(server?)
}
