//! The process around the endpoint: what is configured, routed, listened to, logged and shut down.
//!
//! [`main`] is everything that the binary does, for whichever handler: the command line, the ports, the
//! signals, the exit code. So a server that tells everyone how long it has been up is this:
//!
//! ```no_run
//! use std::env;
//! use std::process::ExitCode;
//! use std::time::Duration;
//!
//! use server::transport::Publisher;
//! use tokio::time::{Instant, interval};
//!
//! fn main() -> ExitCode {
//!     server::main(env::args_os().skip(1), || {
//!         let publisher = Publisher::new();
//!         let handler = publisher.latest();
//!         tokio::spawn(async move {
//!             let (start, mut seconds) = (Instant::now(), interval(Duration::from_secs(1)));
//!             loop {
//!                 seconds.tick().await;
//!                 publisher.publish(format!("up for {} s", start.elapsed().as_secs()));
//!             }
//!         });
//!         handler
//!     })
//! }
//! ```
//!
//! `docs/guides/build-a-feature.md` in the repository starts from there.
//!
//! # What this crate does not do
//!
//! It knows no WebSocket: which requests are upgraded and what a session does is [`transport`]'s.
//! It has no message logic either: the handler is an argument, and the binary passes
//! [`Silent`](transport::Silent).
//!
//! # Without the process around it
//!
//! [`run`] is what serves, for whoever has a runtime, settings and a shutdown of their own:
//!
//! ```no_run
//! use std::ffi::OsString;
//! use server::{Command, Config, Listeners, Passed};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let flags = ["--listen", "127.0.0.1:0"].map(OsString::from);
//! let Command::Serve(mut settings) = Command::parse(flags, [])? else { return Ok(()) };
//! let config = Config::check(&mut settings, 1024)?;
//!
//! let listeners = Listeners::bind(&config, Passed::default())?;
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let stopped = server::run(config.fixed(), listeners, transport::Silent, shutdown).await;
//! println!("{} sessions were cut", stopped.aborted);
//! # Ok(())
//! # }
//! ```
//!
//! # The heap
//!
//! Every program with this crate gets the allocator mimalloc, which takes less memory for a connection
//! than the system's. There can be only one: a program that has another depends on this crate with
//! `default-features = false`, which turns the feature `mimalloc` off.

mod accept;
mod accept_errors;
mod admin;
mod advice;
mod backlog;
mod certificate;
mod command;
mod config;
mod hpack;
mod http;
mod http1_heads;
mod http2;
mod http2_faults;
mod http2_frame;
mod http2_heads;
mod json_lines;
mod key_kind;
mod linger;
mod listen;
mod listen_address;
mod lodging;
mod log;
mod log_limits;
mod log_writer;
mod metered;
mod metrics;
mod open_files;
mod operator_files;
mod passed;
mod peer_text;
mod process;
mod process_metrics;
mod records;
mod reload;
mod request_head;
mod runtime;
mod session_stream;
mod settings;
mod shutdown;
mod signals;
mod slots;
mod stream;
mod supervision;
mod systemd;
mod table;
mod tcp_write;
mod thrifty;
mod tls;
mod tls_stream;
mod trust;
mod unix_socket;
mod values;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::{Method, Request};
use transport::{Answer, Authority, Client, Endpoint, Handler, Policy, Rejection, Slot};

use crate::accept::Acceptor;
use crate::admin::Admin;
use crate::http::Http;
use crate::records::Records;
use crate::shutdown::Shutdown;
use crate::slots::Slots;
use crate::supervision::Supervisor;

pub use crate::command::Command;
pub use crate::config::{
    Config, Configs, LogFormat, MAX_BYTES, MIN_HEADER_BYTES, Plan, RESERVED_FILES, Switch,
};
pub use crate::listen::{BindError, Listeners};
pub use crate::listen_address::{ListenAddress, NoListenAddress};
pub use crate::passed::{BadPassed, Passed};
pub use crate::process::main;
pub use crate::reload::{Reloader, needs_restart};
pub use crate::settings::{Setting, Settings, Written, Wrong};
pub use crate::shutdown::Stopped;
pub use crate::trust::{
    ForwardedHeader, NoNetwork, Proxied, Proxies, ProxyProtocol, Trust, proxied,
};

