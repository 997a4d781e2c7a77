//! Who the client is: the peer of the socket, or whom a trusted proxy names.
//!
//! It is decided here, once, before the limits; limits, logs and metrics use the same. Nothing is
//! believed from anyone who is not trusted. How a proxy names the client is read in `forwarded`
//! (headers) and `proxy_protocol` (in front of everything else).

mod forwarded;
mod proxy_protocol;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::HeaderMap;
use ipnet::IpNet;
use serde::Deserialize;
use transport::{Peer, Rejection};

use crate::net::stream::Stream;

pub use self::proxy_protocol::{ProxyHeader, parse_proxy_header};

/// Whose word about the client is believed, and how it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddrPolicy {
    /// Where the proxies are.
    pub proxies: Vec<TrustedPeer>,
    /// The header in which they name the client.
    pub forwarded_header: ForwardedHeader,
    /// Whether they name it in front of everything else.
    pub proxy_protocol: ProxyProtocol,
}

/// Where proxies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedPeer {
    /// In a network, or at one address.
    Network(IpNet),
    /// On this machine, by a Unix socket.
    UnixSocket,
}

/// The header in which a proxy names the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ForwardedHeader {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None is believed.
    #[default]
    Off,
    /// `X-Forwarded-For`, which has no standard.
    XForwardedFor,
}

/// Whether a proxy names the client by the PROXY protocol, version 1 or 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ProxyProtocol {
    /// It does not, and who does is told that this is not HTTP.
    #[default]
    Off,
    /// A trusted proxy may.
    Optional,
    /// Every connection must be a trusted proxy's that does.
    Required,
}

impl ClientAddrPolicy {
    /// Whether somebody else than the peer of the socket may be the client.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        self.proxies.iter().any(|proxies| match (proxies, peer.ip()) {
            (TrustedPeer::Network(network), Some(address)) => network.contains(&address),
            (TrustedPeer::UnixSocket, None) => true,
            (TrustedPeer::Network(_), None) | (TrustedPeer::UnixSocket, Some(_)) => false,
        })
    }

    /// Whether the client is known only when the request has been read.
    pub(crate) fn names_clients_in_requests(&self, peer: Peer) -> bool {
        self.forwarded_header != ForwardedHeader::Off && self.is_proxy(peer)
    }

    /// Reads the PROXY header, if there is to be one, and says who is behind it.
    ///
    /// What goes wrong without a rejection is that the peer has gone before its first byte: a load
    /// balancer that only looks whether the port is open does so, and that is nobody's fault.
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
                    stream.skip(length).await.map_err(|_| BAD)?;
                    // The proxy itself is asking, to see whether we are well.
                    return Ok(client.map_or(peer, Peer::Address));
                }
                ProxyHeader::Incomplete => match stream.peek_more().await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if stream.peeked().is_empty() => return Err(None),
                    // Not even HTTP can come any more.
                    Ok(0) | Err(_) => return Err(BAD),
                },
            }
        }
    }

    /// Whom the request is from, if it came by way of `peer`.
    ///
    /// Each proxy adds who it heard from on the right. So the list is walked from there, past those
    /// that are trusted; the first that is not is the client, and what stands left of it may be made
    /// up. Where something stands that is no address, the last that was one counts.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, peer: Peer) -> Peer {
        if !self.names_clients_in_requests(peer) {
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
        // A host part is a slip of the pen that would trust more than was meant.
        if network.addr() == network.network() {
            Ok(Self::Network(network))
        } else {
            Err(ParseNetworkError)
        }
    }
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNetworkError;

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be addresses, networks without a host part such as 10.0.0.0/8, or unix for \
             whoever comes by a Unix socket",
        )
    }
}

impl std::error::Error for ParseNetworkError {}
