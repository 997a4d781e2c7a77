//! Routes requests by their path (R7). The paths are registered where the server is composed.
//!
//! The handlers of two routes may have different types. A request is answered in a boxed future of its route,
//! so nothing above knows them, and a session itself runs without indirection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::RecvStream;
use h2::server::SendResponse;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, Version};
use transport::{
    Admit, Answer, Authority, Client, Discard, DrainToken, Endpoint, FrozenSession, Http2Stream,
    Permit, Policy, Rejection, missing_for_upgrade,
};

use crate::admission::{Gate, Guarded, RequestContext, Routed};
use crate::net::stream::Stream;
use crate::telemetry::Telemetry;

/// The path of the binary's WebSocket endpoint. A request for it may have a query.
pub const PATH: &str = "/ws/status";

/// Tells a developer what to ask the operator for.
const ORIGIN_HINT: &str = "the setting allowed_origins lists the origins that may connect";

/// The endpoints by their paths.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<(String, Box<dyn Route>)>);

/// Answers requests by their path.
#[derive(Debug)]
pub(crate) struct Router {
    endpoint: Endpoint<Telemetry>,
    gate: Gate,
    routes: Routes,
}

/// What belongs to a request beside its head.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) context: &'a RequestContext,
    /// Acquires the permit for a session. Called once at most, if our own checks refuse nothing.
    pub(crate) acquire_permit: &'a mut (dyn FnMut() -> Result<Permit, Rejection> + Send),
}

/// The stream of an HTTP/2 request.
pub(crate) struct RequestStream<'a> {
    pub(crate) receiver: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// Converts the stream for a session.
    pub(crate) wrap: &'a (dyn Fn(Http2Stream) -> Stream + Sync),
}

/// What became of an HTTP/2 request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A session has opened.
    Opened,
    Refused,
    /// The client has reset the stream before the response.
    Reset,
}

/// A session of another process, until it continues here. The argument of the call is the time for which it
/// was frozen.
pub(crate) type Thawing = Box<dyn FnOnce(Duration) + Send>;

/// What a session of another process continues with, beside itself.
pub(crate) struct Continuation<'a> {
    pub(crate) stream: Stream,
    pub(crate) token: DrainToken,
    pub(crate) policy: &'a Policy,
    pub(crate) permit: Permit,
}

/// An endpoint whose application's type is erased.
trait Route: Send + Sync {
    fn answer_http1<'a>(
        &'a self,
        router: &'a Router,
        request: &'a mut Request<()>,
        call: Call<'a>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Pin<Box<dyn Future<Output = Response<String>> + Send + 'a>>;

    fn answer_http2<'a>(
        &'a self,
        router: &'a Router,
        request: &'a Request<()>,
        call: Call<'a>,
        stream: RequestStream<'a>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

    fn thaw(
        &self,
        endpoint: &Endpoint<Telemetry>,
        frozen: FrozenSession,
        continuation: Continuation<'_>,
    ) -> Option<Thawing>;
}

/// An application, and the index of its route.
struct Registered<A> {
    admit: A,
    index: u8,
}

impl<A: Admit> Route for Registered<A> {
    fn answer_http1<'a>(
        &'a self,
        router: &'a Router,
        request: &'a mut Request<()>,
        call: Call<'a>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Pin<Box<dyn Future<Output = Response<String>> + Send + 'a>> {
        Box::pin(async move {
            let answer = router.ask(self, request, call).await;
            answer.over_http1(request, reclaim)
        })
    }

    fn answer_http2<'a>(
        &'a self,
        router: &'a Router,
        request: &'a Request<()>,
        call: Call<'a>,
        stream: RequestStream<'a>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            let RequestStream { receiver, mut respond, wrap } = stream;
            let mut answer = pin!(router.ask(self, request, call));
            let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => respond.poll_reset(cx).map(|_| None),
            });
            let Some(answer) = answer.await else { return Outcome::Reset };
            let outcome = match answer {
                Answer::Open(_) => Outcome::Opened,
                Answer::Refuse(_) | Answer::RefuseVisibly(_) => Outcome::Refused,
            };
            answer.over_http2(request.method(), receiver, respond, wrap);
            outcome
        })
    }

    fn thaw(
        &self,
        endpoint: &Endpoint<Telemetry>,
        frozen: FrozenSession,
        continuation: Continuation<'_>,
    ) -> Option<Thawing> {
        let Continuation { stream, token, policy, permit } = continuation;
        let handler = self.admit.thaw(frozen.identity.as_ref(), frozen.handler.clone())?;
        let handler = Routed { handler, route: self.index };
        let mut thawing = endpoint.thaw(frozen, handler, stream, token, policy, permit);
        Some(Box::new(move |pause| {
            thawing.stream_mut().own();
            thawing.begin(pause);
        }))
    }
}

impl fmt::Debug for dyn Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

impl Routes {
    /// Registers an endpoint.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin with `/`, has a query, or is registered already, or if there are 256
    /// routes.
    pub(crate) fn register(&mut self, path: String, admit: impl Admit + 'static) {
        assert!(path.starts_with('/') && !path.contains(['?', '#']), "{path:?} is not a path");
        assert!(self.find(&path).is_none(), "{path:?} is registered twice");
        let index = u8::try_from(self.0.len()).expect("a server has at most 256 routes");
        self.0.push((path, Box::new(Registered { admit, index })));
    }

