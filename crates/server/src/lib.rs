//! The process around the endpoint: what is configured, routed, listened to, logged and shut down.
//!
//! [`run`] is everything; the binary reads the command line, binds the ports, and calls it.
//!
//! # What this crate does not do
//!
//! It knows no WebSocket: which requests are upgraded and what a session does is `transport`'s.
//! It has no message logic either: the handler is an argument of [`run`], and the binary passes
//! [`Silent`](transport::Silent).
//!
//! ```no_run
//! use std::ffi::OsString;
//! use server::{Command, Config};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let flags = ["--listen", "127.0.0.1:0"].map(OsString::from);
//! let Command::Serve(mut settings) = Command::parse(flags, [])? else { return Ok(()) };
//! let config = Config::check(&mut settings, 1024)?;
//!
//! let listeners = server::bind(&config.listen)?;
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let stopped = server::run(&config, listeners, transport::Silent, shutdown).await;
//! println!("{} sessions were cut", stopped.aborted);
//! # Ok(())
//! # }
//! ```

mod accept;
mod command;
mod config;
mod linger;
mod log;
mod open_files;
mod settings;
mod signals;
mod slots;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use transport::ws_core::CloseCode;
use transport::{Client, Drain, Endpoint, Farewell, Handler, Phase, Pulse, Rejection};

use crate::accept::Acceptor;
use crate::log::{Log, milliseconds};

pub use crate::accept::{BindError, bind};
pub use crate::command::{Command, VERSION, help};
pub use crate::config::{Config, LogFormat, MAX_BYTES, MIN_HEADER_BYTES, RESERVED_FILES};
pub use crate::log::start as start_log;
pub use crate::open_files::raise_limit as raise_open_file_limit;
pub use crate::settings::{Setting, Settings, Written, Wrong};
pub use crate::signals::{Signal, Signals};

/// The path of the endpoint, with or without a query behind it.
pub const PATH: &str = "/ws/status";

/// Serves on `listeners` until `shutdown` completes and everything has come to its end.
///
/// Each session gets a clone of `handler`.
pub async fn run<H: Handler + Clone + Sync>(
    config: &Config,
    listeners: Vec<TcpListener>,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Stopped {
    let log = Arc::new(Log::default());
    let pulse = Arc::new(Pulse::default());
    let endpoint =
        Endpoint::new(config.policy.clone(), handler, Arc::clone(&log), Arc::clone(&pulse));
    let acceptor = Arc::new(Acceptor::new(Router { endpoint }, config));
    let drain = Drain::default();

    // In a task, because it is the workers that are to be watched.
    let mut heart = JoinSet::new();
    heart.spawn(async move { pulse.beat().await });
    for listener in listeners {
        tokio::spawn(Arc::clone(&acceptor).accept(listener, drain.watch()));
    }
    shutdown.await;
    stop(&drain, config.shutdown_grace, &log).await
}

/// What answers a request: the one place where paths are registered.
#[derive(Debug)]
struct Router<H> {
    endpoint: Endpoint<H, Log>,
}

impl<H: Handler + Clone> Router<H> {
    fn respond<B>(&self, request: &mut Request<B>, client: &Client) -> Response<String> {
        let mut response = match request.uri().path() {
            PATH => self.endpoint.respond(request, client),
            // CONNECT names a host and no path.
            _ if request.method() == Method::CONNECT => {
                self.endpoint.refuse(Rejection::MethodNotAllowed, request, client)
            }
            _ => self.endpoint.refuse(Rejection::NotFound, request, client),
        };
        // In a shutdown, or without a slot, a connection is for one answer.
        let is_refusal = response.status() != StatusCode::SWITCHING_PROTOCOLS;
        let is_last = client.slot.is_err() || client.watch.phase() != Phase::Serving;
        if is_refusal && is_last {
            response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Notes a request that hyper has answered by itself, because it did not get to its end.
    fn refused_by_http(&self, rejection: Rejection, client: &Client) {
        let _ = self.endpoint.refuse(rejection, &Request::new(()), client);
    }
}

/// Warns of settings that are allowed and cannot work.
pub fn warn_of_what_cannot_work(config: &Config, open_files: u64) {
    let files =
        u64::try_from(config.max_connections).unwrap_or(u64::MAX).saturating_add(RESERVED_FILES);
    if files > open_files {
        warn!(
            event = "too_few_open_files",
            max_connections = config.max_connections,
            open_files,
            reserved = RESERVED_FILES,
        );
    }
}

/// How a server came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Sessions that completed the closing handshake.
    pub clean: u64,
    /// Sessions that did not within their close timeout, or hung up instead.
    pub timed_out: u64,
    /// Sessions that were cut because the grace was over.
    pub aborted: u64,
    /// From the signal to the end.
    pub duration: Duration,
}

/// The shutdown: ask everyone to close, wait for them, and cut what is left when the grace is over.
async fn stop(drain: &Drain, grace: Duration, log: &Log) -> Stopped {
    let began = Instant::now();
    let before = log.count();
    info!(event = "stopping", open = before.open(), grace_ms = milliseconds(grace));

    drain.start(Farewell { code: CloseCode::GOING_AWAY, spread: Duration::ZERO });
    let in_time = timeout(grace, drain.closed()).await;
    let after_grace = log.count();
    if in_time.is_err() {
        drain.abort();
        // Nothing waits for a peer any more. A handler that blocks its thread is not waited for.
        if timeout(Duration::from_secs(1), drain.closed()).await.is_err() {
            warn!(event = "stuck", "something does not end; leaving it behind");
        }
    }

    let stopped = Stopped {
        clean: after_grace.clean - before.clean,
        timed_out: after_grace.unclean - before.unclean,
        aborted: after_grace.open(),
        duration: began.elapsed(),
    };
    info!(
        event = "stopped",
        clean = stopped.clean,
        timed_out = stopped.timed_out,
        aborted = stopped.aborted,
        duration_ms = milliseconds(stopped.duration),
    );
    stopped
}
