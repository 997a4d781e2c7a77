//! The endpoint: answers a request with a refusal, or opens a session in a task of its own.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::header::{HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_EXTENSIONS};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ws_core::{CloseFrame, SessionConfig};

use crate::admission::{Admission, Admit, Grant, Handshake};
use crate::catch_panic::{CatchPanic, Panicked, catch_panic, catch_panic_in_future};
use crate::client::Client;
use crate::drain::{DrainToken, Phase};
use crate::events::{EndpointEvent, Headers, Observer, observe};
use crate::h2_stream::{self, Http2Stream};
use crate::handler::Handler;
use crate::handover::FrozenSession;
use crate::handshake::{CompressionOptions, Denial, Origins, Protocol, Rejection, Upgrade};
use crate::permit::Permit;
use crate::session::{PendingSession, SessionTask, SizeLimits, ThawingSession};
use crate::visible_refusal::{MAX_VISIBLE_REFUSALS, VisibleRefusal};

/// The configuration of an endpoint's sessions. The [front page](crate#an-endpoint) has an example.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The origins that may connect.
    pub origins: Origins,
    /// Timing and limits, shared by the sessions.
    pub session: Arc<SessionConfig>,
    /// The memory that one peer may use.
    pub sizes: SizeLimits,
    /// Which sessions are compressed.
    pub compression: CompressionOptions,
    /// Whether a page of an allowed origin sees why it is refused: for a limit, because of a drain, or by
    /// what decides on handshakes ([`VisibleRefusal`]). Requests without an `Origin`, and those that are
    /// refused for an error or for their origin, get the response.
    pub visible_refusals: bool,
}

/// A WebSocket endpoint. It knows no path; routing is the task of the server. The
/// [front page](crate#an-endpoint) has an example.
#[derive(Debug)]
pub struct Endpoint<O> {
    observer: Arc<O>,
    /// One permit for each visible refusal.
    visible_refusals: Arc<Semaphore>,
}

/// The answer to a request. The [front page](crate#an-endpoint) has an example over HTTP/1.1.
///
/// There is no other outcome, so a caller that sends it over another protocol can handle all of them.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub enum Answer<H, O> {
    /// A session opens.
    Open(Opening<H, O>),
    /// The request is refused with this response.
    Refuse(Response<String>),
    /// The request is refused, and a page can see why.
    RefuseVisibly(VisibleRefusal<H>),
}

/// A session that is about to open. It holds its drain token and its permit already, so a drain waits
/// for it.
///
/// [`Answer`] opens it over HTTP/1.1 and HTTP/2. Its methods are for other protocols.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct Opening<H, O> {
    upgrade: Upgrade,
    headers: Vec<(HeaderName, HeaderValue)>,
    permit: Permit,
    pending: PendingSession<H, O>,
}

