//! Routes requests by their path (R7). The paths are registered where the server is composed.
//!
//! The handlers of two routes may have different types. They are erased here, once for each request, so
//! that nothing above knows them; a session itself runs without indirection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use h2::RecvStream;
use h2::server::SendResponse;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use transport::{
    Admit, Answer, Authority, Client, Endpoint, Handler, Http2Stream, Permit, Policy, Rejection,
};

use crate::admission::{Gate, Guarded};
use crate::net::stream::Stream;
use crate::telemetry::Telemetry;

/// The path of the binary's WebSocket endpoint. A request for it may have a query.
pub const PATH: &str = "/ws/status";

/// Tells a developer what to ask the operator for.
const ORIGIN_HINT: &str = "the setting allowed_origins lists the origins that may connect";

/// The endpoints by their paths.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<(String, Box<dyn Route>)>);

/// A function that acquires the permit for a session.
pub(crate) type AcquirePermit<'a> = Box<dyn FnOnce() -> Result<Permit, Rejection> + Send + 'a>;

/// The answer to a request.
pub(crate) enum Answered {
    /// A session opens.
    Open(Box<dyn OpenSession>),
    /// The request is refused with this response.
    Refuse(Response<String>),
}

/// An endpoint whose handler's type is erased.
trait Route: Send + Sync {
    fn answer<'a>(
        &'a self,
        endpoint: &'a Endpoint<Telemetry>,
        gate: &'a Gate,
        request: &'a Request<()>,
        client: &'a Client,
        policy: &'a Policy,
        permit: AcquirePermit<'a>,
    ) -> Pin<Box<dyn Future<Output = Answered> + Send + 'a>>;
}

/// A session that is about to open, whose handler's type is erased. The methods are those of [`Answer`].
pub(crate) trait OpenSession: Send {
    fn over_http1(
        self: Box<Self>,
        request: &mut Request<()>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Response<String>;

    fn over_http2(
        self: Box<Self>,
        method: &Method,
        receiver: RecvStream,
        respond: SendResponse<Bytes>,
        wrap: &dyn Fn(Http2Stream) -> Stream,
    );
}

/// Answers requests by their path.
#[derive(Debug)]
pub(crate) struct Router {
    endpoint: Endpoint<Telemetry>,
    gate: Arc<Gate>,
    routes: Routes,
}

impl Routes {
    /// Registers an endpoint.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin with `/`, has a query, or is registered already.
    pub(crate) fn register(&mut self, path: String, admit: impl Admit + 'static) {
        assert!(path.starts_with('/') && !path.contains(['?', '#']), "{path:?} is not a path");
        assert!(self.find(&path).is_none(), "{path:?} is registered twice");
        self.0.push((path, Box::new(admit)));
    }

    /// Returns the paths, in the order in which they were registered.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.iter().map(|(path, _)| path.as_str()).collect()
    }

    fn find(&self, path: &str) -> Option<&dyn Route> {
        self.0.iter().find(|(registered, _)| registered == path).map(|(_, route)| &**route)
    }
}

impl fmt::Debug for dyn Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

impl<A: Admit> Route for A {
    fn answer<'a>(
        &'a self,
        endpoint: &'a Endpoint<Telemetry>,
        gate: &'a Gate,
        request: &'a Request<()>,
        client: &'a Client,
        policy: &'a Policy,
        permit: AcquirePermit<'a>,
    ) -> Pin<Box<dyn Future<Output = Answered> + Send + 'a>> {
        Box::pin(async move {
            let admit = Guarded { gate, admit: self };
            match endpoint.answer(&admit, request, client, policy, permit).await {
                answer @ Answer::Open(_) => Answered::Open(Box::new(answer)),
                Answer::Refuse(response) => Answered::Refuse(response),
            }
        })
    }
}

impl<H: Handler> OpenSession for Answer<H, Telemetry> {
    fn over_http1(
        self: Box<Self>,
        request: &mut Request<()>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Response<String> {
        (*self).over_http1(request, reclaim)
    }

    fn over_http2(
        self: Box<Self>,
        method: &Method,
        receiver: RecvStream,
        respond: SendResponse<Bytes>,
        wrap: &dyn Fn(Http2Stream) -> Stream,
    ) {
        (*self).over_http2(method, receiver, respond, wrap);
    }
}

impl Answered {
    /// Returns the response over HTTP/1.1, as [`Answer::over_http1`] does.
    pub(crate) fn over_http1(
        self,
        request: &mut Request<()>,
        reclaim: fn(Upgraded) -> Stream,
    ) -> Response<String> {
        match self {
            Self::Open(session) => session.over_http1(request, reclaim),
            Self::Refuse(response) => response,
        }
    }

    /// Sends the response over HTTP/2, as [`Answer::over_http2`] does.
    pub(crate) fn over_http2(
        self,
        method: &Method,
        receiver: RecvStream,
        respond: SendResponse<Bytes>,
        wrap: &dyn Fn(Http2Stream) -> Stream,
    ) {
        match self {
            Self::Open(session) => session.over_http2(method, receiver, respond, wrap),
            Self::Refuse(response) => {
                let refusal: Answer<transport::Discard, Telemetry> = Answer::Refuse(response);
                refusal.over_http2(method, receiver, respond, wrap);
            }
        }
    }
}

impl Router {
    pub(crate) fn new(telemetry: Arc<Telemetry>, gate: Arc<Gate>, routes: Routes) -> Self {
        Self { endpoint: Endpoint::new(telemetry), gate, routes }
    }

    /// Answers a request. `permit` is called if our own checks refuse nothing, before the application
    /// decides. Cancel safe.
    pub(crate) async fn answer(
        &self,
        request: &Request<()>,
        client: &Client,
        policy: &Policy,
        permit: AcquirePermit<'_>,
    ) -> Answered {
        if let Some(route) = self.routes.find(request.uri().path()) {
            return match route
                .answer(&self.endpoint, &self.gate, request, client, policy, permit)
                .await
            {
                // Only the server knows the names of settings.
                Answered::Refuse(response) if is_origin_refused(&response) => {
                    Answered::Refuse(response.map(|body| format!("{body}{ORIGIN_HINT}\n")))
                }
                answered @ (Answered::Refuse(_) | Answered::Open(_)) => answered,
            };
        }
        // CONNECT has a host and no path, unless it is extended (RFC 8441, section 4).
        let is_connect = request.uri().path().is_empty() && request.method() == Method::CONNECT;
        let rejection = if is_connect { Rejection::MethodNotAllowed } else { Rejection::NotFound };
        self.refuse_other_path(rejection, request, client)
    }

    /// Refuses a request that is not for an endpoint. A missing or invalid host is reported first (RFC
    /// 9112, section 3.2), as the endpoint does for its own requests.
    fn refuse_other_path(
        &self,
        rejection: Rejection,
        request: &Request<()>,
        client: &Client,
    ) -> Answered {
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
        Answered::Refuse(response.map(|body| body + &hint))
    }

    /// Answers a request with a refusal.
    pub(crate) fn refuse(
        &self,
        rejection: Rejection,
        request: &Request<()>,
        client: &Client,
    ) -> Answered {
        Answered::Refuse(self.endpoint.refuse(rejection, request, client))
    }

    /// Records the rejection of a client whose request did not reach the router: the HTTP library has
    /// sent the response, or there is none.
    pub(crate) fn record_rejected(&self, rejection: Rejection, client: &Client) {
        self.endpoint.record_rejected(rejection, client);
    }
}

fn is_origin_refused<B>(response: &Response<B>) -> bool {
    response.extensions().get() == Some(&Rejection::OriginRefused)
}
