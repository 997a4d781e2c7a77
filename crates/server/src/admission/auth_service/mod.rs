//! The service that authenticates clients: one request to it for each handshake.
//!
//! `request` has what the service receives, `client` and `connector` the connections to it, `body` the part of
//! its response that has no meaning, and `failure` the reasons why it is not available.

mod body;
mod client;
mod connector;
mod failure;
mod request;

use std::sync::Arc;

use hyper::header::WWW_AUTHENTICATE;
use hyper::{Response, StatusCode};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use transport::{Denial, Handshake, Rejection};

use self::client::ServiceClient;
use self::failure::Failure;
use super::caller::Caller;
use crate::config::AdmissionOptions;
use crate::config::values::admission::AuthTarget;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::AuthOutcome;

/// Asks the service about handshakes.
#[derive(Debug)]
pub(crate) struct AuthService {
    telemetry: Arc<Telemetry>,
    /// The client for the current settings. The first handshake creates it, and the first one after a reload
    /// that changed them replaces it.
    client: Mutex<Option<Arc<ServiceClient>>>,
}

impl AuthService {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, client: Mutex::new(None) }
    }

    /// Asks the service about a handshake. Cancel safe: if the future is dropped, the connection of the request is
    /// closed.
    pub(super) async fn authenticate(
        &self,
        handshake: &Handshake<'_>,
        target: &AuthTarget,
        options: &AdmissionOptions,
    ) -> Result<Caller, Denial> {
        let began = Instant::now();
        let response = self.ask(handshake, target, options).await;
        let decision = response.and_then(|response| Decision::of(response, options));
        let (outcome, result) = match decision {
            Ok(Decision::Admitted(caller)) => (AuthOutcome::Admitted, Ok(caller)),
            Ok(Decision::Refused(outcome, denial)) => (outcome, Err(denial)),
            Err(failure) => {
                self.telemetry.record_auth_failure(&failure);
                (AuthOutcome::Unavailable, Err(Rejection::AuthUnavailable.into()))
            }
        };
        self.telemetry.metrics.record_auth_request(outcome, began.elapsed());
        result
    }

    /// Sends the request, and returns the response without its body.
    async fn ask(
        &self,
        handshake: &Handshake<'_>,
        target: &AuthTarget,
        options: &AdmissionOptions,
    ) -> Result<Response<()>, Failure> {
        let timeout = options.auth_timeout;
        let deadline = Instant::now() + timeout;
        let exchange = async {
            let client = self.client(target, options).await?;
            let request = request::about(handshake, client.uri()).map_err(Failure::Request)?;
            client.send(request).await
        };
        let response =
            timeout_at(deadline, exchange).await.map_err(|_| Failure::Timeout(timeout))??;
        let (head, body) = response.into_parts();
        body::discard(body, deadline).await;
        Ok(Response::from_parts(head, ()))
    }

    /// Returns the client for these settings.
    async fn client(
        &self,
        target: &AuthTarget,
        options: &AdmissionOptions,
    ) -> Result<Arc<ServiceClient>, Failure> {
        let mut current = self.client.lock().await;
        if let Some(client) =
            current.as_ref().filter(|client| client.is_for(target, options.auth_timeout))
        {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(ServiceClient::new(target, options).await?);
        *current = Some(Arc::clone(&client));
        Ok(client)
    }
}

/// The decision of the service.
enum Decision {
    Admitted(Caller),
    Refused(AuthOutcome, Denial),
}

impl Decision {
    /// Reads the head of a response.
    fn of(response: Response<()>, options: &AdmissionOptions) -> Result<Self, Failure> {
        let (head, ()) = response.into_parts();
        match head.status {
            status if status.is_success() => {
                // An invalid header is an error of the service, and not of the client.
                let caller = Caller::of_headers(&head.headers, options);
                caller.map(Self::Admitted).map_err(|_| Failure::Headers)
            }
            StatusCode::UNAUTHORIZED => {
                let challenges = head.headers.get_all(WWW_AUTHENTICATE).into_iter().cloned();
                let denial = Denial::from(Rejection::Unauthenticated);
                let denial =
                    challenges.fold(denial, |denial, it| denial.header(WWW_AUTHENTICATE, it));
                Ok(Self::Refused(AuthOutcome::Unauthenticated, denial))
            }
            StatusCode::FORBIDDEN => {
                Ok(Self::Refused(AuthOutcome::Forbidden, Rejection::Forbidden.into()))
            }
            status => Err(Failure::Status(status)),
        }
    }
}
