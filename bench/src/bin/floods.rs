//! Three clients that send as fast as they can to a server on one core, and what others notice:
//! `floods SERVER [--seconds N] [--only NAME]`.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::Duration;

use bench::flood::{self, Deeds, Flood, Http2Frame, Target};
use bench::healthy;
use bench::load::running::{OUR_CORE, PEER_CORE, pin};
use bench::load::way::{Certificate, Http};
use bench::process::Server;

const ATTACKERS: usize = 3;
const HEALTHY: usize = 20;
const BEAT: Duration = Duration::from_millis(50);
/// Within how many milliseconds all but a hundredth of the pongs have to come.
const P99_MS: f64 = 50.0;
/// From the last attacker to the end, for the pongs that are due.
const SETTLING: Duration = Duration::from_millis(500);

/// What the healthy need for their pings, which are more than a client sends by default; even those
/// that have gathered while the server did not read.
const RATE: &str = "--control-frames-per-second=50";
const BURST: &str = "--control-frame-burst=400";

/// What a server of its own is flooded with, by which way.
struct Scene {
    name: &'static str,
    way: Reach,
    flood: Flood,
    flags: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Reach {
    Nobody,
    Tcp,
    Tls,
    Unix,
}

const SETTINGS: u8 = 4;
const HTTP2_PING: u8 = 6;
const DATA: u8 = 0;

/// Settings that change the window of each stream.
const WINDOWS: &[Http2Frame] = &[
    Http2Frame { kind: SETTINGS, stream: 0, payload: &[0, 4, 0, 1, 0, 0] },
    Http2Frame { kind: SETTINGS, stream: 0, payload: &[0, 4, 0, 2, 0, 0] },
];
const HTTP2_PINGS: &[Http2Frame] = &[Http2Frame { kind: HTTP2_PING, stream: 0, payload: &[0; 8] }];
const EMPTY_DATA: &[Http2Frame] = &[Http2Frame { kind: DATA, stream: 1, payload: &[] }];

const fn http2(sessions: usize, frames: &'static [Http2Frame]) -> Flood {
    Flood::Http2 { sessions, frames }
}

/// What the system may keep for a connection: by default, as much as it likes, and a lot.
const BY_DEFAULT: &[&str] = &[RATE, BURST];
const AUTOMATIC: &[&str] = &[RATE, BURST, "--socket-buffer-bytes=0"];
const LARGE: &[&str] = &[RATE, BURST, "--socket-buffer-bytes=4194304"];
/// Without a limit each ping is answered, and nobody is closed.
const NO_LIMIT: &[&str] = &["--control-frames-per-second=0"];
const STREAMS: &str = "--http2-max-streams=1000";
const STREAMS_BY_DEFAULT: &[&str] = &[RATE, BURST, STREAMS];
const STREAMS_AUTOMATIC: &[&str] = &[RATE, BURST, STREAMS, "--socket-buffer-bytes=0"];
const STREAMS_LARGE: &[&str] = &[RATE, BURST, STREAMS, "--socket-buffer-bytes=4194304"];

const SCENES: &[Scene] = &[
    scene("nobody", Reach::Nobody, Flood::Pings, BY_DEFAULT),
    // These are closed for it at once, and go on for as long as they are read away, and come back.
    scene("tcp-pings", Reach::Tcp, Flood::Pings, BY_DEFAULT),
    scene("tcp-pings-0", Reach::Tcp, Flood::Pings, AUTOMATIC),
    scene("tcp-pings-4m", Reach::Tcp, Flood::Pings, LARGE),
    scene("unix-pings", Reach::Unix, Flood::Pings, BY_DEFAULT),
    scene("unix-pings-0", Reach::Unix, Flood::Pings, AUTOMATIC),
    scene("unix-pings-4m", Reach::Unix, Flood::Pings, LARGE),
    scene("tls-pings", Reach::Tls, Flood::Pings, BY_DEFAULT),
    scene("tls-pings-0", Reach::Tls, Flood::Pings, AUTOMATIC),
    scene("tls-pings-4m", Reach::Tls, Flood::Pings, LARGE),
    scene("tcp-pings-free", Reach::Tcp, Flood::Pings, NO_LIMIT),
    scene("unix-pings-free", Reach::Unix, Flood::Pings, NO_LIMIT),
    scene("tls-empty", Reach::Tls, Flood::EmptyRecords, BY_DEFAULT),
    scene("tls-empty-0", Reach::Tls, Flood::EmptyRecords, AUTOMATIC),
    scene("tls-empty-4m", Reach::Tls, Flood::EmptyRecords, LARGE),
    scene("h2-settings-64", Reach::Tcp, http2(64, WINDOWS), BY_DEFAULT),
    scene("h2-settings-1000", Reach::Tcp, http2(1000, WINDOWS), STREAMS_BY_DEFAULT),
    scene("h2-settings-1000-0", Reach::Tcp, http2(1000, WINDOWS), STREAMS_AUTOMATIC),
    scene("h2-settings-1000-4m", Reach::Tcp, http2(1000, WINDOWS), STREAMS_LARGE),
    scene("h2-pings-64", Reach::Tcp, http2(64, HTTP2_PINGS), BY_DEFAULT),
    scene("h2-pings-1000", Reach::Tcp, http2(1000, HTTP2_PINGS), STREAMS_BY_DEFAULT),
    scene("h2-empty-64", Reach::Tcp, http2(64, EMPTY_DATA), BY_DEFAULT),
    scene("h2-empty-1000", Reach::Tcp, http2(1000, EMPTY_DATA), STREAMS_BY_DEFAULT),
];

const fn scene(
    name: &'static str,
    way: Reach,
    flood: Flood,
    flags: &'static [&'static str],
) -> Scene {
    Scene { name, way, flood, flags }
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
        "flood", "pongs", "median", "p99", "max", "own p99", "attacks", "MB"
    );
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut is_well = true;
    for scene in SCENES.iter().filter(|scene| scene.name.contains(only)) {
        let wrong = play(scene, &arguments).unwrap_or_else(|error| Some(error.to_string()));
        if let Some(wrong) = wrong {
            println!("FAILED: {}: {wrong}", scene.name);
            is_well = false;
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Prints a line of the table, and gives back what is wrong.
fn play(scene: &Scene, arguments: &Arguments) -> Result<Option<String>, Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("floods-{}", std::process::id()));
    let certificate = Certificate::make(&folder)?;
    let socket = folder.join("socket");
    let mut server = start(scene, arguments, &folder, &certificate, &socket)?;
    let target = match scene.way {
        Reach::Nobody => None,
        Reach::Tcp => Some(Target::Tcp(server.address)),
        Reach::Unix => Some(Target::Unix(socket)),
        Reach::Tls => {
            let address = server.log.look()?.tls_address.ok_or("it does not listen within TLS")?;
            let mut config = certificate.way(Http::One).tls.as_deref().cloned().ok_or("no TLS")?;
            config.enable_secret_extraction = true;
            Some(Target::Tls(address, Arc::new(config)))
        }
    };

    let (opened, opening) = mpsc::channel();
    let clients = healthy::start(server.address, HEALTHY, BEAT, opened);
    for _ in 0..HEALTHY {
        opening.recv_timeout(Duration::from_secs(10)).map_err(|_| "the healthy cannot connect")?;
    }
    let deeds = Arc::new(Deeds::default());
    let attackers: Vec<_> = target
        .iter()
        .flat_map(|target| {
            (0..ATTACKERS).map(|_| flood::start(target.clone(), scene.flood, &deeds))
        })
        .collect();
    sleep(Duration::from_secs(arguments.seconds));
    deeds.end();
    let mut last_error = None;
    for attacker in attackers {
        last_error = attacker.join().map_err(|_| "an attacker panicked")?.or(last_error);
    }
    sleep(SETTLING);
    server.terminate()?;
    server.end_within(Duration::from_secs(20))?;
    let fared = clients.join().map_err(|_| "the healthy clients panicked")?;
    std::fs::remove_dir_all(folder)?;

    let pongs = fared.iter().map(|one| one.waits.len()).sum::<usize>();
    let [median, p99, max] = percentiles(fared.iter().map(|one| &one.waits));
    let [_, own_p99, _] = percentiles(fared.iter().map(|one| &one.own_lateness));
    let [lives, bytes] = [&deeds.lives, &deeds.bytes].map(|it| it.load(Ordering::Relaxed));
    let (name, megabytes) = (scene.name, bytes as f64 / 1e6);
    println!(
        "{name:19} {pongs:7} {median:8.1} {p99:8.1} {max:8.1} {own_p99:8.1} {lives:8} {megabytes:8.1}"
    );
    let cut = fared.iter().find_map(|one| one.end.as_ref().err());
    Ok(match cut {
        Some(end) => Some(format!("a healthy client was cut: {end}")),
        None if target.is_some() && lives == 0 => {
            Some(format!("no attacker came so far as to attack: {last_error:?}"))
        }
        None if p99 < P99_MS => None,
        None if own_p99 >= P99_MS => Some(format!(
            "the machine is too busy to tell: the pings went out up to {own_p99:.0} ms late"
        )),
        None => Some(format!("one in a hundred pongs took {p99:.0} ms or more")),
    })
}

/// The median, the p99 and the longest of some times, in milliseconds.
fn percentiles<'a>(times: impl Iterator<Item = &'a Vec<Duration>>) -> [f64; 3] {
    let mut times: Vec<Duration> = times.flatten().copied().collect();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(last));
    [50, 99, 100].map(|percent| at(percent).map_or(0.0, |time| time.as_secs_f64() * 1000.0))
}

/// Starts the server on a core of its own.
fn start(
    scene: &Scene,
    arguments: &Arguments,
    folder: &Path,
    certificate: &Certificate,
    socket: &Path,
) -> Result<Server, Box<dyn Error>> {
    let listen = format!("--listen=tls:127.0.0.1:0,unix:{},127.0.0.1:0", socket.display());
    let cert = format!("--tls-cert-file={}", certificate.cert.display());
    let key = format!("--tls-key-file={}", certificate.key.display());
    let own = [listen.as_str(), &cert, &key, "--missing-origin=allow"];
    pin(PEER_CORE)?;
    let server = Server::start(&arguments.server, folder, &[&own, scene.flags].concat());
    pin(OUR_CORE)?;
    Ok(server?)
}