/// The endpoint beneath, which has everything that a handler is made of.
pub use transport;

/// The path of the endpoint, with or without a query behind it.
pub const PATH: &str = "/ws/status";

/// `docs/performance.md` has the figures for which it is here.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves on `listeners` until `shutdown` completes, or the admin listener is asked to drain, and
/// everything has come to its end.
///
/// Each session gets a clone of `handler`. If a task of the server's own fails, that is a shutdown as
/// well, and [`Stopped::failed`] names the task.
pub async fn run<H: Handler + Clone + Sync>(
    configs: Configs,
    listeners: Listeners,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> Stopped {
    run_supervised(configs, listeners, handler, shutdown, Supervisor::default()).await
}

/// The same beside tasks that the supervisor has already.
async fn run_supervised<H: Handler + Clone + Sync>(
    configs: Configs,
    listeners: Listeners,
    handler: H,
    shutdown: impl Future<Output = ()>,
    mut tasks: Supervisor<'_>,
) -> Stopped {
    let records = Arc::new(Records::new(&configs.borrow()));
    let (end, keeper) = Shutdown::new(configs.clone());
    let end = Arc::new(end);
    let slots = Slots::default();

    if let Some(listener) = listeners.admin {
        let (records, end, slots) = (Arc::clone(&records), Arc::clone(&end), slots.clone());
        tasks.spawn("admin", Admin::new(configs.clone(), records, end, slots).serve(listener));
    }
    tasks.spawn(supervision::KEEPER, keeper);
    let healthy = Arc::clone(&end);
    tasks.spawn("watchdog", systemd::feed_the_watchdog(move || !healthy.has_failed()));
    let reported = Arc::clone(&records);
    tasks.spawn("status", async move { systemd::report(&reported.metrics).await });
    let limited = Arc::clone(&records);
    tasks.spawn("log-limits", async move { limited.log_limits.summarize_regularly().await });

    let router = Router { endpoint: Endpoint::new(handler, Arc::clone(&records)) };
    let acceptor = Arc::new(Acceptor::new(Http { router, slots, configs }, Arc::clone(&records)));
    // The system accepts for us from here on.
    end.ready();
    systemd::ready();
    for listener in listeners.public {
        tasks.spawn(supervision::ACCEPT, Arc::clone(&acceptor).accept(listener, Arc::clone(&end)));
    }

    tasks.run(&end, shutdown, &records).await
}

/// What answers a request: the one place where paths are registered.
#[derive(Debug)]
struct Router<H> {
    endpoint: Endpoint<H, Records>,
}

impl<H: Handler + Clone> Router<H> {
    fn answer<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        slot: impl FnOnce() -> Result<Slot, Rejection>,
    ) -> Answer<H, Records> {
        match request.uri().path() {
            PATH => self.endpoint.answer(request, client, policy, slot),
            // CONNECT names a host and no path, unless it is extended (RFC 8441, section 4).
            "" if request.method() == Method::CONNECT => {
                self.refuse_elsewhere(Rejection::MethodNotAllowed, request, client)
            }
            _ => self.refuse_elsewhere(Rejection::NotFound, request, client),
        }
    }

    /// Refuses what is not for the endpoint, which says by itself that a request names no host: that comes
    /// first (RFC 9112, section 3.2).
    fn refuse_elsewhere<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Records> {
        let rejection = Authority::of(request).err().unwrap_or(rejection);
        let answer = self.refuse(rejection, request, client);
        match answer {
            // Nobody but the router knows where the endpoint is.
            Answer::Refuse(response) if rejection == Rejection::NotFound => Answer::Refuse(
                response.map(|body| format!("{body}the WebSocket endpoint is {PATH}\n")),
            ),
            Answer::Refuse(_) | Answer::Open(_) => answer,
        }
    }

    fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Records> {
        self.endpoint.refuse(rejection, request, client)
    }

    /// Notes a client whose request did not get here: the HTTP library has answered by itself, or
    /// nobody has.
    fn turned_away(&self, rejection: Rejection, client: &Client) {
        self.endpoint.turned_away(rejection, client);
    }
}

/// Locks what is never left half changed: nothing panics while it is held.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
