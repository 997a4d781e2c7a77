//! Admission: what a valid handshake has to pass before the application decides on it.
//!
//! It limits how many are decided at a time, and for how long; and, if the operator configures it, finds out
//! who the client is: from the headers of a trusted proxy (`caller`), or by a request to a service
//! (`auth_service`). It knows no session. Read [`Guarded`] first.

pub(crate) mod auth_service;
mod caller;
mod context;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use transport::{Admission, Admit, Denial, Handshake, Rejection};

use self::auth_service::AuthService;
use self::caller::Caller;
use crate::config::ConfigReceiver;

pub(crate) use self::context::RequestContext;

/// What all handshakes have to pass.
#[derive(Debug)]
pub(crate) struct Gate {
    configs: ConfigReceiver,
    /// One permit for each handshake that is being decided. The others wait for one, in order.
    concurrent: Semaphore,
    auth_service: AuthService,
}

/// An application behind the gate.
#[derive(Debug)]
pub(crate) struct Guarded<'a, A> {
    pub(crate) gate: &'a Gate,
    pub(crate) admit: &'a A,
}

impl Gate {
    pub(crate) fn new(configs: ConfigReceiver, auth_service: AuthService) -> Arc<Self> {
        let concurrent = Semaphore::new(configs.borrow().admission.max_concurrent);
        Arc::new(Self { configs, concurrent, auth_service })
    }

    /// Finds out who the client is, as the settings say.
    async fn authenticate(
        &self,
        handshake: &Handshake<'_>,
        context: &RequestContext,
    ) -> Result<Caller, Denial> {
        let config = self.configs.borrow().clone();
        let options = &config.admission;
        match &options.auth_service {
            Some(target) => self.auth_service.authenticate(handshake, target, options).await,
            None => Caller::of_request(handshake, context, options).map_err(Denial::from),
        }
    }
}

impl<A: Admit> Admit for Guarded<'_, A> {
    type Handler = A::Handler;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<A::Handler>, Denial> {
        let context = handshake.extensions().get::<RequestContext>();
        let context = context.expect("the HTTP layer adds it to every request");
        let decide = async {
            // Held until the decision. The semaphore is never closed.
            let _permit = self.gate.concurrent.acquire().await;
            let caller = self.gate.authenticate(handshake, context).await?;
            let admission = match &caller.identity {
                Some(identity) => self.admit.admit(&handshake.with_identity(identity)).await?,
                None => self.admit.admit(handshake).await?,
            };
            Ok(caller.apply_to(admission))
        };
        let decided = timeout_at(context.deadline, decide).await;
        decided.unwrap_or_else(|_| Err(Rejection::AdmissionTimeout.into()))
    }
}
