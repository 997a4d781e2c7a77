//! The endpoint: answers a request with a refusal, or opens a session in a task of its own.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::SessionConfig;

use crate::catch_panic::{CatchPanic, Panicked, catch_panic};
use crate::drain::{DrainToken, Phase};
use crate::events::{EndpointEvent, Headers, Observer, observe};
use crate::h2_stream::{self, Http2Stream};
use crate::handler::Handler;
use crate::handshake::{Origins, Protocol, Rejection, Upgrade};
use crate::peer::Peer;
use crate::permit::Permit;
use crate::session::{PendingSession, SessionTask, SizeLimits};

/// The configuration of an endpoint's sessions. The [front page](crate#an-endpoint) has an example.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The origins that may connect.
    pub origins: Origins,
    /// Timing and limits, shared by the sessions.
    pub session: Arc<SessionConfig>,
    /// The memory that one peer may use.
    pub sizes: SizeLimits,
}

/// A WebSocket endpoint. It knows no path; routing is the task of the server. The
/// [front page](crate#an-endpoint) has an example.
#[derive(Debug)]
pub struct Endpoint<H, O> {
    handler: H,
    observer: Arc<O>,
}

/// The properties of an accepted connection. The [front page](crate#an-endpoint) has an example.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer as the caller knows it. The endpoint only passes it to the observer.
    pub peer: Peer,
    /// Whether the connection to this process uses TLS. If so, the server's own origin is `https`.
    pub is_encrypted: bool,
    /// The connection's token of the drain. A session clones it before the response is sent.
    pub token: DrainToken,
}

/// The answer to a request. The [front page](crate#an-endpoint) has an example over HTTP/1.1.
///
/// There is no third outcome, so a caller that sends it over another protocol can handle all of them.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub enum Answer<H, O> {
    /// A session opens.
    Open(Opening<H, O>),
    /// The request is refused with this response.
    Refuse(Response<String>),
}

/// A session that is about to open. It holds its drain token and its permit already, so a drain waits
/// for it.
///
/// [`Answer`] opens it over HTTP/1.1 and HTTP/2. Its methods are for other protocols.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct Opening<H, O> {
    upgrade: Upgrade,
    permit: Permit,
    pending: PendingSession<H, O>,
}

impl<H: Handler, O: Observer> Answer<H, O> {
    /// Returns the response to an HTTP/1.1 request, for hyper to send. A session begins when hyper has
    /// sent the response, and requires that hyper serves the connection with upgrades.
    ///
    /// `reclaim` extracts the accepted stream from hyper's upgraded one. The layers around it would cost
    /// memory in an idle session. `TokioIo::new` keeps them.
    ///
    /// Must be called within a tokio runtime.
    pub fn over_http1<B, S>(
        self,
        request: &mut Request<B>,
        reclaim: fn(Upgraded) -> S,
    ) -> Response<String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opening = match self {
            Self::Open(opening) => opening,
            Self::Refuse(response) => return response,
        };
        let response = opening.response();
        let upgraded = hyper::upgrade::on(request);
        let Opening { permit, pending, .. } = opening;
        tokio::spawn(SessionTask::upgrading(upgraded, reclaim, pending, permit));
        response
    }

    /// Sends the response to an HTTP/2 request through `respond`. A session begins on the stream of the
    /// request; `receiver` is the client's side of that stream.
    ///
    /// `wrap` converts the stream to the type of the sessions over HTTP/1.1. So the driver is
    /// monomorphized once, its hot functions have one call site each, and they are inlined. If there is
    /// only HTTP/2, `|stream| stream` is enough.
    ///
    /// Must be called within a tokio runtime.
    pub fn over_http2<S>(
        self,
        method: &Method,
        receiver: RecvStream,
        mut respond: SendResponse<Bytes>,
        wrap: impl FnOnce(Http2Stream) -> S,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self {
            Self::Open(opening) => {
                let (head, _) = h2_stream::response(opening.response());
                // If the client disconnected or reset the stream before the 200, no session opens.
                if let Ok(sender) = respond.send_response(head, false) {
                    opening.begin(wrap(Http2Stream::new(sender, receiver)));
                }
            }
            Self::Refuse(response) => {
                let (head, body) = h2_stream::response(response);
                let is_bodiless = method == Method::HEAD;
                if let Ok(mut sender) = respond.send_response(head, is_bodiless)
                    && !is_bodiless
                {
                    // This fails only if the client no longer waits for the response.
                    let _ = sender.send_data(body.into(), true);
                }
            }
        }
    }
}

impl<H: Handler + Clone, O: Observer> Endpoint<H, O> {
    /// Creates an endpoint. Each session gets a clone of `handler`.
    pub fn new(handler: H, observer: Arc<O>) -> Self {
        Self { handler, observer }
    }

    /// Answers a request. A session uses `policy` until it ends, even if later requests are answered
    /// with another.
    ///
    /// `permit` is called last, if the request is valid. It returns the permit that the session holds
    /// until it ends, or the reason why none is available.
    ///
    /// If the clone of the handler or `permit` panics, the request is refused.
    ///
    /// The endpoint does not authenticate clients: a caller that has to does so before this call.
    pub fn answer<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        permit: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Answer<H, O> {
        let protocol = Protocol::of(request.version(), client.is_encrypted);
        let checked = Upgrade::check(request, protocol, &policy.origins);
        let handler = || match catch_panic(|| self.handler.clone()) {
            Ok(handler) => Ok(CatchPanic::new(handler)),
            Err(Panicked) => Err(Rejection::InternalError),
        };
        // Last: an invalid request is refused for its error even if no permit is available.
        let permit = || match client.token.phase() {
            Phase::Serving => catch_panic(permit).unwrap_or(Err(Rejection::InternalError)),
            Phase::Draining | Phase::Aborting => Err(Rejection::Draining),
        };
        match checked.and_then(|upgrade| Ok((upgrade, handler()?, permit()?))) {
            Ok((upgrade, handler, permit)) => {
                let pending = PendingSession {
                    headers: Headers::of(request.headers()),
                    protocol,
                    peer: client.peer,
                    token: client.token.clone(),
                    handler,
                    observer: Arc::clone(&self.observer),
                    config: Arc::clone(&policy.session),
                    sizes: policy.sizes,
                };
                Answer::Open(Opening { upgrade, permit, pending })
            }
            Err(rejection) => self.refuse(rejection, request, client),
        }
    }

    /// Refuses a request, for a router that has no endpoint at its path.
    pub fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, O> {
        let protocol = Protocol::of(request.version(), client.is_encrypted);
        let headers = Headers::of(request.headers());
        self.observe_refused(rejection, client.peer, Some(protocol), &headers);
        Answer::Refuse(rejection.response())
    }

    /// Reports to the observer a client that was rejected before it sent a request, or that the HTTP
    /// library answered itself.
    pub fn record_rejected(&self, rejection: Rejection, client: &Client) {
        self.observe_refused(rejection, client.peer, None, &Headers::default());
    }

    fn observe_refused(
        &self,
        rejection: Rejection,
        peer: Peer,
        protocol: Option<Protocol>,
        headers: &Headers,
    ) {
        let request = headers.text();
        observe(&*self.observer, &EndpointEvent::Refused { peer, protocol, request, rejection });
    }
}

impl<H: Handler, O: Observer> Opening<H, O> {
    /// Returns the response to send: a 101, or a 200 over HTTP/2.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        self.upgrade.response()
    }

    /// Spawns the session on `stream`. The response has to be sent before.
    ///
    /// Must be called within a tokio runtime.
    pub fn begin<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(SessionTask::open(stream, self.pending, self.permit));
    }
}
