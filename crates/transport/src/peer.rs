//! The peer of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The peer of a connection, as far as it is known.
///
/// ```
/// use std::net::SocketAddr;
/// use transport::Peer;
///
/// let peer = Peer::from(SocketAddr::from(([192, 0, 2, 7], 4711)));
/// assert_eq!(peer.to_string(), "192.0.2.7:4711");
/// assert_eq!(peer.ip(), Some([192, 0, 2, 7].into()));
/// assert_eq!(Peer::Local.ip(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The address and the port of a socket.
    Address(SocketAddr),
    /// An address without a port, as a proxy reported it.
    Host(IpAddr),
    /// A process on this machine, over a Unix socket.
    Local,
}

impl Peer {
    /// Returns the IP address, if the peer has one. An IPv4-mapped IPv6 address is returned as IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Host(address) => Some(address.to_canonical()),
            Self::Local => None,
        }
    }
}

/// The form in the log: `192.0.2.7:4711`, `192.0.2.7` or `unix`. Limits per address use the same
/// address, so an IPv4-mapped IPv6 address is shown as IPv4.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => {
                SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(f)
            }
            Self::Host(address) => address.to_canonical().fmt(f),
            Self::Local => f.write_str("unix"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}
