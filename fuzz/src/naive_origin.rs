//! A naive reference implementation of origins.

use std::net::Ipv6Addr;

/// An origin, equal to another as browsers compare them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NaiveOrigin {
    scheme: String,
    host: NaiveHost,
    /// The port, or the default port of the scheme.
    port: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum NaiveHost {
    Address(Ipv6Addr),
    Labels(Vec<String>),
}

impl NaiveOrigin {
    /// Parses a text that `transport` has accepted as an origin.
    ///
    /// # Panics
    ///
    /// If the text is not an origin, which is a finding.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Self {
        let colon = text.find("://").expect("an origin has a scheme");
        let scheme = text[..colon].to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        // The host of an app's origin is case-sensitive.
        let rest = match default_port {
            Some(_) => text[colon + 3..].to_ascii_lowercase(),
            None => text[colon + 3..].to_owned(),
        };
        let after_address = rest.find(']').map_or(0, |end| end + 1);
        let (host, port) = match rest[after_address..].find(':') {
            Some(at) => rest.split_at(after_address + at),
            None => (rest.as_str(), ""),
        };
        let port = port.strip_prefix(':').map(|port| port.parse().expect("a port is a number"));
        let host = if after_address > 0 {
            let address = &host[1..host.len() - 1];
            NaiveHost::Address(address.parse().expect("brackets hold an address"))
        } else {
            NaiveHost::Labels(host.split('.').map(str::to_owned).collect())
        };
        Self { scheme, host, port: port.or(default_port) }
    }

    /// Whether a pattern that `transport` has accepted matches this origin, regardless of `self`.
    #[must_use]
    pub(crate) fn matches_pattern(&self, pattern: &str) -> bool {
        match pattern {
            "*" => return true,
            "self" => return false,
            _ => {}
        }
        let Some((scheme, parent)) = pattern.split_once("://*.") else {
            return *self == Self::parse(pattern);
        };
        let parent = Self::parse(&format!("{scheme}://{parent}"));
        let (NaiveHost::Labels(ours), NaiveHost::Labels(theirs)) = (&self.host, &parent.host)
        else {
            return false;
        };
        self.scheme == parent.scheme
            && self.port == parent.port
            && ours.len() == theirs.len() + 1
            && !ours[0].is_empty()
            && ours[1..] == theirs[..]
    }
}
