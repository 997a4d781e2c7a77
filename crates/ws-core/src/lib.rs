//! The life of one WebSocket session (RFC 6455) as a pure state machine: when to ping, how long to
//! wait for an answer, how a session closes, and what is to be said of it afterwards.
//!
//! # What this crate does not do
//!
//! It does no I/O, reads no clock, draws no random number, writes no log and knows no frame format.
//! Time is the [`Duration`](core::time::Duration) since the session opened and comes in with every
//! call, as does randomness; frames are a codec's business.
//! The crate is `no_std` and has no dependencies, so the compiler holds it to that.
//! **It sends no pong and echoes no close frame**: it expects a codec that does both by itself, as
//! tungstenite and most others do.
//!
//! # The machine
//!
//! One call takes everything in, [`Lifecycle::handle`]; it answers with at most one [`Action`].
//! One getter says when to call again at the latest, [`Lifecycle::deadline`].
//! A needless [`Event::Tick`] is always harmless.
//!
//! ```text
//!             Close, time to scheduled_close / send close     ┐
//!             Violation / send close                │
//!             too often, too slow / send close      │
//!             PeerClose / – (the codec echoes)      ▼
//!     ┌──────┐                                 ┌─────────┐
//!  ──▶│ Open │────────────────────────────────▶│ Closing │
//!     └──────┘                                 └─────────┘
//!      │  ▲  │ ping is due / send ping              │  Finished                  / end, clean
//!      │  └──┘ anything else / –                    │  Disconnected, Violation   / end, not clean
//!      │                                            │  close timeout             / end, not clean
//!      │  Disconnected  / end, 1006                 ▼
//!      │  pong timeout  / end, 1006            ┌────────┐
//!      │  write timeout / end, 1006            │ Closed │  (every event: nothing)
//!      └──────────────────────────────────────▶│        │
//!                                              └────────┘
//! ```
//!
//! # Who owns what
//!
//! | question | owner |
//! |---|---|
//! | frames, masks, fragments, UTF-8, sizes | the codec |
//! | answering a ping, echoing a close frame, refusing to write after one | the codec |
//! | when to ping, with what payload, which pong counts, the round trip time | this crate |
//! | how long to wait for a pong, a message's end, a write, the closing handshake | this crate |
//! | how often a peer may send something | this crate |
//! | which close code and why; who began; was it clean; the counts | this crate |
//! | which of the codec's errors is which [`Violation`] | the driver |
//! | flushing, half-closing, reading on until the peer hangs up | the driver |
//! | the clock, the randomness, the tasks, the log | the driver |
//!
//! # A driver
//!
//! This one runs on anything that can wait with a timeout.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//! use ws_core::{Action, Cause, CloseFrame, CloseRecord, Event, Lifecycle, Limits, SessionConfig, Timing};
//!
//! /// What a driver asks of its codec and its stream.
//! trait Wire {
//!     /// What happened, or [`Event::Tick`] when `timeout` has passed without anything.
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
//! /// A peer that never says a word.
//! struct Mute;
//!
//! impl Wire for Mute {
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
//! };
//! let config = SessionConfig { timing, limits: Limits::default() };
//! let record = drive(&mut Mute, Arc::new(config), 0);
//! assert_eq!(record.cause, Cause::PongTimeout);
//! assert_eq!(u16::from(record.code), 1006);
//! ```
//!
//! Nothing in the machine says "server": `examples/blocking-client` in the repository is a client on a
//! blocking socket, and `docs/guides/a-driver-for-ws-core.md` walks through it. The `transport` crate
//! is the driver of a server with many thousand sessions.
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo reads it: what breaks a user
//! comes with a new major version, and before 1.0 with a new 0.x.
//! Raising the least version of Rust, which is 1.88, comes with a minor version and never with a patch.
//!
//! These may grow in a minor version, and are `#[non_exhaustive]`:
//!
//! | type | because |
//! |---|---|
//! | [`Event`], [`Violation`] | Drivers make them and the machine takes them apart; a driver that does not know a new one does without what depends on it. |
//! | [`Cause`] | There will be more reasons to end a session. Whoever counts or prints them has the word, and [`Cause::ALL`]. |
//! | [`CloseRecord`], [`Stats`] | The machine makes them, and more can be said. |
//!
//! These may not, because whoever uses them has to handle every case or to decide every field:
//!
//! | type | because |
//! |---|---|
//! | [`Action`] | What a driver does not do does not happen; the compiler has to tell it of a new one. |
//! | [`CloseStatus`], [`Initiator`], [`CloseFrame`] | RFC 6455 has no more of them. |
//! | [`Timing`], [`Limits`], [`SessionConfig`] | They are written down field by field, and a new one is a decision of the user's. With `..Limits::default()` a new limit is none. |
//! | [`Counters`] | It is a pair of counts that is added and compared. |
//!
//! Behaviour is part of the promise: which history of events leads to which actions at which times,
//! which code and word go with a cause, how events are counted.
//! What `Debug` prints is not, nor how large a [`Lifecycle`] is and when it allocates.

#![no_std]

extern crate alloc;

mod close;
mod config;
mod event;
mod lifecycle;
mod rate;
mod time;

pub use close::{
    Cause, CloseCode, CloseFrame, CloseRecord, CloseStatus, Counters, Initiator, Reason, Stats,
    UnsendableCode,
};
pub use config::{Limits, SessionConfig, Timing};
pub use event::{Action, Event, PingPayload, Violation};
pub use lifecycle::{Jitter, Lifecycle};
pub use rate::Rate;
