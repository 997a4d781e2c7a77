//! The host and port that a request is for (RFC 9110, section 7.2).

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::HOST;
use hyper::http::uri;
use hyper::{Request, Version};

use super::origin::{Origin, default_port};
use super::protocol::Protocol;
use super::rejection::Rejection;

/// The host and port that a request is for, in canonical form: the host is in lower case, and an IPv6
/// address has one spelling.
///
/// ```
/// use hyper::Request;
/// use transport::{Authority, Rejection};
///
/// let request = Request::get("/").header("host", "Server.example:8080").body(()).unwrap();
/// let authority = Authority::of(&request).unwrap().unwrap();
/// assert_eq!(authority.host(), "server.example");
///
/// let request = Request::get("/").header("host", "[::1]evil").body(()).unwrap();
/// assert_eq!(Authority::of(&request), Err(Rejection::BadHost));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// An IPv6 address is in brackets.
    host: String,
    /// `None` is the default port of any scheme.
    port: Option<u16>,
}

impl Authority {
    /// Returns the authority of a request: `:authority` or the absolute form of the target if there is
    /// one, and `Host` otherwise. `None` is possible only for HTTP/1.0.
    ///
    /// If both are present they have to be equal, except for case and the default port of the scheme
    /// (RFC 9113, section 8.3.1; RFC 9110, section 4.2.3). RFC 9112, section 3.2.2, gives the absolute
    /// form precedence over `Host`; here a contradiction is refused, because a proxy may have used the
    /// other.
    ///
    /// # Errors
    ///
    /// [`Rejection::BadHost`] if the host is missing or invalid, or if there are several `Host` headers
    /// or contradictory hosts (RFC 9112, section 3.2).
    pub fn of<B>(request: &Request<B>) -> Result<Option<Self>, Rejection> {
        //= rfc6455#4.2.1-4
        let mut lines = request.headers().get_all(HOST).iter();
        let line = lines.next();
        if lines.next().is_some() {
            return Err(Rejection::BadHost);
        }
        let host = line.map(|line| Self::parse(line.as_bytes().trim_ascii())).transpose()?;
        //= rfc8441#5-3
        let target = request.uri().authority();
        let target = target.map(|target| Self::parse(target.as_str().as_bytes())).transpose()?;
        match (target, host) {
            // A CONNECT that is not extended has no scheme: its target is the end of the tunnel.
            (Some(target), Some(host)) if request.uri().scheme().is_some() => {
                let default = request.uri().scheme_str().and_then(default_port);
                let is_same =
                    target.host == host.host && target.port.or(default) == host.port.or(default);
                if is_same { Ok(Some(target)) } else { Err(Rejection::BadHost) }
            }
            // HTTP/1.1 requires `Host` even with the absolute form.
            (_, None) if request.version() == Version::HTTP_11 => Err(Rejection::BadHost),
            (None, None) if request.version() > Version::HTTP_11 => Err(Rejection::BadHost),
            (target, host) => Ok(target.or(host)),
        }
    }

    /// Returns the host in lower case. An IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host as an IP address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let bracketed = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bracketed.unwrap_or(&self.host).parse().ok()
    }

    /// Returns the possible origins of pages on this host and port.
    ///
    /// With TLS the scheme is `https`. Without it a proxy may have terminated TLS, so it is `http` or
    /// `https`.
    pub(crate) fn origins(&self, protocol: Protocol) -> Vec<Origin> {
        let schemes: &[&str] =
            if protocol.is_encrypted() { &["https"] } else { &["http", "https"] };
        schemes.iter().map(|scheme| Origin::at(scheme, &self.host, self.port)).collect()
    }

    /// Parses strictly: the `http` crate accepts a user name, an empty host, an invalid port, and any
    /// text after the brackets of an address.
    fn parse(text: &[u8]) -> Result<Self, Rejection> {
        let authority = uri::Authority::try_from(text).map_err(|_| Rejection::BadHost)?;
        let host = authority.host();
        let suffix = authority.as_str().strip_prefix(host).ok_or(Rejection::BadHost)?;
        let port = match suffix.strip_prefix(':') {
            // RFC 3986, section 3.2.3
            Some("") => None,
            // `u16::from_str` accepts a plus sign as well.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| Rejection::BadHost)?)
            }
            None if suffix.is_empty() => None,
            Some(_) | None => return Err(Rejection::BadHost),
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let address = rest.strip_suffix(']').ok_or(Rejection::BadHost)?;
                let address: Ipv6Addr = address.parse().map_err(|_| Rejection::BadHost)?;
                format!("[{address}]")
            }
            None if host.is_empty() || host.contains(['[', ']']) => return Err(Rejection::BadHost),
            None => host.to_ascii_lowercase(),
        };
        Ok(Self { host, port })
    }
}
