//! The service that authenticates clients: one request to it for each handshake.

use transport::{Denial, Handshake, Rejection};

use super::caller::Caller;
use crate::config::AdmissionOptions;
use crate::config::values::admission::AuthTarget;

/// The client of the service.
#[derive(Debug, Default)]
pub(crate) struct AuthService {}

impl AuthService {
    /// Asks the service about a handshake.
    pub(super) async fn authenticate(
        &self,
        _handshake: &Handshake<'_>,
        _target: &AuthTarget,
        _options: &AdmissionOptions,
    ) -> Result<Caller, Denial> {
        Err(Rejection::AuthUnavailable.into())
    }
}
