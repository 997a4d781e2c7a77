//! A WebSocket client on plain threads: it prints what a server sends, keeps the connection alive, and
//! says at the end who ended it and why.
//!
//! ```sh
//! cargo example blocking-client ws://127.0.0.1:8080/ws/status
//! cargo example blocking-client -- --ping-interval 5 ws://127.0.0.1:8080/ws/status | head -1
//! ```
//!
//! Each text message is a line of stdout; binary messages are only counted.
//! Ctrl-C and the end of stdin close the session.
//! The exit code is 0 if it closed cleanly, 1 if it did not, and 2 if there was none.
//!
//! It has no TLS, and it does not connect again.
//! Whoever reads its stdout and stops doing so holds up the session, pings included.

mod bounded;
mod client;

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::ValueExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use tungstenite::Error;
use tungstenite::http::Uri;
use ws_core::{CloseRecord, Limits, SessionConfig, Timing};

use crate::bounded::Bounded;
use crate::client::Client;

const USAGE: &str = "\
usage: blocking-client [OPTIONS] ws://HOST[:PORT]/PATH

  --open-timeout SECONDS   for connecting, and again for the opening handshake (10)
  --ping-interval SECONDS  from one ping to the next (25)
  --pong-timeout SECONDS   from a ping to giving up a server that says nothing (10)
  --close-timeout SECONDS  for the closing handshake, and again for the server to hang up (3)";

fn main() -> ExitCode {
    match session() {
        Ok(record) => {
            report(&record);
            if record.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("blocking-client: {problem}");
            ExitCode::from(2)
        }
    }
}

fn session() -> Result<CloseRecord, String> {
    let (url, open_timeout, config) = arguments().map_err(|error| format!("{error}\n{USAGE}"))?;
    let stream = connect(&url, open_timeout)?;
    let client = Client::open(&url, stream, config).map_err(refusal)?;
    let leave = leaving().map_err(|error| format!("signals cannot be caught: {error}"))?;
    Ok(client.run(&leave, |text| {
        // Nobody reads it any more.
        if writeln!(io::stdout(), "{text}").is_err() {
            leave.store(true, Ordering::Relaxed);
        }
    }))
}

fn arguments() -> Result<(String, Duration, SessionConfig), lexopt::Error> {
    let mut open_timeout = Duration::from_secs(10);
    let mut timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
    };
    let mut url = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        let time = match argument {
            lexopt::Arg::Long("open-timeout") => &mut open_timeout,
            lexopt::Arg::Long("ping-interval") => &mut timing.ping_interval,
            lexopt::Arg::Long("pong-timeout") => &mut timing.pong_timeout,
            lexopt::Arg::Long("close-timeout") => &mut timing.close_timeout,
            lexopt::Arg::Value(value) if url.is_none() => {
                url = Some(value.string()?);
                continue;
            }
            other => return Err(other.unexpected()),
        };
        // Beyond that, a moment could not be added to.
        let seconds =
            |word: &str| word.parse().map(|s: f64| Duration::try_from_secs_f64(s.min(1e9)));
        *time = arguments.value()?.parse_with(seconds)?.map_err(|error| error.to_string())?;
    }
    // A server that reads nothing is as good as one that answers nothing.
    let limits = Limits { write_timeout: Some(timing.pong_timeout), ..Limits::default() };
    let url = url.ok_or("there is no address to connect to")?;
    Ok((url, open_timeout, SessionConfig { timing, limits }))
}

fn connect(url: &str, timeout: Duration) -> Result<Bounded, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
    let (Some("ws"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(format!("{url} is not one of ws://, and this client knows no other"));
    };
    // An IPv6 address is in brackets there, and only there.
    let host = host.trim_matches(['[', ']']);
    let addresses = (host, uri.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .map_err(|error| format!("{host} cannot be looked up: {error}"))?;
    let mut problem = format!("{host} has no address");
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, timeout);
        match connected.and_then(|stream| Bounded::new(stream, Instant::now() + timeout)) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = format!("{address} cannot be connected to: {error}"),
        }
    }
    Err(problem)
}

/// What the server says to a request that it does not upgrade.
fn refusal(error: Error) -> String {
    let Error::Http(response) = error else { return format!("no session was opened: {error}") };
    let body = response.body().as_deref().unwrap_or_default();
    format!("refused with {}: {}", response.status(), String::from_utf8_lossy(body).trim())
}

/// What is set by Ctrl-C, by SIGTERM and at the end of stdin.
fn leaving() -> io::Result<Arc<AtomicBool>> {
    let leave = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&leave))?;
    }
    let at_the_end = Arc::clone(&leave);
    // It ends with the process.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        at_the_end.store(true, Ordering::Relaxed);
    });
    Ok(leave)
}

/// The closure record, on stderr, so that stdout has nothing but messages. The reason is quoted,
/// because it may be the server's.
fn report(record: &CloseRecord) {
    let CloseRecord { cause, reason, clean, duration, .. } = record;
    let code = u16::from(record.code);
    let round_trip = record.round_trip.map_or("none".to_owned(), |time| format!("{time:.1?}"));
    let reason = reason.as_str();
    eprintln!(
        "closed cause={cause} code={code} reason={reason:?} clean={clean} \
         duration={duration:.1?} round_trip={round_trip}"
    );
}
