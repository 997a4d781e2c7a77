//! Which pages may connect (RFC 6454; RFC 6455, section 10.2).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The origins that may connect, and what becomes of requests without one.
///
/// Only browsers are held back by this: they send `Origin` truthfully, and other programs can send what
/// they like. Some of these send the server's own address, for which there is [`OriginPattern::Own`].
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
    /// Whether a request without `Origin`, which no browser sends, may connect.
    pub missing: Permission,
    /// Whether `Origin: null` may connect: a sandboxed frame, a `data:` URL, a local file.
    pub null: Permission,
}

impl Origins {
    /// Whether a page of this origin may connect to a server whose own origins these are, as the request
    /// names them.
    #[must_use]
    pub fn allow(&self, origin: &Origin, own: &[Origin]) -> bool {
        self.allowed.iter().any(|pattern| pattern.matches(origin, own))
    }
}

/// A yes or a no of the operator. [`Origins`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Such a request is let in.
    Allow,
    /// Such a request is refused.
    Refuse,
}

/// An origin in canonical form: scheme, host and port, and nothing else (RFC 6454, section 4).
///
/// Two origins are the same exactly where these are equal: case is folded, the scheme's default
/// port is left out, and an IPv6 address is written in one way.
///
/// A scheme that is not the web's has a host of its own kind: an extension's number, a word, or nothing, as
/// in `file://`. It is compared as it is written (URL Standard, "opaque host").
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
    /// The origin of what is at this host and port, which are canonical but for the default port.
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

/// What the operator allows: an origin, or a set of them.
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
    /// `*`: any origin, but not `null` and not a missing one.
    Any,
    /// `https://*.example.com`: any one label in front of this origin's host.
    AnyLabelBefore(Origin),
    /// This origin.
    Exactly(Origin),
    /// `self`: the server's own, by the host and the port that the request itself names. A page whose name
    /// was pointed at the server's address (DNS rebinding) names itself, so over plain HTTP it is let in.
    Own,
}

impl OriginPattern {
    /// Whether `origin` is one of these, where `own` are the server's own.
    #[must_use]
    pub fn matches(&self, origin: &Origin, own: &[Origin]) -> bool {
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
            Self::Own => own.contains(origin),
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

/// Why a text is not an origin.
///
/// ```
/// use transport::{ParseOriginError, Origin};
///
/// let error = "example.com".parse::<Origin>().unwrap_err();
/// assert_eq!(error, ParseOriginError::Scheme);
/// assert_eq!(error.to_string(), "an origin begins with its scheme, such as https://");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseOriginError {
    /// There is more than scheme, host and port.
    Excess,
    /// The host is empty, or is neither a domain name nor an address. For a scheme that is not the web's, it
    /// has characters that are not visible ASCII or not for a host.
    Host,
    /// The port is not a number from 0 to 65535.
    Port,
    /// There is no `scheme://` in front.
    Scheme,
    /// `ws` and `wss` are schemes of the connection, not of the page.
    WebSocketScheme,
    /// `*` stands for one whole label, the leftmost.
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
                 in brackets, or for a scheme that is not the web's visible ASCII characters, if any"
            }
            Self::Port => "the port must be a number from 0 to 65535",
            Self::Scheme => "an origin begins with its scheme, such as https://",
            Self::WebSocketScheme => {
                "the origin is that of the page, so its scheme is http or https, not ws or wss"
            }
            Self::Wildcard => {
                "* may stand for the whole leftmost label only, as in https://*.example.com, \
                 or alone for any origin"
            }
        })
    }
}

impl std::error::Error for ParseOriginError {}

/// The scheme in lower case, the host as written, and the port unless it is the scheme's default.
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
        // A colon inside the brackets of an IPv6 address is not the port's.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (rest, None),
    };
    let port = match port {
        // `u16::from_str` takes a plus sign as well.
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
    // What a browser or an app shell writes there is its own affair: `file://`, `app://.`.
    let is_opaque = |c: char| c.is_ascii_graphic() && !"#/:<>?@[\\]^|".contains(c);
    if host.chars().all(is_opaque) { Ok(host.to_owned()) } else { Err(ParseOriginError::Host) }
}

/// A domain name or an IPv4 address, in lower case.
fn canonical_name(name: &str) -> Result<String, ParseOriginError> {
    if name.contains('*') {
        return Err(ParseOriginError::Wildcard);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    // A fully qualified name may end in a dot, and is then another origin than without it.
    let labels = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !labels.split('.').all(is_label) {
        return Err(ParseOriginError::Host);
    }
    // A name whose last label is a number is an address to a browser, so it has to be a good one.
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    if labels.rsplit('.').next().is_some_and(is_number) && name.parse::<Ipv4Addr>().is_err() {
        return Err(ParseOriginError::Host);
    }
    Ok(name.to_ascii_lowercase())
}

/// The port of a scheme (RFC 9110, section 4.2; RFC 6455, section 3).
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}
