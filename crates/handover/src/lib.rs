//! The handover of the sessions of a process, the *predecessor*, to the process that replaces it, the
//! *successor*, as two pure state machines: who serves a session at which time, whatever fails.
//!
//! # What this crate does not do
//!
//! It does no I/O, reads no clock, writes no log, and knows neither sockets nor sessions nor the format of a
//! record.
//! Each process has a driver, which performs the actions of its machine and reports what happens as events.
//! The compiler enforces this: the crate is `no_std` and has no dependencies.
//!
//! # The protocol
//!
//! The two processes share a control socket (a Unix stream socket) and a pipe.
//! The pipe has one writer, the predecessor, and one reader, the successor; no other process has an end.
//!
//! ```text
//!  predecessor                                            successor
//!      │  Welcome: listening sockets, the pipe's reader       │
//!      │─────────────────────────────────────────────────────▶│
//!      │                                               Ready  │  it is composed
//!      │◀─────────────────────────────────────────────────────│
//!  freezes a session:                                         │
//!      │  record, duplicate of the descriptor                 │
//!      │─────────────────────────────────────────────────────▶│  stages it
//!      │  end of the batch                                    │
//!      │─────────────────────────────────────────────────────▶│
//!      │                                               Taken  │  owns the batch
//!      │◀─────────────────────────────────────────────────────│
//!  ends the sessions of the batch                             │  serves them
//! ```
//!
//! The first batch has the sessions that are at rest at once.
//! For some time afterwards, sessions that come to rest follow in further batches, and the rest is drained.
//!
//! # Who owns a session
//!
//! At any time a session has one owner, and only its owner may read, write or shut down its descriptor.
//!
//! | from | the owner is | and the session |
//! |---|---|---|
//! | the beginning | the predecessor | is served |
//! | its freezing | the predecessor | is accessed by no process |
//! | the write of `Taken` for its batch | the successor | is served as soon as the successor handles it |
//! | the byte in the pipe | the predecessor | is served again by the predecessor |
//! | the death of a predecessor that wrote no byte | the successor, if it has the record | is served as soon as the pipe's end is read |
//!
//! **No session is owned by both.**
//! The successful write of `Taken` is the commit, and only a frozen session can be committed.
//! Before the predecessor resumes the sessions of a sealed batch, it shuts down its receiving side, so that the
//! kernel lets no later `Taken` be written, and then looks for one that was written before: either it is there,
//! and counts, or it never will be.
//! Before it resumes any session, it writes a byte into the pipe.
//! So a successor that reads the end of the pipe without a byte knows that the predecessor has resumed nothing
//! and never will.
//!
//! **No session is owned by none.**
//! What a successor has staged without a commit it owns, discards, or loses with its own death.
//! In the last two cases the control socket ends, and a predecessor that lives resumes the sessions.
//! One that is stopped resumes them when it runs again, which is why a successor that reads neither a byte nor
//! the end of the pipe discards what is staged.
//! A session is lost only with its owner: when the process that owns it dies, or with a predecessor that dies
//! after a successor has given up waiting for it.
//!
//! `tests/every_interleaving.rs` checks this in every state that two processes, the control socket and the pipe
//! can reach.
//!
//! # The predecessor
//!
//! Each arrow has an event and, after the slash, the action.
//!
//! ```text
//!     ┌───────────┐ Lost, TimedOut, StopRequested / Revoke
//!  ──▶│ Preparing │─────────────────────────────────────────────────────────┐
//!     └───────────┘                                                         │
//!           │ Ready / Freeze                                                │
//!           ▼                                                               │
//!     ┌───────────┐ Lost, TimedOut / Revoke                                 ▼
//!  ┌─▶│ Freezing  │──────────────────────────────────────────────────▶┌──────────┐
//!  │  └───────────┘                                                   │ Revoking │
//!  │        │ BatchSent / Seal                                        └──────────┘
//!  │        ▼                                                            ▲    │
//!  │  ┌───────────┐ Lost, TimedOut  ┌──────────┐ NotTaken / Revoke       │    │ Revoked / Resume
//!  │  │  Sealed   │────────────────▶│ Checking │─────────────────────────┘    ▼
//!  │  └───────────┘ / StopReceiving └──────────┘                    Continue; Drain after
//!  │        │ Taken / Commit             │ Taken / Commit            a commit or StopRequested
//!  │        ▼                            ▼
//!  │  ┌───────────┐ WaitOver, Lost  ┌─────────┐
//!  └──│  Waiting  │────────────────▶│  Drain  │
//!     └───────────┘ StopRequested   └─────────┘
//!  Frozen / –
//! ```
//!
//! After [`StopRequested`](predecessor::Event::StopRequested) or [`WaitOver`](predecessor::Event::WaitOver) the
//! batch under way is the last: its commit leads to `Drain` at once.
//!
//! # The successor
//!
//! ```text
//!     ┌───────────┐
//!  ──▶│ Preparing │
//!     └───────────┘
//!           │ Prepared / SendReady
//!           ▼
//!     ┌───────────┐ Lost, TimedOut, SendFailed / ReadVerdict
//!  ┌─▶│ Receiving │───────────────────────────────────────────────┐
//!  │  └───────────┘──────────────────────▶ Serve                  │
//!  │        │       Finished, after a batch / –                   ▼
//!  │        │ BatchSealed / SendTaken                       ┌───────────┐ PredecessorGone / Own
//!  │        ▼                                               │ Undecided │────────▶ Serve
//!  │  ┌───────────┐ SendFailed / ReadVerdict                │           │ Revoked, NoVerdict / Discard
//!  └──│  Sealed   │────────────────────────────────────────▶│           │────────▶ Exit; Serve after
//!     └───────────┘                                         └───────────┘          a batch
//!  TakenSent / Own
//! ```
//!
//! # A driver
//!
//! A driver is a loop around one machine; the successor's is the same with its own types.
//!
//! ```
//! use std::collections::VecDeque;
//! use handover::predecessor::{Action, Event, Outcome, Predecessor};
//! use handover::TimeLimit;
//!
//! /// What the driver needs from its process.
//! trait Process {
//!     /// Returns the next event, or [`Event::TimedOut`] when the limit has passed.
//!     fn wait(&mut self, limit: Option<TimeLimit>) -> Event;
//!     fn perform(&mut self, action: Action);
//! }
//!
//! fn drive(process: &mut impl Process) -> Outcome {
//!     let mut predecessor = Predecessor::new();
//!     loop {
//!         if let Some(outcome) = predecessor.outcome() {
//!             return outcome;
//!         }
//!         let event = process.wait(predecessor.time_limit());
//!         if let Some(action) = predecessor.handle(event) {
//!             process.perform(action);
//!         }
//!     }
//! }
//!
//! /// A process with a script in place of sockets.
//! struct Script(VecDeque<Event>, Vec<Action>);
//!
//! impl Process for Script {
//!     fn wait(&mut self, _: Option<TimeLimit>) -> Event {
//!         self.0.pop_front().unwrap_or(Event::TimedOut)
//!     }
//!     fn perform(&mut self, action: Action) {
//!         self.1.push(action);
//!     }
//! }
//!
//! let events = [Event::Ready, Event::BatchSent, Event::Taken, Event::WaitOver];
//! let mut process = Script(events.into(), Vec::new());
//! assert_eq!(drive(&mut process), Outcome::Drain);
//! assert_eq!(process.1, [Action::Freeze, Action::Seal, Action::Commit]);
//! ```
//!
//! The order of a driver is part of the proof: it performs an action completely before it reports the next
//! event, and reads all messages before it reports the end of the control socket.

#![no_std]

pub mod predecessor;
pub mod successor;
mod time_limit;

pub use predecessor::Predecessor;
pub use successor::Successor;
pub use time_limit::TimeLimit;
