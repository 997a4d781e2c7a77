//! Who a client is and until when, as a trusted proxy or the authentication service states it.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderName};
use transport::{Admission, Handshake, Identity, Rejection};

use super::context::RequestContext;
use crate::config::AdmissionOptions;

/// Who a client is, and until when that holds. Both are unknown if nothing states them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) identity: Option<Identity>,
    expires: Option<SystemTime>,
}

impl Caller {
    /// Reads the headers of a request, if a setting names one.
    ///
    /// Only a trusted proxy is believed: from anyone else such a header is a forgery, and without one it is not
    /// known who the client is. Both are refused.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unauthenticated`]
    pub(super) fn of_request(
        handshake: &Handshake<'_>,
        context: &RequestContext,
        options: &AdmissionOptions,
    ) -> Result<Self, Rejection> {
        if options.identity_header.is_none() && options.expires_header.is_none() {
            return Ok(Self::default());
        }
        if !context.is_from_proxy {
            return Err(Rejection::Unauthenticated);
        }
        let caller = Self::of_headers(handshake.headers(), options)?;
        let is_missing = caller.identity.is_none() && options.identity_header.is_some()
            || caller.expires.is_none() && options.expires_header.is_some();
        if is_missing { Err(Rejection::Unauthenticated) } else { Ok(caller) }
    }

    /// Reads the headers that the settings name. Each may be absent or empty.
    ///
    /// # Errors
    ///
    /// One occurs twice, is no identity, or is no number of seconds since 1970.
    pub(super) fn of_headers(
        headers: &HeaderMap,
        options: &AdmissionOptions,
    ) -> Result<Self, Rejection> {
        let identity = single(headers, options.identity_header.as_ref())?;
        let identity = identity.map(Identity::try_from).transpose();
        let expires = single(headers, options.expires_header.as_ref())?;
        let expires = expires.map(|seconds| {
            let since_1970 = seconds.parse().map(Duration::from_secs).ok();
            since_1970.and_then(|it| SystemTime::UNIX_EPOCH.checked_add(it)).ok_or(())
        });
        match (identity, expires.transpose()) {
            (Ok(identity), Ok(expires)) => Ok(Self { identity, expires }),
            (Err(_), _) | (_, Err(())) => Err(Rejection::Unauthenticated),
        }
    }

    /// Gives a session what the application has left open: its identity, and an earlier end.
    pub(super) fn apply_to<H>(self, admission: Admission<H>) -> Admission<H> {
        let admission = match self.identity {
            Some(identity) => admission.or_identity(identity),
            None => admission,
        };
        match self.expires {
            Some(expires) => admission.expires_at(expires),
            None => admission,
        }
    }
}

/// Returns the value of a header that a setting names, unless it is absent or empty.
fn single<'a>(
    headers: &'a HeaderMap,
    name: Option<&HeaderName>,
) -> Result<Option<&'a str>, Rejection> {
    let Some(name) = name else { return Ok(None) };
    let mut lines = headers.get_all(name).iter();
    let (first, second) = (lines.next(), lines.next());
    // A proxy that adds its own value to a forged one sends two.
    if second.is_some() {
        return Err(Rejection::Unauthenticated);
    }
    let value = first.map(|value| str::from_utf8(value.as_bytes())).transpose();
    let value = value.map_err(|_| Rejection::Unauthenticated)?;
    Ok(value.map(str::trim).filter(|value| !value.is_empty()))
}
