//! `Place`: where a line of configuration belongs.

use std::fmt;

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The configuration of nginx.
    Nginx,
    /// The configuration of HAProxy.
    HaProxy,
    /// A Caddyfile.
    Caddy,
    /// The attributes of an AWS application load balancer and its target groups.
    Alb,
    /// The settings of the server.
    Server,
    /// The network: DNS, firewalls, gateways.
    Network,
    /// The client: its URL, or the options of this program.
    Client,
}

impl Place {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Caddy => "Caddy",
            Self::Alb => "AWS ALB",
            Self::Server => "server",
            Self::Network => "network",
            Self::Client => "client",
        }
    }

    /// Returns the proxy that a header `Server` or `Via` names. It only decides which line is printed first.
    pub(crate) fn named_by(header: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(header).to_ascii_lowercase();
        let names = [
            ("nginx", Self::Nginx),
            ("openresty", Self::Nginx),
            ("haproxy", Self::HaProxy),
            ("caddy", Self::Caddy),
            ("awselb", Self::Alb),
        ];
        names.into_iter().find(|(name, _)| text.contains(name)).map(|(_, place)| place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