/// A request that is valid and has a permit.
struct Candidate {
    upgrade: Upgrade,
    permit: Permit,
    token: DrainToken,
    /// As in [`Grant`].
    calls: u64,
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
        match self {
            Self::Open(opening) => {
                let response = opening.response();
                let upgraded = hyper::upgrade::on(request);
                let Opening { permit, pending, .. } = opening;
                tokio::spawn(SessionTask::upgrading(upgraded, reclaim, pending, permit));
                response
            }
            Self::Refuse(response) => response,
            Self::RefuseVisibly(refusal) => {
                let response = refusal.response();
                refusal.begin_on_upgrade(hyper::upgrade::on(request), reclaim);
                response
            }
        }
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
                    //= rfc8441#5-6
                    opening.begin(wrap(Http2Stream::new(sender, receiver)));
                }
            }
            Self::RefuseVisibly(refusal) => {
                let (head, _) = h2_stream::response(refusal.response());
                if let Ok(sender) = respond.send_response(head, false) {
                    refusal.begin(wrap(Http2Stream::new(sender, receiver)));
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

impl<O: Observer> Endpoint<O> {
    /// Creates an endpoint that reports to `observer`.
    pub fn new(observer: Arc<O>) -> Self {
        let visible_refusals = Arc::new(Semaphore::new(MAX_VISIBLE_REFUSALS));
        Self { observer, visible_refusals }
    }

    /// Answers a request. A session uses `policy` until it ends, even if later requests are answered
    /// with another.
    ///
    /// If the request is valid and its origin is allowed, `permit` is called. It returns the permit that
    /// the session holds until it ends, or the reason why none is available. Then `admit` decides.
    ///
    /// If `permit` or `admit` panics, the request is refused. If a drain begins before `admit` has
    /// decided, its future is dropped and the request is refused; the drain waits until then.
    ///
    /// Cancel safe: if the returned future is dropped, no session opens, and the permit is released. It
    /// has no timeout of its own.
    pub async fn answer<A: Admit, B: Sync>(
        &self,
        admit: &A,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        permit: impl FnOnce() -> Result<Permit, Rejection> + Send,
    ) -> Answer<A::Handler, O> {
        let protocol = Protocol::of(request.version(), client.is_encrypted);
        let upgrade = match Upgrade::check(request, protocol, &policy.origins) {
            Ok(upgrade) => upgrade,
            Err(rejection) => return Answer::Refuse(self.refuse(rejection, request, client)),
        };
        // Cloned before the phase is read, so a drain that begins later waits for this request.
        let token = client.token.clone();
        let denial = match acquire(permit, &token) {
            Ok((permit, calls)) => {
                match decide(admit, &Handshake::new(request, client), &token).await {
                    Ok(admission) => {
                        let candidate = Candidate { upgrade, permit, token, calls };
                        return self.open(candidate, admission, request, client, policy);
                    }
                    Err(denial) => denial,
                }
            }
            Err(rejection) => rejection.into(),
        };
        match self.show(&denial, request, policy) {
            Some((close, permit)) => {
                self.observe_refused(&denial, client, Some(request), Some(&close));
                let subprotocol = Handshake::new(request, client).subprotocols().next();
                let sizes = policy.sizes;
                Answer::RefuseVisibly(VisibleRefusal::new(
                    upgrade,
                    subprotocol,
                    close,
                    token,
                    sizes,
                    permit,
                ))
            }
            None => {
                self.observe_refused(&denial, client, Some(request), None);
                Answer::Refuse(denial.response())
            }
        }
    }

    fn open<H, B>(
        &self,
        candidate: Candidate,
        admission: Admission<CatchPanic<H>>,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
    ) -> Answer<H, O> {
        let Candidate { upgrade, permit, token, calls } = candidate;
        let Admission { handler, grant, mut headers } = admission;
        let mut compression = None;
        if let Some((mode, response)) = policy.compression.negotiate(request.headers()) {
            //= rfc6455#11.3.2-1
            headers.push((SEC_WEBSOCKET_EXTENSIONS, response));
            //= rfc7692#5-6
            compression = Some(mode);
        }
        let pending = PendingSession {
            headers: Headers::of(request.headers()),
            protocol: Protocol::of(request.version(), client.is_encrypted),
            peer: client.peer,
            token,
            handler,
            observer: Arc::clone(&self.observer),
            config: Arc::clone(&policy.session),
            sizes: policy.sizes,
            compression,
            grant: Grant { calls, ..grant }.boxed(),
        };
        Answer::Open(Opening { upgrade, headers, permit, pending })
    }

    /// Prepares a session of another process to continue here. It holds `permit` until it ends, uses `policy`,
    /// and keeps the times and the limits that its state machine has scheduled by the policy of that process.
    ///
    /// If its identity is [disconnected](crate::SessionRegistry::disconnect) after this, it closes when it begins.
    ///
    /// `handler` is what [`Admit::thaw`] made. `stream` is over the same connection as the one there, and
    /// nothing else reads from it or writes to it from the call of
    /// [`begin`](ThawingSession::begin) on; until then it is not accessed here either.
    pub fn thaw<H: Handler, S>(
        &self,
        frozen: FrozenSession,
        handler: H,
        stream: S,
        token: DrainToken,
        policy: &Policy,
        permit: Permit,
    ) -> ThawingSession<H, O, S> {
        let calls = token.sessions().calls();
        ThawingSession {
            frozen,
            handler: CatchPanic::new(handler),
            stream,
            token,
            observer: Arc::clone(&self.observer),
            config: Arc::clone(&policy.session),
            sizes: policy.sizes,
            permit,
            calls,
        }
    }

    /// Returns the Close frame that shows a denial to a page, and a permit for that, if the policy says so and
    /// not too many are shown at the moment.
    fn show<B>(
        &self,
        denial: &Denial,
        request: &Request<B>,
        policy: &Policy,
    ) -> Option<(CloseFrame, OwnedSemaphorePermit)> {
        //= rfc6455#4.2.1-10
        let is_of_page = request.headers().contains_key(ORIGIN);
        let close = denial.close_frame().filter(|_| policy.visible_refusals && is_of_page)?;
        let permit = Arc::clone(&self.visible_refusals).try_acquire_owned().ok()?;
        Some((close, permit))
    }

    /// Refuses a request, for a router that has no endpoint at its path. Returns the response to send.
    #[must_use = "the client waits for the response"]
    pub fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Response<String> {
        let denial = rejection.into();
        self.observe_refused(&denial, client, Some(request), None);
        denial.response()
    }

    /// Reports to the observer a client that was rejected before it sent a request, or that the HTTP
    /// library answered itself.
    pub fn record_rejected(&self, rejection: Rejection, client: &Client) {
        self.observe_refused::<()>(&rejection.into(), client, None, None);
    }

    fn observe_refused<B>(
        &self,
        denial: &Denial,
        client: &Client,
        request: Option<&Request<B>>,
        close: Option<&CloseFrame>,
    ) {
        let protocol = request.map(|it| Protocol::of(it.version(), client.is_encrypted));
        let headers = request.map(|it| Headers::of(it.headers())).unwrap_or_default();
        let rejection = denial.rejection();
        let event = EndpointEvent::Refused {
            peer: client.peer,
            protocol,
            request: headers.text(),
            rejection,
            denial: Some(denial).filter(|_| rejection == Rejection::Application),
            close,
        };
        observe(&*self.observer, &event);
    }
}

/// Acquires the permit for a session, unless a drain has begun. Returns it with the calls of [`Grant`].
fn acquire(
    permit: impl FnOnce() -> Result<Permit, Rejection>,
    token: &DrainToken,
) -> Result<(Permit, u64), Rejection> {
    // Last of the checks: an invalid request is refused for its error even if no permit is available.
    if token.phase() != Phase::Serving {
        return Err(Rejection::Draining);
    }
    let permit = catch_panic(permit).unwrap_or(Err(Rejection::InternalError))?;
    Ok((permit, token.sessions().calls()))
}

/// Lets the application decide, unless a drain begins before it has.
async fn decide<A: Admit>(
    admit: &A,
    handshake: &Handshake<'_>,
    token: &DrainToken,
) -> Result<Admission<CatchPanic<A::Handler>>, Denial> {
    let mut decision = pin!(catch_panic_in_future(|| admit.admit(handshake)));
    let mut draining = pin!(token.past(Phase::Serving));
    let decided = poll_fn(|cx| match decision.as_mut().poll(cx) {
        Poll::Ready(decided) => Poll::Ready(Some(decided)),
        Poll::Pending => draining.as_mut().poll(cx).map(|_| None),
    });
    let admission = match decided.await {
        // Before the admission can be dropped, because the drop of the handler may panic.
        Some(Ok(decision)) => decision?.map_handler(CatchPanic::new),
        Some(Err(Panicked)) => return Err(Rejection::InternalError.into()),
        None => return Err(Rejection::Draining.into()),
    };
    // Once more: a session that opens now would close at once.
    if token.phase() != Phase::Serving {
        return Err(Rejection::Draining.into());
    }
    Ok(admission)
}

impl<H: Handler, O: Observer> Opening<H, O> {
    /// Returns the response to send: a 101, or a 200 over HTTP/2.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        let mut response = self.upgrade.response();
        //= rfc6455#4.2.2-6
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response
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
