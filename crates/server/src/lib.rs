//! A WebSocket server process: configuration, listeners, routing, logs, metrics and graceful shutdown.
//!
//! [`main`] does everything that the binary does, for any handler: the command line, the ports, the
//! signals, the exit code. A server that sends a greeting to every client:
//!
//! ```no_run
//! use std::env;
//! use std::process::ExitCode;
//! use std::task::{Context, Poll};
//!
//! use server::transport::{Handler, Message, Next};
//!
//! #[derive(Clone, Default)]
//! struct Greeting {
//!     has_greeted: bool,
//! }
//!
//! impl Handler for Greeting {
//!     fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
//!         if self.has_greeted {
//!             return Poll::Pending;
//!         }
//!         self.has_greeted = true;
//!         Poll::Ready(Next::Send(Message::from("hello")))
//!     }
//!
//!     fn receive(&mut self, _: Message) {}
//! }
//!
//! fn main() -> ExitCode {
//!     server::main(env::args_os().skip(1), Greeting::default)
//! }
//! ```
//!
//! [`Program`] and [`Server`] have more: several endpoints, a name and settings of the program's own, its
//! operations on the admin listener; and an [`Admit`](transport::Admit) in the place of the handler decides
//! who may connect. `docs/guides/admission.md` in the repository walks through it.
//!
//! The crate `broadcast` has a handler that sends the latest state to every session;
//! `docs/guides/build-a-feature.md` starts from there.
//!
//! # What this crate does not do
//!
//! It does not implement WebSocket: [`transport`] decides which requests are upgraded and drives the
//! sessions. It has no message logic either: the handler is an argument, and the binary passes
//! [`Discard`](transport::Discard).
//!
//! # Embedding
//!
//! [`run`] serves inside a program that has its own runtime, settings and shutdown signal:
//!
//! ```no_run
//! use std::ffi::OsString;
//! use server::transport::Discard;
//! use server::{Command, Config, HandedOver, InheritedSockets, Listeners, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let flags = ["--listen", "127.0.0.1:0"].map(OsString::from);
//! let Command::Serve(settings, _) = Command::parse(flags, [])? else { return Ok(()) };
//! let config = Config::check(settings, 1024)?;
//!
//! let (inherited, handed_over) = (InheritedSockets::default(), HandedOver::default());
//! let listeners = Listeners::bind(&config.listen, config.tls.is_some(), inherited, handed_over)?;
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let summary = server::run(config.fixed(), listeners, Server::status(Discard), shutdown).await;
//! println!("{} sessions were aborted", summary.aborted);
//! # Ok(())
//! # }
//! ```

mod accepting;
mod admin;
mod admission;
mod app;
mod config;
mod files;
mod handover;
mod http;
mod limits;
mod net;
mod process;
mod routes;
mod shutdown;
mod systemd;
mod telemetry;
mod time;
mod tls;

pub use crate::admin::operations::{AdminRequest, BoxResponse, Operation, admin_response};
pub use crate::app::run;
pub use crate::app::server::Server;
pub use crate::config::cli::{Command, command_line};
pub use crate::config::definitions::ProgramSettings;
pub use crate::config::error::ConfigError;
pub use crate::config::settings::{Setting, Settings, schema};
pub use crate::config::sources::{RawSettings, RawValue};
pub use crate::config::values::{
    Integer, List, LogFormat, MAX_BYTES, MIN_HEADER_BYTES, OptionalPath, OptionalSeconds, Seconds,
    Switch,
};
pub use crate::config::{Config, ConfigReceiver, RESERVED_FILES, ShutdownOptions};
pub use crate::net::address::{ListenAddress, ParseListenAddressError};
pub use crate::net::client_addr::{
    ClientAddrPolicy, ForwardedHeader, ParseNetworkError, ProxyHeader, ProxyProtocol, TrustedPeer,
    parse_proxy_header,
};
pub use crate::net::handed_over::HandedOver;
pub use crate::net::inherited::{InheritError, InheritedSockets};
pub use crate::net::listeners::{BindError, ListenOptions, Listeners};
pub use crate::process::main;
pub use crate::process::program::{NoSettings, Program, SettingsReceiver};
pub use crate::process::reload::Reloader;
pub use crate::routes::PATH;
pub use crate::shutdown::ShutdownSummary;

/// The registry of [`Server::metrics`], and the metrics for it.
pub use prometheus_client;
/// The endpoint that this crate serves, with the [`Handler`](transport::Handler) trait and its types.
pub use transport;
