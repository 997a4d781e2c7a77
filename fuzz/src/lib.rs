//! What more than one target needs: origins, understood a second time and without any cleverness.

use std::net::Ipv6Addr;

/// An origin as a browser tells two of them apart.
#[derive(Debug, PartialEq, Eq)]
pub struct NaiveOrigin {
    scheme: String,
    host: NaiveHost,
    /// The port that would be connected to, where the scheme has one.
    port: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum NaiveHost {
    Address(Ipv6Addr),
    Labels(Vec<String>),
}

impl NaiveOrigin {
    /// Takes a text apart that `transport` has taken for an origin.
    ///
    /// # Panics
    ///
    /// If it is none, which is what a target wants to know.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let colon = text.find("://").expect("an origin has a scheme");
        let scheme = text[..colon].to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        // The host of an app is what it says.
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

    /// Whether a pattern that `transport` has accepted means this origin, whatever the server's own is.
    #[must_use]
    pub fn is_meant_by(&self, pattern: &str) -> bool {
        match pattern {
            "*" => return true,
            "self" => return false,
            _ => {}
        }
        let Some((scheme, parent)) = pattern.split_once("://*.") else {
            return *self == Self::of(pattern);
        };
        let parent = Self::of(&format!("{scheme}://{parent}"));
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
