//! Origins, and the policy of which may connect (RFC 6454; RFC 6455, section 10.2).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The policy for the `Origin` header.
///
/// It restricts only pages in browsers, which send `Origin` truthfully; other programs can send any
/// value. Some of these send the server's own address, which [`OriginPattern::Own`] allows.
///
/// ```
/// use transport::{Origins, Permission};
///
/// let origins = Origins {
///     allowed: vec!["https://example.com".parse().unwrap()],
///     missing: Permission::Allow,
///     null: Permission::Refuse,
/// };
/// assert!(origins.allow(&"https://example.com".parse().unwrap(), &[]));
/// assert!(!origins.allow(&"https://example.org".parse().unwrap(), &[]));
/// ```
#[derive(Clone, Debug)]
pub struct Origins {
    /// The origins that may connect.
    pub allowed: Vec<OriginPattern>,
    /// Whether a request without `Origin` may connect. Browsers always send one.
    pub missing: Permission,
    /// Whether `Origin: null` may connect: a sandboxed frame, a `data:` URL, a local file.
    pub null: Permission,
}

impl Origins {
    /// Returns whether a page of `origin` may connect. `server_origins` are the server's own origins, as
    /// the request names them.
    #[must_use]
    pub fn allow(&self, origin: &Origin, server_origins: &[Origin]) -> bool {
        self.allowed.iter().any(|pattern| pattern.matches(origin, server_origins))
    }
}

/// Whether the operator allows a kind of request, or what a kind of client offers. [`Origins`] has an
/// example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The request may connect, or the offer be accepted.
    Allow,
    /// The request is refused, or the offer declined.
    Refuse,
}

/// An origin in canonical form: scheme, host and port, and nothing else (RFC 6454, section 4).
///
/// Two origins are the same if and only if these are equal: case is folded, the default port of the
/// scheme is omitted, and an IPv6 address has one spelling.
///
/// With a scheme other than `http`, `https`, `ws` and `wss`, the host is the id of an extension, a word,
/// or empty, as in `file://`. It is compared as it is written (URL Standard, "opaque host").
///
/// ```
/// use transport::Origin;
///
/// let origin: Origin = "HTTPS://Example.COM:443".parse().unwrap();
/// assert_eq!(origin, "https://example.com".parse().unwrap());
/// assert_ne!(origin, "https://example.com:8443".parse().unwrap());
/// assert!("https://example.com/".parse::<Origin>().is_err());
/// assert!("file://".parse::<Origin>().is_ok());
/// assert_ne!("app://A".parse::<Origin>(), "app://a".parse::<Origin>());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None` is the default port of the scheme.
    port: Option<u16>,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let (scheme, host, port) = split(text)?;
        Ok(Self { host: canonical_host(&scheme, host)?, port, scheme })
    }
}

impl Origin {
    /// Creates an origin. The parts are canonical already, except that a default port is removed.
    pub(crate) fn at(scheme: &str, host: &str, port: Option<u16>) -> Self {
        let port = port.filter(|port| Some(*port) != default_port(scheme));
        Self { scheme: scheme.to_owned(), host: host.to_owned(), port }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// An origin, or a set of origins, that the operator allows.
///
/// ```
/// use transport::OriginPattern;
///
/// let pattern: OriginPattern = "https://*.example.com".parse().unwrap();
/// assert!(pattern.matches(&"https://a.example.com".parse().unwrap(), &[]));
/// assert!(!pattern.matches(&"https://a.b.example.com".parse().unwrap(), &[]));
/// assert!(!pattern.matches(&"https://example.com".parse().unwrap(), &[]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPattern {
    /// `*`: any origin. Neither `null` nor a missing header is one.
    Any,
    /// `https://*.example.com`: exactly one label before the host of this origin.
    AnyLabelBefore(Origin),
    /// This origin.
    Exactly(Origin),
    /// `self`: the server's own origin, by the host and port that the request names. This does not
    /// protect against DNS rebinding over plain HTTP: a page whose name resolves to the server's address
    /// sends that name as its origin and as the host.
    Own,
}

impl OriginPattern {
    /// Returns whether the pattern includes `origin`. `server_origins` are the server's own origins, as
    /// the request names them.
    #[must_use]
    pub fn matches(&self, origin: &Origin, server_origins: &[Origin]) -> bool {
        match self {
            Self::Any => true,
            Self::AnyLabelBefore(parent) => {
                origin.scheme == parent.scheme
                    && origin.port == parent.port
                    && origin
                        .host
                        .split_once('.')
                        .is_some_and(|(label, rest)| !label.is_empty() && rest == parent.host)
            }
            Self::Exactly(allowed) => origin == allowed,
            Self::Own => server_origins.contains(origin),
        }
    }
}

impl FromStr for OriginPattern {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        match text {
            "*" => return Ok(Self::Any),
            "self" => return Ok(Self::Own),
            _ => {}
        }
        let (scheme, host, port) = split(text)?;
        if matches!(scheme.as_str(), "ws" | "wss") {
            return Err(ParseOriginError::WebSocketScheme);
        }
        let Some(parent) = host.strip_prefix("*.") else {
            return Ok(Self::Exactly(text.parse()?));
        };
        if canonical_name(parent)?.parse::<Ipv4Addr>().is_ok() {
            return Err(ParseOriginError::Host);
        }
        let host = canonical_host(&scheme, parent)?;
        Ok(Self::AnyLabelBefore(Origin { scheme, host, port }))
    }
}

