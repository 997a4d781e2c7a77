//! From an HTTP request to a WebSocket session: the upgrade, the origin policy, the codec and the
//! driver.
//!
//! ```text
//!  Request ──▶ Endpoint::answer ──▶ Answer::over_http1: 101  ┐
//!                    │              Answer::over_http2: 200  ├ or a refusal
//!                    │ Upgrade::check: is it one?   │        ┘
//!                    │ Rejection: why not           ▼
//!                    │                        run(socket, config, handler, watch)
//!                    └── Observer ◀── facts ──      │        Session: drain, socket, handler, clock
//!                                                   ▼
//!                                                CloseRecord: who ended it, and why
//! ```
//!
//! [`Endpoint`] is the whole of it in one piece, for HTTP/1.1 and for HTTP/2. Below it, [`Upgrade`] is
//! the opening handshake for whoever brings another session, and [`run`] is the session for whoever
//! brings another stream.
//!
//! # What this crate does not do
//!
//! It accepts no connections, knows no path, reads no settings, writes no log and catches no signal:
//! those are the server's. It decides neither when to ping nor when to close nor with which code:
//! that is [`ws_core`]'s. It parses no frame: that is tungstenite's. And **it asks nobody for a
//! password**; [`Endpoint::answer`] is called for requests that were let in.
//!
//! # An endpoint
//!
//! hyper serves it over a pipe here; `examples/echo.rs` does so over TCP, and the `server` crate with
//! all that a server needs besides.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//!
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper_util::rt::TokioIo;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use transport::ws_core::{Limits, SessionConfig, Timing};
//! use transport::{
//!     Client, Drain, Endpoint, EndpointEvent, DrainOptions, Observer, Origins, Peer, Permission, Policy, Discard,
//!     SizeLimits, Permit,
//! };
//!
//! /// Keeps a line for each opening, closing and refusal.
//! #[derive(Default)]
//! struct Log(Mutex<Vec<String>>);
//!
//! impl Observer for Log {
//!     fn observe(&self, event: &EndpointEvent<'_>) {
//!         let line = match event {
//!             EndpointEvent::Closed { id, record, .. } => format!("{id} closed: {}", record.cause),
//!             EndpointEvent::Opened { id, peer, request, .. } => {
//!                 format!("{id} opened: {peer} {:?}", request.origin())
//!             }
//!             EndpointEvent::Refused { peer, rejection, .. } => format!("refused: {peer} {rejection}"),
//!             _ => return,
//!         };
//!         self.0.lock().unwrap().push(line);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     pong_timeout: Duration::from_secs(10),
//!     close_timeout: Duration::from_secs(3),
//!     max_age: None,
//! };
//! let policy = Policy {
//!     origins: Origins {
//!         allowed: vec!["https://*.example.com".parse()?],
//!         missing: Permission::Refuse,
//!         null: Permission::Refuse,
//!     },
//!     session: Arc::new(SessionConfig { timing, limits: Limits::default() }),
//!     sizes: SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 },
//! };
//! let log = Arc::new(Log::default());
//! let endpoint = Endpoint::new(Discard, Arc::clone(&log));
//! let (drain, keeper) = Drain::new();
//! tokio::spawn(keeper);
//!
//! // This is done for each connection that is accepted.
//! let (near, mut far) = tokio::io::duplex(4096);
//! let client = Client {
//!     peer: Peer::Local,
//!     is_encrypted: false,
//!     watch: drain.token(),
//! };
//! tokio::spawn(async move {
//!     let service = service_fn(|mut request| {
//!         // There is room for any number of sessions.
//!         let permit = || Ok(Permit::new(()));
//!         let answer = endpoint.answer(&request, &client, &policy, permit);
//!         let response = answer.over_http1(&mut request, TokioIo::new);
//!         async { Ok::<_, Infallible>(response) }
//!     });
//!     http1::Builder::new().serve_connection(TokioIo::new(near), service).with_upgrades().await
//! });
//!
//! // The client's side: a browser with a page of https://app.example.com, which hangs up at the
//! // first sign of the shutdown.
//! let request = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example.com\r\n\
//!                Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
//!                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//! far.write_all(request.as_bytes()).await?;
//! let mut head = [0; 12];
//! far.read_exact(&mut head).await?;
//! assert_eq!(head, *b"HTTP/1.1 101");
//!
//! drain.start(DrainOptions::default());
//! drop(far);
//! drain.closed().await;
//! let lines = log.0.lock().unwrap();
//! assert_eq!(
//!     *lines,
//!     ["1 opened: unix Some(\"https://app.example.com\")", "1 closed: drained"]
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # A handler
//!
//! What a session says and hears is a [`Handler`]'s business; the crate `broadcast` has one that tells
//! many sessions the same. This one counts out loud, and then says goodbye:
//!
//! ```
//! use std::sync::Arc;
//! use std::task::{Context, Poll};
//! use std::time::Duration;
//!
//! use transport::ws_core::{Cause, CloseCode, Limits, SessionConfig, Timing};
//! use transport::{Drain, Handler, Message, Next, SizeLimits, WebSocket, run};
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
//! let socket = WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
//! let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
//! let record = run(socket, config, Countdown(3), drain.token()).await;
//! assert_eq!(record.cause, Cause::HandlerClosed);
//! assert_eq!(record.sent.messages, 3 + 1);
//! # }
//! ```
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo reads it: what breaks a user
//! comes with a new major version, and before 1.0 with a new 0.x.
//! Raising the least version of Rust, which is 1.88, comes with a minor version and never with a patch.
//!
//! Types of these crates are in the signatures, so a breaking version of one of them is one of ours:
//!
//! | crate | what of it |
//! |---|---|
//! | [`ws_core`] | All of it, under that name. |
//! | `hyper` 1 | `Request`, `Response`, `Method`, `StatusCode` and `Upgraded`. |
//! | `h2` 0.4 | `RecvStream` and `SendResponse`, and `ext::Protocol` as an extension of a request. |
//! | `bytes` 1 | `Bytes`, in [`Message`] and in [`Answer::over_http2`]. |
//! | `tungstenite` 0.30 | [`Utf8Bytes`], and no more: another codec would need a text of its own. |
//! | `tokio` 1 | `AsyncRead` and `AsyncWrite`; sessions run in its runtime and by its clock. |
//!
//! These may grow in a minor version, and are `#[non_exhaustive]`:
//!
//! | type | because |
//! |---|---|
//! | [`Next`] | Handlers make them and the session takes them apart; a handler around another passes on what it does not know. |
//! | [`EndpointEvent`] and each of its facts | The endpoint tells them, and an observer passes over what it does not know. |
//! | [`Rejection`] | There will be more reasons to refuse. Whoever counts or prints them has the word, the status and [`Rejection::ALL`]. |
//! | [`StreamEnd`] | Systems have more ways to break a connection. Whoever counts or prints them has the word and [`StreamEnd::ALL`]. |
//! | [`Protocol`], [`Peer`] | There are more ways to come than those of today. Both say themselves how they are written. |
//! | [`OriginPattern`], [`ParseOriginError`] | Both come from a text that somebody wrote, and there can be more to write, and more to get wrong. |
//!
//! These may not, because whoever uses them has to handle every case or to decide every field:
//!
//! | type | because |
//! |---|---|
//! | [`Message`] | RFC 6455 has two kinds of data, and a handler has to do something with each. |
//! | [`Phase`] | Whoever overlooked one would hold up a shutdown; the compiler has to tell. |
//! | [`Answer`] | Whoever sends it in another way has to send whatever it is. |
//! | [`Permission`] | There is nothing between yes and no. |
//! | [`Policy`], [`Origins`], [`SizeLimits`], [`DrainOptions`] | They are written down field by field, and a new one is a decision of the user's. |
//! | [`Client`] | Only whoever has accepted it knows what stands there; a default would be a guess. |
//!
//! All other types show no fields.
//! [`Handler`], [`Observer`] and [`PermitPool`] get new methods only with a default that leaves everything as
//! it was.
//!
//! Behaviour is part of the promise: which request is refused, with which word, status and headers, and
//! which rule comes first; what an observer is told and in which order; what a session does, as
//! [`ws_core`] has it.
//! The sentences of refusals and errors are not, nor is what `Debug` prints, how much memory a session
//! takes and when it looks around.

mod catch_panic;
mod drain;
mod endpoint;
mod events;
mod h2_stream;
mod handler;
mod handshake;
mod message;
mod peer;
mod permit;
mod session;
mod stream_end;
mod timer;
mod waker_id;

pub use drain::{Drain, DrainOptions, DrainToken, Phase};
pub use endpoint::{Answer, Client, Endpoint, Opening, Policy};
pub use events::{EndpointEvent, Observer, RequestText};
pub use h2_stream::Http2Stream;
pub use handler::{Discard, Handler, Next};
pub use handshake::{
    Authority, Origin, OriginPattern, Origins, ParseOriginError, Permission, Protocol, Rejection,
    Upgrade, frames_body,
};
pub use message::{Message, PreparedMessage, Utf8Bytes};
pub use peer::Peer;
pub use permit::{Permit, PermitPool};
pub use session::{Session, SizeLimits, WebSocket, run};
pub use stream_end::StreamEnd;

/// The machine beneath, whose types are part of this crate's.
pub use ws_core;
