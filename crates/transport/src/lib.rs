//! From an HTTP request to a WebSocket session: the opening handshake, the origin policy, the codec and
//! the driver.
//!
//! ```text
//!  Request ──▶ Endpoint::answer ──▶ Answer::over_http1: 101  ┐
//!                    │              Answer::over_http2: 200  ├ or a refusal
//!                    │ Upgrade::check: valid?       │        ┘
//!                    │ Admit: may it open?          ▼
//!                    │                        run(socket, config, handler, token)
//!                    └── Observer ◀── events ──     │        Session: drain, socket, handler, deadline
//!                                                   ▼
//!                                                CloseRecord: which side closed, and why
//! ```
//!
//! [`Endpoint`] has all of it, over HTTP/1.1 and HTTP/2. The parts can be used alone: [`Upgrade`] is the
//! opening handshake, for another implementation of sessions, and [`run`] is the session, over any
//! stream.
//!
//! # What this crate does not do
//!
//! It does not accept connections, route paths, read settings, write logs or handle signals: the server
//! does. It does not decide when to ping, or when and with which code to close: [`ws_core`] does. Of
//! the frames, zlib-rs compresses the payload and tungstenite encodes the headers. And **it does not authenticate clients**: an [`Admit`] of the application
//! does. A handler that can be cloned admits everybody.
//!
//! # An endpoint
//!
//! In this example hyper serves the endpoint over an in-memory stream. `examples/echo.rs` does so over
//! TCP, and the `server` crate has all that a production server needs.
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
//!     Client, CompressionOptions, Discard, Drain, DrainOptions, Endpoint, EndpointEvent, Observer,
//!     Origins, Peer, Permission, Permit, Policy, SizeLimits,
//! };
//!
//! /// Records a line for each session that opens or closes, and for each refusal.
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
//!     reconnect_spread: Duration::ZERO,
//! };
//! let policy = Policy {
//!     origins: Origins {
//!         allowed: vec!["https://*.example.com".parse()?],
//!         missing: Permission::Refuse,
//!         null: Permission::Refuse,
//!     },
//!     session: Arc::new(SessionConfig { timing, limits: Limits::default() }),
//!     sizes: SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 },
//!     compression: CompressionOptions::default(),
//!     visible_refusals: false,
//! };
//! let log = Arc::new(Log::default());
//! let endpoint = Endpoint::new(Arc::clone(&log));
//! let (drain, timer_task) = Drain::new();
//! tokio::spawn(timer_task);
//!
//! // For each accepted connection:
//! let (stream, mut client_stream) = tokio::io::duplex(4096);
//! let client = Client { peer: Peer::Local, is_encrypted: false, certificate_name: None, token: drain.token() };
//! tokio::spawn(async move {
//!     let service = service_fn(async |mut request| {
//!         // The number of sessions is not limited here.
//!         let permit = || Ok(Permit::new(()));
//!         // Everybody is admitted. Another `Admit` decides by the request.
//!         let answer = endpoint.answer(&Discard, &request, &client, &policy, permit).await;
//!         Ok::<_, Infallible>(answer.over_http1(&mut request, TokioIo::new))
//!     });
//!     http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await
//! });
//!
//! // The client: a page of https://app.example.com, which disconnects when the shutdown begins.
//! let request = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example.com\r\n\
//!                Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
//!                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//! client_stream.write_all(request.as_bytes()).await?;
//! let mut status_line = [0; 12];
//! client_stream.read_exact(&mut status_line).await?;
//! assert_eq!(status_line, *b"HTTP/1.1 101");
//!
//! drain.start(DrainOptions::default());
//! drop(client_stream);
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
//! A [`Handler`] decides what a session sends, and receives its messages. The crate `broadcast` has one
//! that sends the same messages to many sessions. This one sends three numbers and closes the session:
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
//! let (stream, _client_stream) = tokio::io::duplex(1024);
//! let (drain, timer_task) = Drain::new();
//! tokio::spawn(timer_task);
//! let timing = Timing {
//!     ping_interval: Duration::from_secs(25),
//!     pong_timeout: Duration::from_secs(10),
//!     close_timeout: Duration::from_secs(3),
//!     max_age: None,
//!     reconnect_spread: Duration::ZERO,
//! };
//! let sizes = SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 };
//! let socket = WebSocket::new(stream, sizes);
//! let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
//! let record = run(socket, config, Countdown(3), drain.token()).await;
//! assert_eq!(record.cause, Cause::HandlerClosed);
//! assert_eq!(record.sent.messages, 3);
//! # }
//! ```
//!
//! # Compression
//!
//! If a [`Policy`] says so, permessage-deflate (RFC 7692) is negotiated with the clients that offer it.
//! Messages of the peer are then inflated, up to the same limit. [`Next::SendPrepared`] is compressed once
//! for all sessions, as the difference from the message that it
//! [follows](PreparedMessage::following) if the client has that one; [`Next::SendCompressed`] is
//! compressed for its session, and [`Next::Send`] is not. The length of a compressed message tells whether
//! its parts are alike, so it must not have a secret beside text that an attacker chooses.
//!
//! # Handover
//!
//! Another process can continue a session over the same connection. [`Drain::freeze`] begins it: each session
//! that is at rest is offered to a [`SessionSink`], with its stream, and does nothing from then on. What the sink
//! gets is a [`FrozenSession`], which it sends to the other process, with the descriptor of the stream. There
//! [`Admit::thaw`] makes the handler, and [`Endpoint::thaw`] the session. Then [`Drain::hand_over`] ends it here
//! without a word, or [`Drain::resume`] lets it go on as if nothing had been.
//!
//! **Who has a session at which moment is not decided here**: two processes that believed to have it would
//! corrupt its connection. The crate `handover` decides that for the `server`, which is an example of both
//! sides.
//!
//! # Stability
//!
//! Versions follow [Semantic Versioning](https://semver.org) as Cargo interprets it: a breaking change
//! requires a new major version, and before 1.0 a new 0.x.
//! Raising the minimum supported Rust version, which is 1.88, requires a minor version, never a patch.
//!
//! Types of these crates are part of the API, so a breaking version of one of them is one of this crate:
//!
//! | crate | types |
//! |---|---|
//! | [`ws_core`] | All, re-exported under that name. |
//! | `hyper` 1 | `Request`, `Response`, `Method`, `StatusCode`, `Upgraded`, headers and extensions; re-exported. |
//! | `h2` 0.4 | `RecvStream` and `SendResponse`, and `ext::Protocol` as an extension of a request. |
//! | `bytes` 1 | [`Bytes`], in [`Message`], [`Handler`] and [`Answer::over_http2`]; re-exported. |
//! | `tungstenite` 0.30 | Only [`Utf8Bytes`]: another codec would need another type of text. |
//! | `tokio` 1 | `AsyncRead` and `AsyncWrite`. Sessions run in its runtime and use its clock. |
//!
//! Minor versions may add variants or fields to these types, which are `#[non_exhaustive]`:
//!
//! | type | reason |
//! |---|---|
//! | [`Next`] | Handlers create it and the session matches on it. A handler that wraps another passes on the variants that it does not know. |
//! | [`EndpointEvent`] and its variants | The endpoint creates them, and an observer ignores those that it does not know. |
//! | [`Rejection`] | More reasons will be added. For metrics and logs there are its word, its status and [`Rejection::ALL`]. |
//! | [`StreamEnd`] | Operating systems have more ways to end a connection. For metrics and logs there are its word and [`StreamEnd::ALL`]. |
//! | [`Compression`] | More modes may be added. |
//! | [`Protocol`], [`Peer`] | More transports may be added. Both have a text form. |
//! | [`OriginPattern`], [`ParseOriginError`] | Both are results of parsing, and more syntax may be added. |
//!
//! These types are exhaustive, because their users have to handle every variant or to choose every
//! field:
//!
//! | type | reason |
//! |---|---|
//! | [`Message`] | RFC 6455 has two kinds of data messages, and a handler has to handle both. |
//! | [`Phase`] | A token holder that ignored a phase would delay a shutdown; the compiler reports the missing case. |
//! | [`Answer`] | A caller that sends it over another protocol has to send each variant. |
//! | [`Permission`] | It is a choice between two values. |
//! | [`Policy`], [`Origins`], [`SizeLimits`], [`CompressionOptions`], [`DrainOptions`] | They are written field by field, and the user has to decide on a new field. |
//! | [`FrozenSession`] | One process writes it and another reads it, and both have to decide on a new field. |
//! | [`Client`] | Only the code that accepts a connection knows the values; a default would be a guess. |
//!
//! No other type has public fields.
//! [`Admit`], [`Handler`], [`Observer`], [`PermitPool`] and [`SessionSink`] get new methods only with a default implementation that
//! preserves their behaviour.
//!
//! Behaviour is part of the API: which requests are refused, with which word, status and headers, and
//! the order of the checks; the events of an observer and their order; and the actions of a session, as
//! [`ws_core`] defines them. The sentences of refusals and errors are not, nor are the output of
//! `Debug`, the memory of a session and the times of its polls.

