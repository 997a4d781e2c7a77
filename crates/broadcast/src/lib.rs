//! A publisher that sends the newest state to any number of WebSocket sessions.
//!
//! ```text
//!  Publisher::publish(state) ──▶ the newest state ──▶ Subscription ──▶ a session
//!                               (encoded once)   ├──▶ Subscription ──▶ a session
//!                                                └──▶ Subscription ──▶ a session
//! ```
//!
//! [`Publisher`] has the newest state. [`Subscription`] is the [`Handler`](transport::Handler) of a
//! session that sends it. A state is encoded once, and all sessions share the bytes. A session whose
//! peer reads slowly skips the states that were replaced meanwhile: it queues none of them, and no
//! other session waits for it.
//!
//! # What this crate does not do
//!
//! It has no topics: a publisher has one state, and an application with several states has several
//! publishers. It has no queue and no history: **a session may miss a state, but never the newest**. It
//! discards the messages of the peer, unless a handler that wraps [`Subscription`] receives them. It
//! opens no sessions and handles no streams: that is the task of [`transport`], of which it uses only
//! the public API.
//!
//! # An example
//!
//! A session over a pipe sends the state that was published before it opened, and then the next one:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use broadcast::Publisher;
//! use tokio::io::AsyncReadExt;
//! use transport::ws_core::{Limits, SessionConfig, Timing};
//! use transport::{Drain, SizeLimits, WebSocket, run};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weather = Publisher::new();
//! weather.publish("sunny");
//!
//! let (near, mut far) = tokio::io::duplex(1024);
//! let (drain, timers) = Drain::new();
//! tokio::spawn(timers);
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     pong_timeout: Duration::from_secs(10),
//!     close_timeout: Duration::from_secs(3),
//!     max_age: None,
//! };
//! let socket = WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
//! let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
//! // For the sessions of an endpoint, use `Endpoint::new(weather.subscribe(), observer)`.
//! tokio::spawn(run(socket, config, weather.subscribe(), drain.token()));
//!
//! // A text frame with five bytes, then one with four.
//! let mut frame = [0; 7];
//! far.read_exact(&mut frame).await?;
//! assert_eq!(frame, *b"\x81\x05sunny");
//! weather.publish("rain");
//! let mut frame = [0; 6];
//! far.read_exact(&mut frame).await?;
//! assert_eq!(frame, *b"\x81\x04rain");
//! # Ok(())
//! # }
//! ```
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo interprets it: a breaking change
//! needs a new major version, and before 1.0 a new 0.x.
//! Raising the minimum supported Rust version, now 1.88, needs a minor version; a patch never does it.
//!
//! [`transport`]'s `Handler`, `Message` and `Next` are in the signatures, so a breaking version of
//! `transport` is a breaking version of this crate.
//!
//! [`Publisher`] and [`Subscription`] have no public fields. The promise covers behaviour: a session
//! sends the newest state when it opens, and then each newer one or one that is newer still; it never
//! sends an older state after a newer one; and publishing waits for no session.
//! It does not cover the output of `Debug`, the memory of a subscription, or the order in which sessions
//! are woken.

mod channel;
mod key_map;
mod mailbox;
mod mailboxes;
mod publisher;
mod topics;
mod wakers;

pub use mailbox::{Event, Mailbox, Overflow, SendError, Sender, Sent, WhenFull, mailbox};
pub use mailboxes::{KeyedMailbox, Mailboxes, SendCounts};
pub use publisher::{Publisher, Subscription, Update};
pub use topics::{TopicSubscription, Topics};
