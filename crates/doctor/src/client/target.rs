//! `Target`: which URL is examined.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// The path of the endpoint, for a URL without one.
const DEFAULT_PATH: &str = "/ws/status";

/// The URL of an endpoint or of an admin listener.
///
/// ```
/// use doctor::Target;
///
/// let target: Target = "wss://status.example.com".parse()?;
/// assert_eq!(target.to_string(), "wss://status.example.com/ws/status");
/// assert!("status.example.com".parse::<Target>().is_err());
/// # Ok::<(), doctor::InvalidTarget>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(crate) is_tls: bool,
    /// A name or an address, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path and the query.
    pub(crate) path: String,
}

impl Target {
    /// The value of `Host`: without the port if it is the default of the scheme.
    pub(crate) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// The origin of pages that the same host serves.
    pub(crate) fn own_origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Whether the host is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let uri: Uri = text.parse().map_err(|_| InvalidTarget)?;
        let is_tls = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            Some(_) | None => return Err(InvalidTarget),
        };
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|host| !host.is_empty() && !has_user).ok_or(InvalidTarget)?;
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => DEFAULT_PATH,
            path => path,
        };
        Ok(Self {
            is_tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// The error of parsing a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTarget;

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must be a URL such as wss://status.example.com/ws/status")
    }
}

impl std::error::Error for InvalidTarget {}
