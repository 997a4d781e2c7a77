//! The one place where paths are registered (R7).

use hyper::{Method, Request};
use transport::{Answer, Authority, Client, Endpoint, Handler, Permit, Policy, Rejection};

use crate::telemetry::Telemetry;

/// The path of the endpoint, with or without a query behind it.
pub const PATH: &str = "/ws/status";

/// What answers a request: the one place where paths are registered.
#[derive(Debug)]
pub(crate) struct Router<H> {
    endpoint: Endpoint<H, Telemetry>,
}

impl<H: Handler + Clone> Router<H> {
    pub(crate) fn new(endpoint: Endpoint<H, Telemetry>) -> Self {
        Self { endpoint }
    }

    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        policy: &Policy,
        permit: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Answer<H, Telemetry> {
        match request.uri().path() {
            PATH => self.endpoint.answer(request, client, policy, permit),
            // CONNECT names a host and no path, unless it is extended (RFC 8441, section 4).
            "" if request.method() == Method::CONNECT => {
                self.refuse_elsewhere(Rejection::MethodNotAllowed, request, client)
            }
            _ => self.refuse_elsewhere(Rejection::NotFound, request, client),
        }
    }

    /// Refuses what is not for the endpoint, which says by itself that a request names no host: that comes
    /// first (RFC 9112, section 3.2).
    fn refuse_elsewhere<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Telemetry> {
        let rejection = Authority::of(request).err().unwrap_or(rejection);
        let answer = self.refuse(rejection, request, client);
        match answer {
            // Nobody but the router knows where the endpoint is.
            Answer::Refuse(response) if rejection == Rejection::NotFound => Answer::Refuse(
                response.map(|body| format!("{body}the WebSocket endpoint is {PATH}\n")),
            ),
            Answer::Refuse(_) | Answer::Open(_) => answer,
        }
    }

    pub(crate) fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Answer<H, Telemetry> {
        self.endpoint.refuse(rejection, request, client)
    }

    /// Notes a client whose request did not get here: the HTTP library has answered by itself, or
    /// nobody has.
    pub(crate) fn record_rejected(&self, rejection: Rejection, client: &Client) {
        self.endpoint.record_rejected(rejection, client);
    }
}
