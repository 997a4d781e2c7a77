//! The endpoint: a request in, an answer out, and where that is an opening, a session that runs by
//! itself.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::SessionConfig;

use crate::catch_panic::{Guarded, Panicked, guarded};
use crate::drain::{DrainToken, Phase};
use crate::events::{EndpointEvent, Headers, Observer, observe};
use crate::h2_stream::{self, Http2Stream};
use crate::handler::Handler;
use crate::handshake::{Origins, Protocol, Rejection, Upgrade};
use crate::peer::Peer;
use crate::permit::Permit;
use crate::session::{Pending, SessionTask, SizeLimits};

/// What holds for every session of an endpoint. The [front page](crate#an-endpoint) has an example.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which pages may connect.
    pub origins: Origins,
    /// When to ping, how long to wait, and how much a peer may do. The sessions share them.
    pub session: Arc<SessionConfig>,
    /// How much may be held for one peer.
    pub sizes: SizeLimits,
}

/// A WebSocket endpoint. It knows no path: routing is the server's. The
/// [front page](crate#an-endpoint) has an example.
#[derive(Debug)]
pub struct Endpoint<H, O> {
    handler: H,
    observer: Arc<O>,
}

/// An accepted connection, as the endpoint needs to know it. The [front page](crate#an-endpoint) has an
/// example.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who it is. Whoever accepts decides that; here it is only told on.
    pub peer: Peer,
    /// Whether what it says is encrypted on the way to us. Then pages of the server's own origin are
    /// `https`.
    pub is_encrypted: bool,
    /// Its token in the drain. A session takes one of its own before the answer goes out.
    pub token: DrainToken,
}

/// What becomes of a request. The [front page](crate#an-endpoint) has one sent by HTTP/1.1.
///
/// There is no third outcome, so whoever sends it in another way can handle all that there are.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub enum Answer<H, O> {
    /// A session opens.
    Open(Opening<H, O>),
    /// It is refused, with this response.
    Refuse(Response<String>),
}

/// A session that is about to open. It holds its tokens, so no drain can overlook it.
///
/// [`Answer`] opens it over HTTP/1.1 and HTTP/2, so only whoever has another way needs its methods.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct Opening<H, O> {
    upgrade: Upgrade,
    permit: Permit,
    pending: Pending<H, O>,
}

impl<H: Handler, O: Observer> Answer<H, O> {
    /// Gives the answer to an HTTP/1.1 request, for hyper to send. A session that opens begins once
    /// that is done; for this hyper has to serve the connection with upgrades.
    ///
    /// `reclaim` makes of hyper's upgraded stream the one that was accepted, without the layers
    /// around it, which an idle session would pay for; `TokioIo::new` leaves them on.
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

    /// Gives the answer to an HTTP/2 request by `respond`. A session that opens begins on the
    /// request's stream, of which `receiver` is what the client sends.
    ///
    /// `wrap` puts the stream into the type that sessions over HTTP/1.1 have. So the driver is
    /// monomorphized once, its hot calls have one call site each, and they are inlined. Where there is
    /// only HTTP/2, `|stream| stream` will do.
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
                // A client that went away before the 200 has not been a session.
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
                    // Where this fails, nobody waits for it any more.
                    let _ = sender.send_data(body.into(), true);
                }
            }
        }
    }
}

impl<H: Handler + Clone, O: Observer> Endpoint<H, O> {
    /// An endpoint whose sessions each get a clone of `handler`.
    pub fn new(handler: H, observer: Arc<O>) -> Self {
        Self { handler, observer }
    }

    /// Answers a request. A session that opens keeps to `policy` to its end, whatever the next
    /// request is answered by.
    ///
    /// `permit` is asked last, if there is nothing to refuse, for a place that the session keeps to its
    /// end; or why there is none.
    ///
    /// Where the clone of the handler or `permit` panics, the request is refused.
    ///
    /// There is no authentication here: whoever wants one asks for it before calling this.
    pub fn answer<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        permit: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Answer<H, O> {
        let protocol = Protocol::of(request.version(), client.is_encrypted);
        let checked = Upgrade::check(request, protocol, &policy.origins);
        let handler = || match guarded(|| self.handler.clone()) {
            Ok(handler) => Ok(Guarded::new(handler)),
            Err(Panicked) => Err(Rejection::InternalError),
        };
        // A request that is wrong is told so even if there is no room.
        let permit = || match client.token.phase() {
            Phase::Serving => guarded(permit).unwrap_or(Err(Rejection::InternalError)),
            Phase::Draining | Phase::Aborting => Err(Rejection::Draining),
        };
        match checked.and_then(|upgrade| Ok((upgrade, handler()?, permit()?))) {
            Ok((upgrade, handler, permit)) => {
                let pending = Pending {
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

    /// Answers a request with a refusal, for a router that has nothing at the request's path.
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

    /// Tells the observer of a client that was turned away before it could ask for anything, or whom
    /// the HTTP library has answered by itself.
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
    /// What the client is to be told: a 101, or a 200 over HTTP/2.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        self.upgrade.response()
    }

    /// Begins the session on `stream`, once the response is on its way. Its task runs by itself.
    ///
    /// Must be called within a tokio runtime.
    pub fn begin<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(SessionTask::open(stream, self.pending, self.permit));
    }
}
