//! From an HTTP request to a WebSocket session: the upgrade, the origin policy, the codec and the
//! driver.
//!
//! ```text
//!  Request ──▶ Endpoint::answer ──▶ Answer::over_http1: 101  ┐
//!                    │              Answer::over_http2: 200  ├ or a refusal
//!                    │ Upgrade::check: is it one?   │        ┘
//!                    │ Rejection: why not           ▼
//!                    │                        run(socket, rules, handler, watch)
//!                    └── Observer ◀── facts ──      │        Session: drain, socket, handler, clock
//!                                                   ▼
//!                                                Closure: who ended it, and why
//! ```
//!
//! [`Endpoint`] is the whole of it in one piece, for HTTP/1.1 and for HTTP/2. Below it, [`Upgrade`] is the opening handshake for
//! whoever brings another session, and [`run`] is the session for whoever brings another stream.
//!
//! # What this crate does not do
//!
//! It accepts no connections, knows no path, reads no settings, writes no log and catches no signal:
//! those are the server's. It decides neither when to ping nor when to close nor with which code:
//! that is [`ws_core`]'s. It parses no frame: that is tungstenite's. And **it asks nobody for a
//! password**; [`Endpoint::answer`] is called for requests that were let in.
//!
//! # A handler
//!
//! What a session says and hears is a [`Handler`]'s business. This one counts out loud, and then
//! says goodbye:
//!
//! ```
//! use std::sync::Arc;
//! use std::task::{Context, Poll};
//! use std::time::Duration;
//!
//! use transport::ws_core::{Cause, CloseCode, Limits, Rules, Timing};
//! use transport::{Drain, Handler, Message, Next, Sizes, Socket, run};
//!
//! #[derive(Clone, Default)]
//! struct Countdown(u32);
//!
//! impl Handler for Countdown {
//!     fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
//!         if self.0 == 0 {
//!             return Poll::Ready(Next::Close(CloseCode::NORMAL, "lift-off".into()));
//!         }
//!         self.0 -= 1;
//!         Poll::Ready(Next::Send(Message::Text(self.0.to_string().into())))
//!     }
//!
//!     fn receive(&mut self, _: Message) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let (near, _far) = tokio::io::duplex(1024);
//! let (drain, keeper) = Drain::new();
//! tokio::spawn(keeper);
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     pong_timeout: Duration::from_secs(10),
//!     close_timeout: Duration::from_secs(3),
//!     max_age: None,
//! };
//! let socket = Socket::new(near, Sizes { max_message_bytes: 4096, max_queued_bytes: 65_536 });
//! let rules = Arc::new(Rules { timing, limits: Limits::default() });
//! let closure = run(socket, rules, Countdown(3), drain.watch()).await;
//! assert_eq!(closure.cause, Cause::HandlerClosed);
//! assert_eq!(closure.sent.messages, 3 + 1);
//! # }
//! ```

mod codec;
mod drain;
mod endpoint;
mod frame;
mod handler;
mod http2;
mod latest;
mod observer;
mod origin;
mod output;
mod peer;
mod pulse;
mod rejection;
mod roster;
mod scratch;
mod session;
mod socket;
mod upgrade;

pub use drain::{Drain, Farewell, Phase, Watch};
pub use endpoint::{Answer, Client, Endpoint, Opening, Policy, Slot};
pub use frame::Frame;
pub use handler::{Handler, Message, Next, Silent, Utf8Bytes};
pub use http2::Http2Stream;
pub use latest::{Latest, Publisher};
pub use observer::{Event, Observer, Protocol, RequestText};
pub use origin::{NotAnOrigin, Origin, OriginPattern, Origins, Permission};
pub use peer::Peer;
pub use rejection::Rejection;
pub use session::{Session, run};
pub use socket::{Sizes, Socket};
pub use upgrade::Upgrade;

/// The machine beneath, whose types are part of this crate's.
pub use ws_core;
