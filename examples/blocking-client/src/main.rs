//! A WebSocket client without an async runtime: it prints the server's messages, keeps the connection
//! alive, and reports which side closed it and why.
//!
//! ```sh
//! cargo example blocking-client ws://127.0.0.1:8080/ws/status
//! cargo example blocking-client -- --ping-interval 5 ws://127.0.0.1:8080/ws/status | head -1
//! ```
//!
//! Each text message is printed as a line on stdout; binary messages are only counted.
//! Ctrl-C, SIGTERM and the end of stdin close the session.
//! The exit code is 0 after a clean close, 1 after any other, and 2 if no session was opened.
//!
//! It supports no TLS and does not reconnect.
//! If the reader of its stdout stops reading, the session blocks, pings included.

mod client;
mod deadline_stream;

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

use crate::client::Client;
use crate::deadline_stream::DeadlineStream;

const USAGE: &str = "\
usage: blocking-client [OPTIONS] ws://HOST[:PORT]/PATH

  --open-timeout SECONDS   limit for connecting, and again for the opening handshake (10)
  --ping-interval SECONDS  time between pings (25)
  --pong-timeout SECONDS   time to wait for any input after a ping (10)
  --close-timeout SECONDS  limit for the closing handshake, and again for the TCP close (3)";

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
    let shutdown = shutdown_flag().map_err(|error| format!("signals cannot be caught: {error}"))?;
    Ok(client.run(&shutdown, |text| {
        // The reader closed stdout.
        if writeln!(io::stdout(), "{text}").is_err() {
            shutdown.store(true, Ordering::Relaxed);
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
        reconnect_spread: Duration::ZERO,
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
        // A larger value could overflow `Instant`.
        let seconds =
            |word: &str| word.parse().map(|s: f64| Duration::try_from_secs_f64(s.min(1e9)));
        *time = arguments.value()?.parse_with(seconds)?.map_err(|error| error.to_string())?;
    }
    // Treat a server that does not read like one that does not answer.
    let limits = Limits { write_timeout: Some(timing.pong_timeout), ..Limits::default() };
    let url = url.ok_or("no URL given")?;
    Ok((url, open_timeout, SessionConfig { timing, limits }))
}

fn connect(url: &str, timeout: Duration) -> Result<DeadlineStream, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url} is not a valid URL: {error}"))?;
    let (Some("ws"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(format!("{url}: only the scheme ws:// is supported"));
    };
    // A URL has brackets around an IPv6 address; `ToSocketAddrs` does not accept them.
    let host = host.trim_matches(['[', ']']);
    let addresses = (host, uri.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {host}: {error}"))?;
    let mut problem = format!("{host} has no address");
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, timeout);
        match connected.and_then(|stream| DeadlineStream::new(stream, Instant::now() + timeout)) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(problem)
}

/// Describes a failed opening handshake, with the server's response if there is one.
fn refusal(error: Error) -> String {
    let Error::Http(response) = error else { return format!("no session was opened: {error}") };
    let body = response.body().as_deref().unwrap_or_default();
    format!("refused with {}: {}", response.status(), String::from_utf8_lossy(body).trim())
}

/// Returns a flag that is set by SIGINT, by SIGTERM and at the end of stdin.
fn shutdown_flag() -> io::Result<Arc<AtomicBool>> {
    let shutdown = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&shutdown))?;
    }
    let on_eof = Arc::clone(&shutdown);
    // The thread runs until the process exits.
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        on_eof.store(true, Ordering::Relaxed);
    });
    Ok(shutdown)
}

/// Prints the close record to stderr; stdout carries only messages. The reason is escaped, because it may
/// be the server's text.
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
