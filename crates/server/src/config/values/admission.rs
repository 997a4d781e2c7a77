//! The values of settings about the admission of clients.

use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderName;
use serde::Deserialize;

use super::parse::{InvalidValue, invalid, setting_value};

/// The name of a header, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptionalHeaderName(pub Option<HeaderName>);

impl FromStr for OptionalHeaderName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            _ if text.is_empty() => Ok(Self(None)),
            Ok(name) => Ok(Self(Some(name))),
            Err(_) => invalid("it must be the name of a header, such as X-Auth-User, or empty"),
        }
    }
}

/// Where the service is that authenticates clients, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AuthUrl(pub Option<AuthTarget>);

/// Where a service is, and what is requested of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthTarget {
    /// A URL with the scheme `http` or `https`.
    Http(Uri),
    /// A Unix socket, and the path of the request.
    Unix {
        /// The socket.
        socket: PathBuf,
        /// The path of the request, which begins with a slash.
        path: String,
    },
}

impl FromStr for AuthUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const REQUIREMENT: &str = "it must be a URL such as http://127.0.0.1:9000/auth, https:, or \
                                   unix:/PATH or unix:/PATH:/REQUEST-PATH, or empty";
        if text.is_empty() {
            return Ok(Self(None));
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
            // The path has to be valid in a request.
            let is_valid =
                socket.starts_with('/') && path.starts_with('/') && path.parse::<Uri>().is_ok();
            return if is_valid {
                let (socket, path) = (PathBuf::from(socket), path.to_owned());
                Ok(Self(Some(AuthTarget::Unix { socket, path })))
            } else {
                invalid(REQUIREMENT)
            };
        }
        match text.parse::<Uri>() {
            Ok(url)
                if matches!(url.scheme_str(), Some("http" | "https"))
                    && url.authority().is_some_and(|it| !it.as_str().contains('@')) =>
            {
                Ok(Self(Some(AuthTarget::Http(url))))
            }
            Ok(_) | Err(_) => invalid(REQUIREMENT),
        }
    }
}

setting_value! {
    OptionalHeaderName => { "type": "string", "examples": ["", "X-Auth-User"] };
    AuthUrl => { "type": "string", "examples": ["", "http://127.0.0.1:9000/auth", "unix:/run/auth.sock:/check"] };
}
