//! One publisher, and any number of WebSocket sessions that are told its newest state.
//!
//! ```text
//!  Publisher::publish(state) ──▶ the newest state ──▶ Subscription ──▶ a session
//!                                    one frame    ├─▶ Subscription ──▶ a session
//!                                                 └─▶ Subscription ──▶ a session
//! ```
//!
//! [`Publisher`] has the state, and [`Subscription`] is the [`Handler`](transport::Handler) of a session that
//! is told it. A state is encoded once and shared by all sessions; one that reads slowly skips what
//! became old meanwhile, so nothing is queued for it, and nobody waits for it.
//!
//! # What this crate does not do
//!
//! It has no topics: there is one state, and whoever has several has several publishers. It has no queue
//! and no history: **a session may miss a state, but never the newest**. It takes nothing in: what a peer
//! sends is dropped, unless another handler around [`Subscription`] wants it. And it opens no session and
//! knows no stream: that is [`transport`]'s, of which this crate uses only what everyone may use.
//!
//! # An example
//!
//! A session over a pipe is told a state that was there before it, and the next one:
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
//! let (drain, keeper) = Drain::new();
//! tokio::spawn(keeper);
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     pong_timeout: Duration::from_secs(10),
//!     close_timeout: Duration::from_secs(3),
//!     max_age: None,
//! };
//! let socket = WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
//! let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
//! // For the sessions of an endpoint it is `Endpoint::new(weather.subscribe(), observer)`.
//! tokio::spawn(run(socket, config, weather.subscribe(), drain.token()));
//!
//! // A frame with a text of five bytes, and one of four.
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
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo reads it: what breaks a user
//! comes with a new major version, and before 1.0 with a new 0.x.
//! Raising the least version of Rust, which is 1.88, comes with a minor version and never with a patch.
//!
//! [`transport`]'s `Handler`, `Message` and `Next` are in the signatures, so a breaking version of it is
//! one of ours.
//!
//! [`Publisher`] and [`Subscription`] show no fields. Behaviour is part of the promise: that a session is told
//! the newest state when it opens and each newer one after that, or one that is newer still; that it is
//! never told an older one after a newer; that publishing waits for no session.
//! What `Debug` prints is not, nor how much memory a session's place takes, and in which order sessions
//! are woken.

mod publisher;

pub use publisher::{Publisher, Subscription};
