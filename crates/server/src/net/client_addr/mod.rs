//! The client address policy: the client is the peer of the socket, or the address that a trusted proxy
//! reports.
//!
//! The address is determined once, before the limits apply; limits, logs and metrics use the same one.
//! Information from untrusted peers is ignored. `forwarded` parses the headers, and `proxy_protocol` the
//! header in front of the connection's data.

mod forwarded;
mod proxy_protocol;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::HeaderMap;
use ipnet::IpNet;
use transport::{Peer, Rejection};

use crate::net::stream::Stream;

pub use self::proxy_protocol::{ProxyHeader, parse_proxy_header};

/// The trusted proxies, and the ways in which they report the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddrPolicy {
    /// The trusted proxies.
    pub proxies: Vec<TrustedPeer>,
    /// The header in which they report it.
    pub forwarded_header: ForwardedHeader,
    /// Whether they send a PROXY header.
    pub proxy_protocol: ProxyProtocol,
}

/// A trusted proxy, by the peer of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedPeer {
    /// A network, or a single address.
    Network(IpNet),
    /// Any process that connects to a Unix socket.
    UnixSocket,
}

/// The header in which a proxy reports the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// No header is read.
    #[default]
    Off,
    /// `X-Forwarded-For`, which has no standard.
    XForwardedFor,
}

/// Whether a proxy sends a PROXY header, version 1 or 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// No. A PROXY header is answered as malformed HTTP.
    #[default]
    Off,
    /// A trusted proxy may send one.
    Optional,
    /// Every connection must be from a trusted proxy and begin with one.
    Required,
}

impl ClientAddrPolicy {
    /// Returns whether `peer` is a trusted proxy, so that the client may be another host.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        self.proxies.iter().any(|proxy| match (proxy, peer.ip()) {
            (TrustedPeer::Network(network), Some(address)) => network.contains(&address),
            (TrustedPeer::UnixSocket, None) => true,
            (TrustedPeer::Network(_), None) | (TrustedPeer::UnixSocket, Some(_)) => false,
        })
    }

    /// Returns whether the client's address is read from each request's headers.
    pub(crate) fn uses_forwarded_header(&self, peer: Peer) -> bool {
        self.forwarded_header != ForwardedHeader::Off && self.is_proxy(peer)
    }

    /// Reads the PROXY header, if one is expected, and returns the client.
    ///
    /// # Errors
    ///
    /// A rejection, or `None` if the peer has closed the connection before its first byte: a load
    /// balancer that checks whether the port is open does that, and it is not recorded as rejected.
    pub(crate) async fn read_proxy_header(
        &self,
        stream: &mut Stream,
        peer: Peer,
    ) -> Result<Peer, Option<Rejection>> {
        const BAD: Option<Rejection> = Some(Rejection::BadProxyHeader);
        let is_required = match self.proxy_protocol {
            ProxyProtocol::Off => return Ok(peer),
            ProxyProtocol::Optional => false,
            ProxyProtocol::Required => true,
        };
        if !self.is_proxy(peer) {
            return if is_required { Err(BAD) } else { Ok(peer) };
        }
        loop {
            match parse_proxy_header(stream.peeked()) {
                ProxyHeader::Absent if is_required => return Err(BAD),
                ProxyHeader::Invalid => return Err(BAD),
                ProxyHeader::Absent => return Ok(peer),
                ProxyHeader::Complete { client, length } => {
                    stream.discard_exact(length).await.map_err(|_| BAD)?;
                    // Without an address the proxy itself is the client, for a health check.
                    return Ok(client.map_or(peer, Peer::Address));
                }
                ProxyHeader::Incomplete => match stream.peek_more().await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if stream.peeked().is_empty() => return Err(None),
                    // The input ended within the header.
                    Ok(0) | Err(_) => return Err(BAD),
                },
            }
        }
    }

    /// Returns the client of a request that `peer` sent.
    ///
    /// Each proxy appends the address of its own peer. So the list is read from the right, past trusted
    /// proxies; the first address that is not trusted is the client's, and everything to the left of it
    /// may be forged. If a hop has no address, the last address read before it counts, or `peer`.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: Peer) -> Peer {
        if !self.uses_forwarded_header(peer) {
            return peer;
        }
        let hops = match self.forwarded_header {
            ForwardedHeader::Off => return peer,
            ForwardedHeader::Forwarded => forwarded::forwarded(headers),
            ForwardedHeader::XForwardedFor => forwarded::x_forwarded_for(headers),
        };
        let mut client = peer;
        for hop in hops {
            match hop {
                Some(address) => client = Peer::Host(address),
                None => return client,
            }
            if !self.is_proxy(client) {
                return client;
            }
        }
        client
    }
}

impl FromStr for TrustedPeer {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        if text == "unix" {
            return Ok(Self::UnixSocket);
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| ParseNetworkError)?;
        // A network with host bits is most likely a mistake, and would trust more addresses than
        // intended.
        if network.addr() == network.network() {
            Ok(Self::Network(network))
        } else {
            Err(ParseNetworkError)
        }
    }
}

/// The error of parsing a [`TrustedPeer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNetworkError;

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be addresses, networks without a host part such as 10.0.0.0/8, or unix for \
             peers on a Unix socket",
        )
    }
}

impl std::error::Error for ParseNetworkError {}
