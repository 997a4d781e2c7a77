//! Finds out what is wrong between a client and a WebSocket endpoint, and what to change where.
//!
//! [`examine`] connects as a client does, through whatever is on the way, and asks one [`Question`] after
//! the other: does the name resolve, is the certificate valid, is the upgrade passed on, which origins are
//! let in, do pings come back, do close codes arrive, what cuts an idle session. Each [`Finding`] is a
//! sentence with a [`Severity`]; a [`Report`] adds the lines of configuration that remove its cause.
//!
//! ```
//! use doctor::{Options, Severity};
//!
//! let options = Options::from_arguments(["ws://127.0.0.1:8080".into()])?;
//! assert_eq!(options.target.to_string(), "ws://127.0.0.1:8080/ws/status");
//! assert!(Severity::Failure > Severity::Warning);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What this crate does not do
//!
//! It changes nothing, neither at a proxy nor at the server, and reads no configuration file: it judges
//! what it observes. It is no load test: it opens about ten sessions, one after the other. It sends no
//! messages, so it says nothing about what an application does with them.
//!
//! A peer may send anything: everything that is read is bounded and has a deadline, and its text is escaped
//! in reports.

mod admin;
mod client;
mod context;
mod escape;
mod examination;
mod finding;
mod options;
mod probes;
mod program;
mod remedies;
mod report;

pub use client::{InvalidTarget, Target};
pub use examination::examine;
pub use finding::{Finding, Question, Severity};
pub use options::Options;
pub use program::main;
pub use remedies::Place;
pub use report::Report;