    /// Returns the paths, in the order in which they were registered.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.iter().map(|(path, _)| path.as_str()).collect()
    }

    fn find(&self, path: &str) -> Option<&dyn Route> {
        self.0.iter().find(|(registered, _)| registered == path).map(|(_, route)| &**route)
    }
}

impl Router {
    pub(crate) fn new(telemetry: Arc<Telemetry>, gate: Gate, routes: Routes) -> Self {
        Self { endpoint: Endpoint::new(telemetry), gate, routes }
    }

    /// Returns the paths, in the order in which they were registered.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.routes.paths()
    }

    /// Prepares a session of another process to continue, at the endpoint with this path. Returns `None` if
    /// there is none, or if its application cannot continue it.
    pub(crate) fn thaw(
        &self,
        path: &str,
        frozen: FrozenSession,
        continuation: Continuation<'_>,
    ) -> Option<Thawing> {
        self.routes.find(path)?.thaw(&self.endpoint, frozen, continuation)
    }

    /// Answers an HTTP/1.1 request: returns the response. Cancel safe.
    pub(crate) async fn answer_http1<'a>(
        &'a self,
        request: &'a mut Request<()>,
        call: Call<'a>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Response<String> {
        //= rfc6455#4.2.1-3
        match self.routes.find(request.uri().path()) {
            Some(route) => route.answer_http1(self, request, call, reclaim).await,
            None => self.refuse_other_path(request, call.client),
        }
    }

    /// Answers an HTTP/2 request on its stream. Cancel safe.
    pub(crate) async fn answer_http2<'a>(
        &'a self,
        request: &'a Request<()>,
        call: Call<'a>,
        stream: RequestStream<'a>,
    ) -> Outcome {
        if let Some(route) = self.routes.find(request.uri().path()) {
            return route.answer_http2(self, request, call, stream).await;
        }
        send_refusal(self.refuse_other_path(request, call.client), request, stream);
        Outcome::Refused
    }

    /// Refuses an HTTP/2 request on its stream.
    pub(crate) fn refuse_http2(
        &self,
        rejection: Rejection,
        request: &Request<()>,
        client: &Client,
        stream: RequestStream<'_>,
    ) {
        send_refusal(self.endpoint.refuse(rejection, request, client), request, stream);
    }

    /// Lets the endpoint and the application behind the gate decide on a request.
    async fn ask<A: Admit>(
        &self,
        Registered { admit, index }: &Registered<A>,
        request: &Request<()>,
        call: Call<'_>,
    ) -> Answer<Routed<A::Handler>, Telemetry> {
        let Call { client, context, acquire_permit } = call;
        let policy = &context.config.policy;
        let admit = Guarded { gate: &self.gate, context, admit, route: *index };
        match self.endpoint.answer(&admit, request, client, policy, acquire_permit).await {
            Answer::Refuse(response) => Answer::Refuse(with_hint(response, request)),
            answer @ (Answer::RefuseVisibly(_) | Answer::Open(_)) => answer,
        }
    }

    /// Refuses a request that is not for an endpoint. A missing or invalid host is reported first (RFC
    /// 9112, section 3.2), as the endpoint does for its own requests.
    fn refuse_other_path(&self, request: &Request<()>, client: &Client) -> Response<String> {
        // CONNECT has a host and no path, unless it is extended (RFC 8441, section 4).
        let is_connect = request.uri().path().is_empty() && request.method() == Method::CONNECT;
        //= rfc6455#4.2.2-4
        let rejection = if is_connect { Rejection::MethodNotAllowed } else { Rejection::NotFound };
        let rejection = Authority::of(request).err().unwrap_or(rejection);
        let response = self.endpoint.refuse(rejection, request, client);
        // Only the router knows the paths of the endpoints.
        let paths = self.routes.paths();
        let hint = match (rejection, &*paths) {
            (Rejection::NotFound, [path]) => format!("the WebSocket endpoint is {path}\n"),
            (Rejection::NotFound, [_, ..]) => {
                format!("the WebSocket endpoints are {}\n", paths.join(" and "))
            }
            _ => String::new(),
        };
        response.map(|body| body + &hint)
    }

    /// Records the rejection of a client whose request did not reach the router: the HTTP library has
    /// sent the response, or there is none.
    pub(crate) fn record_rejected(&self, rejection: Rejection, client: &Client) {
        self.endpoint.record_rejected(rejection, client);
    }
}

fn send_refusal(response: Response<String>, request: &Request<()>, stream: RequestStream<'_>) {
    let refusal: Answer<Discard, Telemetry> = Answer::Refuse(response);
    let RequestStream { receiver, respond, wrap } = stream;
    refusal.over_http2(request.method(), receiver, respond, wrap);
}

/// Adds a line for the developer or the operator to some refusals.
fn with_hint(response: Response<String>, request: &Request<()>) -> Response<String> {
    let hint = match response.extensions().get() {
        // Only the server knows the names of settings.
        Some(Rejection::OriginRefused) => ORIGIN_HINT.to_owned(),
        // A proxy that loses one of the two headers is the usual cause. HTTP/2 has neither.
        Some(Rejection::NotAnUpgrade) if request.version() < Version::HTTP_2 => {
            let missing: Vec<&str> = missing_for_upgrade(request.headers()).collect();
            format!("the request arrived without {}", missing.join(" and without "))
        }
        Some(_) | None => return response,
    };
    response.map(|body| format!("{body}{hint}\n"))
}
