//! What a server sends to many WebSocket sessions: the newest state, or events of which each counts.
//!
//! ```text
//!  Publisher::publish(state) ──▶ the newest state ──▶ Subscription ──▶ a session
//!                               (encoded once)   └──▶ Subscription ──▶ a session
//!
//!  Mailboxes::send(event) ─────▶ a bounded queue ───▶ Mailbox ───────▶ a session
//!                (encoded once) └▶ a bounded queue ─▶ Mailbox ───────▶ a session
//! ```
//!
//! Which of them to use depends on what is sent, and to whom:
//!
//! | | to all sessions | to the sessions of a key | to one session |
//! |---|---|---|---|
//! | **a state**, of which only the newest counts: a score, a price, a document | [`Publisher`] | [`Topics`] | [`Topics`] |
//! | **events**, of which each counts: a chat message, a notification | [`Mailboxes`] with one key | [`Mailboxes`] | [`mailbox`] |
//!
//! They differ in what happens when a peer reads slowly. A session skips the states that were replaced
//! meanwhile, so a state needs no queue, and a session that opens sends the newest one at once, unless its
//! client says that it [has](Have) that one already. Events
//! wait in the queue of their session, and [`WhenFull`] chooses what happens when it is full. A session
//! that opens gets the events that are sent from then on. When in doubt, send a state.
//!
//! In either case a message is encoded once, all sessions share the bytes, and no session waits for
//! another. [`Subscription`], [`TopicSubscription`], [`Mailbox`] and [`KeyedMailbox`] are each the
//! [`Handler`](transport::Handler) of a session. A handler of the application can contain one, and poll
//! it for an [`Update`] or an [`Event`], which say what the session has missed.
//!
//! Where a session compresses its messages, a message is compressed once for all sessions, too, and a
//! state as the difference from the one before it to those that sent that one last. So no publisher, and
//! no topic, may have states with a secret and states with text that an attacker chooses.
//!
//! # What this crate does not do
//!
//! It keeps no history: **a session may miss a state, but never the newest**, and an event is gone when it
//! is sent to the sessions that are open. It does not know whether a peer has received a message, but for
//! the sample of states whose delivery it [measures](Publisher::measure). It sends within one process, and
//! does not move bytes to another. It does not check which keys a peer may subscribe to. It discards the
//! messages of the peer, unless a handler that wraps one of these receives them. It opens no sessions and
//! handles no streams: that is the task of [`transport`], of which it uses only the public API.
//!
//! # A publisher
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
//!     reconnect_spread: Duration::ZERO,
//! };
//! let socket = WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
//! let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
//! // For the sessions of an endpoint, pass `weather.subscribe()` to `Endpoint::answer`.
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
//! # Topics
//!
//! Each session subscribes to the topic that its peer asked for. A topic that nobody watches and that has
//! no state takes no memory, whatever keys the peers choose:
//!
//! ```
//! use broadcast::Topics;
//!
//! let scores: Topics<String> = Topics::new();
//! let handler = scores.subscribe("final".to_owned());
//! assert_eq!(scores.len(), 1);
//! scores.publish("final", "1:0"); // The session sends it.
//! scores.clear("final");
//! drop(handler); // The session has ended.
//! assert!(scores.is_empty());
//! ```
//!
//! # Mailboxes
//!
//! Each session of a user gets each event. One that falls behind by 100 events closes, and its peer
//! connects again:
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use broadcast::{Mailboxes, WhenFull};
//! use transport::ws_core::CloseCode;
//!
//! const CAPACITY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
//!
//! let try_again_later = CloseCode::try_from(1013)?;
//! let users = Mailboxes::new(CAPACITY, WhenFull::Close(try_again_later, "too slow".into()));
//! let (laptop, phone) = (users.open("ada"), users.open("ada"));
//! let sent = users.send("ada", "you have mail");
//! assert_eq!((sent.queued, sent.closing), (2, 0));
//! # drop((laptop, phone));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Handover
//!
//! A session with a [`Subscription`] or a [`TopicSubscription`] can be continued by another process, such as
//! the next version of the program: its client is sent nothing for that, and then each newer state. The
//! [publisher](Publisher#handover) says how. A session with a mailbox ends with its process, because an event
//! could be lost on the way.
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo interprets it: a breaking change
//! needs a new major version, and before 1.0 a new 0.x.
//! Raising the minimum supported Rust version, now 1.88, needs a minor version; a patch never does it.
//!
//! [`transport`]'s `Admit`, `Bytes`, `Handler`, `Message`, `PreparedMessage` and `Next` and `ws_core`'s
//! `CloseCode` and `Reason` are in the signatures, so a breaking version of `transport` is a breaking version
//! of this crate.
//!
//! [`Update`], [`Event`], [`SendCounts`] and [`Statistics`] are `#[non_exhaustive]`, because more may be
//! said about a message or measured. [`Overflow`] has what a session closes with. [`Have`], [`WhenFull`], [`Sent`] and
//! [`SendError`] are exhaustive: their users choose between the cases or handle each. No other type has
//! public fields.
//!
//! What is frozen begins with a version. A process that knows another version refuses it.
//!
//! The promise covers behaviour: a session sends the newest state when it opens, unless its client has it,
//! and then each newer one or one that is newer still; it never sends an older state after a newer one; it sends the events of its
//! queue in order, each once; and publishing and sending wait for no session.
//! It does not cover the output of `Debug`, the memory of a session, or the order in which sessions are
//! woken.

mod channel;
#[cfg(loom_models)]
#[cfg(test)]
mod concurrency;
mod frozen;
mod key_map;
mod mailbox;
mod mailboxes;
#[cfg(feature = "prometheus")]
mod prometheus;
mod publisher;
mod statistics;
mod subscription;
mod sync;
mod tag;
mod topics;
mod wakers;

pub use mailbox::{Event, Mailbox, Overflow, SendError, Sender, Sent, WhenFull, mailbox};
pub use mailboxes::{KeyedMailbox, Mailboxes, SendCounts};
pub use publisher::Publisher;
pub use statistics::{DeliveryTimes, Statistics};
pub use subscription::{Subscription, Update};
pub use tag::{Have, InvalidTag, Tag};
pub use topics::{TopicSubscription, Topics};
