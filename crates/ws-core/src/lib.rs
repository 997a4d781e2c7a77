//! The lifecycle of one WebSocket session (RFC 6455) as a pure state machine: when to send a ping, how
//! long to wait for the peer, how the session closes, and the record of how it ended.
//!
//! # What this crate does not do
//!
//! It does no I/O, reads no clock, generates no random numbers, writes no log and does not know the
//! frame format.
//! Time is the [`Duration`](core::time::Duration) since the session opened; the caller passes it with
//! every event. Randomness is the [`Jitter`] that the caller passes to [`Lifecycle::new`]. A codec
//! encodes and decodes the frames.
//! The compiler enforces this: the crate is `no_std` and has no dependencies.
//! **It sends no pong and echoes no Close frame**: it expects a codec that does both, as tungstenite
//! and most others do.
//!
//! # The state machine
//!
//! [`Lifecycle::handle`] takes every input and returns at most one [`Action`].
//! [`Lifecycle::deadline`] returns the latest time for the next call.
//! An [`Event::Tick`] before the deadline is harmless.
//!
//! ```text
//!             Close, scheduled close / send close   ┐
//!             Violation / send close                │
//!             rate, message timeout / send close    │
//!             PeerClose / – (the codec echoes)      ▼
//!     ┌──────┐                                 ┌─────────┐
//!  ──▶│ Open │────────────────────────────────▶│ Closing │
//!     └──────┘                                 └─────────┘
//!      │  ▲  │ ping is due / send ping              │  Finished                  / end, clean
//!      │  └──┘ any other event / –                  │  Disconnected, Violation   / end, not clean
//!      │                                            │  close timeout             / end, not clean
//!      │  Disconnected  / end, 1006                 ▼
//!      │  pong timeout  / end, 1006            ┌────────┐
//!      │  write timeout / end, 1006            │ Closed │  any event / –
//!      └──────────────────────────────────────▶│        │
//!                                              └────────┘
//! ```
//!
//! A close is scheduled by [`Timing::max_age`] and by [`Event::Drain`].
//!
//! # Ownership
//!
//! | question | owner |
//! |---|---|
//! | frames, masking, fragmentation, UTF-8, size limits | the codec |
//! | answering a ping, echoing a Close frame, refusing to write after one | the codec |
//! | when to ping, with which payload, which pong counts, the round-trip time | this crate |
//! | how long to wait for a pong, the end of a message, a write, the closing handshake | this crate |
//! | the rate of the peer's messages and control frames | this crate |
//! | the close code, the cause and the initiator; whether the close was clean; the counters | this crate |
//! | which error of the codec is which [`Violation`] | the driver |
//! | flushing, half-closing, discarding input until the peer closes the TCP connection | the driver |
//! | the clock, the random numbers, the tasks, the log | the driver |
//!
//! # A driver
//!
//! This driver works with any stream that can wait with a timeout.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//! use ws_core::{Action, Cause, CloseFrame, CloseRecord, Event};
//! use ws_core::{Lifecycle, Limits, SessionConfig, Timing};
//!
//! /// What the driver needs from its codec and its stream.
//! trait Wire {
//!     /// Returns the next event, or [`Event::Tick`] after `timeout`.
//!     fn wait(&mut self, timeout: Duration) -> Event<'_>;
//!     fn send_ping(&mut self, payload: &[u8]);
//!     fn send_close(&mut self, frame: CloseFrame);
//! }
//!
//! fn drive(wire: &mut impl Wire, config: Arc<SessionConfig>, jitter: u32) -> CloseRecord {
//!     let opened = Instant::now();
//!     let mut lifecycle = Lifecycle::new(config, jitter);
//!     loop {
//!         let deadline = lifecycle.deadline().unwrap_or_default();
//!         let event = wire.wait(deadline.saturating_sub(opened.elapsed()));
//!         match lifecycle.handle(event, opened.elapsed()) {
//!             None => {}
//!             Some(Action::Ping(payload)) => wire.send_ping(&payload),
//!             Some(Action::Close(frame)) => wire.send_close(frame),
//!             Some(Action::End(record)) => return record,
//!         }
//!     }
//! }
//!
//! /// A peer that never sends anything.
//! struct SilentPeer;
//!
//! impl Wire for SilentPeer {
//!     fn wait(&mut self, timeout: Duration) -> Event<'_> {
//!         std::thread::sleep(timeout);
//!         Event::Tick
//!     }
//!     fn send_ping(&mut self, _: &[u8]) {}
//!     fn send_close(&mut self, _: CloseFrame) {}
//! }
//!
//! let timing = Timing {
//!     ping_interval: Duration::from_millis(20),
//!     pong_timeout: Duration::from_millis(10),
//!     close_timeout: Duration::from_millis(10),
//!     max_age: None,
//!     reconnect_spread: Duration::ZERO,
//! };
//! let config = SessionConfig { timing, limits: Limits::default() };
//! let record = drive(&mut SilentPeer, Arc::new(config), 0);
//! assert_eq!(record.cause, Cause::PongTimeout);
//! assert_eq!(u16::from(record.code), 1006);
//! ```
//!
//! The state machine serves both roles: `examples/blocking-client` in the repository is a client on a
//! blocking socket, explained in `docs/guides/a-driver-for-ws-core.md`. The `transport` crate is the
//! driver of a server with many thousand sessions.
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo interprets it: a breaking change
//! needs a new major version, and before 1.0 a new 0.x.
//! Raising the minimum supported Rust version, now 1.88, needs a minor version; a patch never does it.
//!
//! These types may grow in a minor version and are `#[non_exhaustive]`:
//!
//! | type | reason |
//! |---|---|
//! | [`Event`], [`Violation`] | Drivers construct them and the state machine matches them. A driver that never sends a new event only lacks the feature that depends on it. |
//! | [`Cause`] | There will be more reasons to end a session. Code that counts or prints them uses [`Cause::as_str`] and [`Cause::ALL`]. |
//! | [`CloseRecord`], [`Stats`], [`Snapshot`] | The state machine constructs them, and fields may be added. |
//!
//! These types may not, because their users have to handle every variant or set every field:
//!
//! | type | reason |
//! |---|---|
//! | [`Action`] | An action that a driver does not know is not performed; the compiler has to report a new one. |
//! | [`CloseStatus`], [`Initiator`], [`CloseFrame`] | RFC 6455 defines no more. |
//! | [`Timing`], [`Limits`], [`SessionConfig`] | Users set every field, and a new one is a decision of the user. With `..Limits::default()` a new limit is off. |
//! | [`Counters`] | It is a pair of counts that is added and compared. |
//! | [`ScheduledClose`], [`BucketSnapshot`] | They are parts of a [`Snapshot`] that a process before this one has stored. |
//!
//! The promise covers behaviour: which sequence of events leads to which actions at which times, which
//! code and word belong to a cause, and how events are counted.
//! It does not cover the output of `Debug`, the size of a [`Lifecycle`], or when it allocates.

#![no_std]

extern crate alloc;

mod close;
mod config;
mod event;
mod lifecycle;
mod rate;
mod snapshot;
mod time;

pub use close::{
    Cause, CloseCode, CloseFrame, CloseRecord, CloseStatus, Counters, Initiator, Reason, Stats,
    UnsendableCode,
};
pub use config::{Limits, SessionConfig, Timing, retry_after};
pub use event::{Action, Event, PingPayload, Violation};
pub use lifecycle::{Jitter, Lifecycle};
pub use rate::Rate;
pub use snapshot::{BucketSnapshot, ScheduledClose, Snapshot};
