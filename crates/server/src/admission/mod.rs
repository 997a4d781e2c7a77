//! Admission: what a valid handshake has to pass before the application decides on it.
//!
//! It limits how many are decided at a time, and for how long; and, if the operator configures it, finds out
//! who the client is: from the headers of a trusted proxy (`caller`), or by a request to a service
//! (`auth_service`). It knows no session. Read [`Guarded`] first.

pub(crate) mod auth_service;
mod caller;
mod context;
mod routed;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use transport::{Admission, Admit, Denial, Handshake, Rejection};

use self::auth_service::AuthService;
use self::caller::Caller;

pub(crate) use self::context::RequestContext;
pub(crate) use self::routed::Routed;

/// What all handshakes have to pass.
#[derive(Debug)]
pub(crate) struct Gate {
    /// One permit for each handshake that is being decided. The others wait for one, in order.
    concurrent: Semaphore,
    auth_service: AuthService,
}

/// An application behind the gate, for one request.
#[derive(Debug)]
pub(crate) struct Guarded<'a, A> {
    pub(crate) gate: &'a Gate,
    pub(crate) context: &'a RequestContext,
    pub(crate) admit: &'a A,
    /// The index of its route.
    pub(crate) route: u8,
}

impl Gate {
    /// Creates a gate that lets `max_concurrent` handshakes be decided at a time.
    pub(crate) fn new(max_concurrent: usize, auth_service: AuthService) -> Self {
        Self { concurrent: Semaphore::new(max_concurrent), auth_service }
    }

    /// Finds out who the client is, as the settings say.
    async fn authenticate(
        &self,
        handshake: &Handshake<'_>,
        context: &RequestContext,
    ) -> Result<Caller, Denial> {
        let options = &context.config.admission;
        match &options.auth_service {
            // Boxed, because most servers have no such service, and every request would reserve its memory.
            Some(target) => {
                Box::pin(self.auth_service.authenticate(handshake, target, options)).await
            }
            None => Caller::of_request(handshake, context, options).map_err(Denial::from),
        }
    }
}

impl<A: Admit> Guarded<'_, A> {
    async fn decide(
        &self,
        handshake: &Handshake<'_>,
    ) -> Result<Admission<Routed<A::Handler>>, Denial> {
        let concurrent = &self.gate.concurrent;
        // Held until the decision. The semaphore is never closed.
        let _permit = match concurrent.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => Box::pin(concurrent.acquire()).await.ok(),
        };
        let caller = self.gate.authenticate(handshake, self.context).await?;
        let admission = match &caller.identity {
            Some(identity) => self.admit.admit(&handshake.with_identity(identity)).await?,
            None => self.admit.admit(handshake).await?,
        };
        let route = self.route;
        Ok(caller.apply_to(admission).map_handler(|handler| Routed { handler, route }))
    }
}

impl<A: Admit> Admit for Guarded<'_, A> {
    type Handler = Routed<A::Handler>;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Self::Handler>, Denial> {
        let mut decision = pin!(self.decide(handshake));
        // Most decisions are ready at once, and need no timer.
        if let Poll::Ready(decision) = poll_fn(|cx| Poll::Ready(decision.as_mut().poll(cx))).await {
            return decision;
        }
        let decision = Box::pin(timeout_at(self.context.deadline, decision)).await;
        decision.unwrap_or_else(|_| Err(Rejection::AdmissionTimeout.into()))
    }
}
