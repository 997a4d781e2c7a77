//! Why the service is not available, for the log.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::time::Duration;

use hyper::StatusCode;
use hyper::http;
use hyper_util::client::legacy;

/// The reason why the service made no decision.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection, it ended without a response, or what it carried is no response.
    Exchange(legacy::Error),
    /// It names an identity or an expiry that is invalid.
    Headers,
    /// The request cannot be made.
    Request(http::Error),
    /// There are no root certificates to verify it by.
    Roots(String),
    /// A status other than 2xx, 401 and 403.
    Status(StatusCode),
    /// There was no complete head of a response in time.
    Timeout(Duration),
}

impl Failure {
    /// Whether the connection was established, and then ended before a response began.
    pub(super) fn is_connection_lost(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        let Self::Exchange(error) = self else { return false };
        let is_lost = |cause: &(dyn Error + 'static)| {
            let incomplete = cause.downcast_ref::<hyper::Error>();
            let reset = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            incomplete.is_some_and(hyper::Error::is_incomplete_message)
                || matches!(reset, Some(BrokenPipe | ConnectionReset))
        };
        !error.is_connect() && causes(error).any(is_lost)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The text of the client itself says only which step failed.
            Self::Exchange(error) => {
                let texts: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
                f.write_str(&texts.join(": "))
            }
            Self::Headers => f.write_str("its response has an invalid identity or expiry"),
            Self::Request(error) => write!(f, "the request cannot be sent: {error}"),
            Self::Roots(error) => write!(f, "no root certificates of the system: {error}"),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Timeout(time) => write!(f, "no response within {} s", time.as_secs_f64()),
        }
    }
}

/// Returns an error and what caused it, from the outside to the inside.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}