mod admission;
mod catch_panic;
mod client;
mod compression;
#[cfg(loom_models)]
#[cfg(test)]
mod concurrency;
mod drain;
mod endpoint;
mod events;
mod frame;
mod h2_stream;
mod handler;
mod handover;
mod handshake;
mod identity;
mod message;
mod peer;
mod permit;
mod prepared_message;
mod registry;
mod session;
mod stream_end;
mod sync;
mod timer;
mod visible_refusal;
mod waker_id;

pub use admission::{Admission, AdmissionParts, Admit, Handshake, Subprotocol};
pub use client::Client;
pub use compression::Compression;
pub use drain::{Drain, DrainOptions, DrainToken, Phase};
pub use endpoint::{Answer, Endpoint, Opening, Policy};
pub use events::{EndpointEvent, Observer, RequestText};
pub use h2_stream::Http2Stream;
pub use handler::{Discard, Handler, Next};
pub use handover::{FrozenSession, SessionSink};
pub use handshake::{
    Authority, CompressionOptions, Denial, Origin, OriginPattern, Origins, ParseOriginError,
    Permission, Protocol, Rejection, Upgrade, frames_body, missing_for_upgrade,
};
pub use identity::{Identity, InvalidIdentity};
pub use message::{Message, Utf8Bytes};
pub use peer::Peer;
pub use permit::{Permit, PermitPool};
pub use prepared_message::PreparedMessage;
pub use registry::SessionRegistry;
pub use session::{Session, SizeLimits, ThawingSession, WebSocket, run};
pub use stream_end::StreamEnd;
pub use visible_refusal::{MAX_VISIBLE_REFUSALS, VisibleRefusal};

/// Shared bytes, of the crate `bytes`: those of a binary [`Message`], and what a [`Handler`] is frozen to.
pub use bytes::Bytes;

/// The HTTP library. Its types of requests, responses and headers are part of this crate's API.
pub use hyper;

/// The state machine of a session. Its types are part of this crate's API.
pub use ws_core;
