//! Routes requests. All paths are registered here (R7).

use hyper::{Method, Request, Response};
use transport::{Answer, Authority, Client, Endpoint, Handler, Permit, Policy, Rejection};

use crate::telemetry::Telemetry;

/// The path of the WebSocket endpoint. A request for it may have a query.
pub const PATH: &str = "/ws/status";

/// Tells a developer what to ask the operator for.
const ORIGIN_HINT: &str = "the setting allowed_origins lists the origins that may connect";

/// Answers requests by their path.
#[derive(Debug)]
pub(crate) struct Router<H> {
    endpoint: Endpoint<H, Telemetry>,
}

impl<H: Handler + Clone> Router<H> {
    pub(crate) fn new(endpoint: Endpoint<H, Telemetry>) -> Self {
        Self { endpoint }
    }

    /// Answers a request. `permit` is called last, if nothing else refuses the request.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        permit: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Answer<H, Telemetry> {
        match request.uri().path() {
            PATH => match self.endpoint.answer(request, client, policy, permit) {
                // Only the server knows the names of settings.
                Answer::Refuse(response) if is_origin_refused(&response) => {
                    Answer::Refuse(response.map(|body| format!("{body}{ORIGIN_HINT}\n")))
                }
                answer @ (Answer::Refuse(_) | Answer::Open(_)) => answer,
            },
            // CONNECT has a host and no path, unless it is extended (RFC 8441, section 4).
            "" if request.method() == Method::CONNECT => {
                self.refuse_other_path(Rejection::MethodNotAllowed, request, client)
            }
            _ => self.refuse_other_path(Rejection::NotFound, request, client),
        }
    }

    /// Refuses a request that is not for the endpoint. A missing or invalid host is reported first (RFC
    /// 9112, section 3.2), as the endpoint does for its own requests.
    fn refuse_other_path<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Telemetry> {
        let rejection = Authority::of(request).err().unwrap_or(rejection);
        let answer = self.refuse(rejection, request, client);
        match answer {
            // Only the router knows the path of the endpoint.
            Answer::Refuse(response) if rejection == Rejection::NotFound => Answer::Refuse(
                response.map(|body| format!("{body}the WebSocket endpoint is {PATH}\n")),
            ),
            Answer::Refuse(_) | Answer::Open(_) => answer,
        }
    }

    /// Answers a request with a refusal.
    pub(crate) fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Telemetry> {
        self.endpoint.refuse(rejection, request, client)
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
