//! The process around the endpoint: what is configured, routed, listened to, logged and shut down.
//!
//! [`main`] is everything that the binary does, for whichever handler: the command line, the ports, the
//! signals, the exit code. So a server that greets everyone is this:
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
//! The crate `broadcast` has a handler that tells every session the newest state, and
//! `docs/guides/build-a-feature.md` in the repository starts from there.
//!
//! # What this crate does not do
//!
//! It knows no WebSocket: which requests are upgraded and what a session does is [`transport`]'s.
//! It has no message logic either: the handler is an argument, and the binary passes
//! [`Discard`](transport::Discard).
//!
//! # Without the process around it
//!
//! [`run`] is what serves, for whoever has a runtime, settings and a shutdown of their own:
//!
//! ```no_run
//! use std::ffi::OsString;
//! use server::{Command, Config, Listeners, InheritedSockets};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let flags = ["--listen", "127.0.0.1:0"].map(OsString::from);
//! let Command::Serve(settings) = Command::parse(flags, [])? else { return Ok(()) };
//! let config = Config::check(&settings, 1024)?;
//!
//! let listeners = Listeners::bind(&config.listen, config.tls.is_some(), InheritedSockets::default())?;
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let summary = server::run(config.fixed(), listeners, transport::Discard, shutdown).await;
//! println!("{} sessions were cut", summary.aborted);
//! # Ok(())
//! # }
//! ```

mod admin;
mod app;
mod config;
mod files;
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

pub use crate::app::run;
pub use crate::config::cli::{Command, command_line};
pub use crate::config::error::ConfigError;
pub use crate::config::settings::{Setting, Settings, schema};
pub use crate::config::sources::{RawSettings, RawValue};
pub use crate::config::values::{LogFormat, MAX_BYTES, MIN_HEADER_BYTES};
pub use crate::config::{Config, ConfigReceiver, RESERVED_FILES, ShutdownOptions};
pub use crate::net::address::{ListenAddress, ParseListenAddressError};
pub use crate::net::client_addr::{
    ClientAddrPolicy, ForwardedHeader, ParseNetworkError, ProxyHeader, ProxyProtocol, TrustedPeer,
    parse_proxy_header,
};
pub use crate::net::inherited::{InheritError, InheritedSockets};
pub use crate::net::listener::{BindError, ListenOptions, Listeners};
pub use crate::process::main;
pub use crate::process::reload::{Reloader, needs_restart};
pub use crate::routes::PATH;
pub use crate::shutdown::ShutdownSummary;

/// The endpoint beneath, which has everything that a handler is made of.
pub use transport;
