//! Who a connection is with.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who a connection is with, as far as that is known.
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
    /// An address alone, which is all that a proxy told.
    Host(IpAddr),
    /// A program on this machine, by a Unix socket.
    Local,
}

impl Peer {
    /// The address, if it has one; an IPv4 address is told as one, whatever socket it came by.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Host(address) => Some(address.to_canonical()),
            Self::Local => None,
        }
    }
}

/// As it stands in the log: `192.0.2.7:4711`, `192.0.2.7` or `unix`. It is the address that limits
/// go by, so an IPv4 address is shown as one.
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