/// The reason why a text is not an origin.
///
/// ```
/// use transport::{Origin, ParseOriginError};
///
/// let error = "example.com".parse::<Origin>().unwrap_err();
/// assert_eq!(error, ParseOriginError::Scheme);
/// assert_eq!(error.to_string(), "an origin begins with its scheme, such as https://");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseOriginError {
    /// The text has more than scheme, host and port.
    Excess,
    /// The host is empty, or neither a domain name nor an address. With a scheme other than `http`,
    /// `https`, `ws` and `wss`, it has characters that are not visible ASCII, or not allowed in a host.
    Host,
    /// The port is not a number from 0 to 65535.
    Port,
    /// The text does not begin with `scheme://`.
    Scheme,
    /// `ws` and `wss` are schemes of the connection, not of the page.
    WebSocketScheme,
    /// `*` is not the whole leftmost label.
    Wildcard,
}

impl fmt::Display for ParseOriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excess => {
                "an origin ends after its host or port, with no slash, path or user name"
            }
            Self::Host => {
                "the host must be a domain name (non-ASCII ones as xn--…), an IPv4 address or an IPv6 address \
                 in brackets; only with a scheme other than http and https may it be empty or any visible \
                 ASCII characters"
            }
            Self::Port => "the port must be a number from 0 to 65535",
            Self::Scheme => "an origin begins with its scheme, such as https://",
            Self::WebSocketScheme => {
                "the origin is that of the page, so its scheme is http or https, not ws or wss"
            }
            Self::Wildcard => {
                "* must be the whole leftmost label, as in https://*.example.com, or stand alone for any \
                 origin"
            }
        })
    }
}

impl std::error::Error for ParseOriginError {}

/// Splits a text into the scheme in lower case, the host as written, and the port unless it is the
/// default of the scheme.
fn split(text: &str) -> Result<(String, &str, Option<u16>), ParseOriginError> {
    let (scheme, rest) = text.split_once("://").ok_or(ParseOriginError::Scheme)?;
    // RFC 3986, section 3.1.
    let mut characters = scheme.chars();
    if !characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        || !characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return Err(ParseOriginError::Scheme);
    }
    let scheme = scheme.to_ascii_lowercase();

    if rest.contains(['/', '?', '#', '@', '\\']) {
        return Err(ParseOriginError::Excess);
    }
    let (host, port) = match rest.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address does not begin the port.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (rest, None),
    };
    let port = match port {
        // `u16::from_str` accepts a plus sign as well.
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| ParseOriginError::Port)?)
        }
        Some(_) => return Err(ParseOriginError::Port),
        None => None,
    };
    let default_port = default_port(&scheme);
    Ok((scheme, host, port.filter(|port| Some(*port) != default_port)))
}

fn canonical_host(scheme: &str, host: &str) -> Result<String, ParseOriginError> {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(ParseOriginError::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| ParseOriginError::Host)?;
        return Ok(format!("[{address}]"));
    }
    if default_port(scheme).is_some() {
        return canonical_name(host);
    }
    if host.contains('*') {
        return Err(ParseOriginError::Wildcard);
    }
    // Browsers and app shells define these hosts themselves: `file://`, `app://.`.
    let is_opaque = |c: char| c.is_ascii_graphic() && !"#/:<>?@[\\]^|".contains(c);
    if host.chars().all(is_opaque) { Ok(host.to_owned()) } else { Err(ParseOriginError::Host) }
}

/// Returns a domain name or an IPv4 address in lower case.
fn canonical_name(name: &str) -> Result<String, ParseOriginError> {
    if name.contains('*') {
        return Err(ParseOriginError::Wildcard);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    // A fully qualified name may end in a dot. It is another origin than the name without the dot.
    let labels = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !labels.split('.').all(is_label) {
        return Err(ParseOriginError::Host);
    }
    // Browsers read a name whose last label is a number as an IPv4 address, so it has to be a valid one.
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    if labels.rsplit('.').next().is_some_and(is_number) && name.parse::<Ipv4Addr>().is_err() {
        return Err(ParseOriginError::Host);
    }
    Ok(name.to_ascii_lowercase())
}

/// Returns the default port of a scheme (RFC 9110, section 4.2; RFC 6455, section 3).
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}
