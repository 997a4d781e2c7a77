//! Who the client is: the peer of the socket, or whom a trusted proxy names.
//!
//! It is decided here, once, before the limits; limits, logs and metrics use the same. Nothing is
//! believed from anyone who is not trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{FORWARDED, HeaderMap, HeaderValue};
use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, ProxyHeader};
use transport::{Peer, Rejection};

use crate::stream::Stream;

/// Not one of those that hyper names.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A header of the PROXY protocol is not longer. Its second version has room for 64 KiB; a client's
/// certificate among its TLVs takes 2 to 3 KiB, and one with post-quantum keys twice as much or more.
const MOST_PROXY_BYTES: usize = 16 << 10;

/// What the two versions of the PROXY protocol begin with.
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the second version has in front of its addresses: the signature, the command, the family, the
/// length of what follows.
const V2_HEAD_BYTES: usize = 16;

/// The command of a proxy that connects on its own behalf.
const V2_LOCAL: u8 = 0x20;

/// Whose word about the client is believed, and how it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Where the proxies are.
    pub proxies: Vec<Proxies>,
    /// The header in which they name the client.
    pub forwarded_header: ForwardedHeader,
    /// Whether they name it in front of everything else.
    pub proxy_protocol: ProxyProtocol,
}

/// Where proxies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// In a network, or at one address.
    In(IpNet),
    /// On this machine, by a Unix socket.
    Local,
}

/// The header in which a proxy names the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// It does not, and who does is told that this is not HTTP.
    #[default]
    Off,
    /// A trusted proxy may.
    Optional,
    /// Every connection must be a trusted proxy's that does.
    Required,
}

impl Trust {
    /// Whether somebody else than the peer of the socket may be the client.
    pub(crate) fn is_proxy(&self, peer: Peer) -> bool {
        self.proxies.iter().any(|proxies| match (proxies, peer.ip()) {
            (Proxies::In(network), Some(address)) => network.contains(&address),
            (Proxies::Local, None) => true,
            (Proxies::In(_), None) | (Proxies::Local, Some(_)) => false,
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
            match proxied(stream.seen()) {
                Proxied::Absent if is_required => return Err(BAD),
                Proxied::Bad => return Err(BAD),
                Proxied::Absent => return Ok(peer),
                Proxied::Header { client, length } => {
                    stream.skip(length).await.map_err(|_| BAD)?;
                    // The proxy itself is asking, to see whether we are well.
                    return Ok(client.map_or(peer, Peer::Address));
                }
                Proxied::Unfinished => match stream.see_more().await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if stream.seen().is_empty() => return Err(None),
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
        let hops: Vec<Option<IpAddr>> = match self.forwarded_header {
            ForwardedHeader::Off => return peer,
            ForwardedHeader::Forwarded => {
                let elements = from_the_right(headers, FORWARDED.as_str()).flat_map(elements);
                elements.filter(is_element).map(forwarded_for).collect()
            }
            ForwardedHeader::XForwardedFor => {
                let lines = from_the_right(headers, X_FORWARDED_FOR);
                let elements = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
                elements.filter(is_element).map(node).collect()
            }
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

/// What a beginning of a stream is to the PROXY protocol.
#[derive(Debug, PartialEq, Eq)]
pub enum Proxied {
    /// It begins with something else.
    Absent,
    /// It begins like a header and is none.
    Bad,
    /// It is a header of so many bytes, of which those at the end may not have come.
    Header {
        /// Who is behind the proxy; `None` is the proxy itself.
        client: Option<SocketAddr>,
        /// What to skip.
        length: usize,
    },
    /// More is needed to tell.
    Unfinished,
}

/// Looks for a header of the PROXY protocol at the beginning of a stream. 232 bytes are always enough
/// to tell: what the second version has behind its addresses (TLVs) is not looked at.
#[must_use]
pub fn proxied(bytes: &[u8]) -> Proxied {
    let is_begun = |signature: &[u8]| signature.iter().zip(bytes).all(|(a, b)| a == b);
    if let Some([command, family, high, low, addresses @ ..]) = bytes.strip_prefix(V2_SIGNATURE) {
        let length = u16::from_be_bytes([*high, *low]);
        return proxied_v2(*command, *family, length, addresses);
    }
    if is_begun(V1_SIGNATURE) {
        // It has 107 bytes at most, which the library sees to.
        parsed(bytes)
    } else if is_begun(V2_SIGNATURE) {
        Proxied::Unfinished
    } else {
        Proxied::Absent
    }
}

/// The second version, behind whose head come the addresses.
fn proxied_v2(command: u8, family: u8, length: u16, addresses: &[u8]) -> Proxied {
    let whole = V2_HEAD_BYTES + usize::from(length);
    if whole > MOST_PROXY_BYTES {
        return Proxied::Bad;
    }
    // Whatever else stands in it is to be ignored, the family included.
    if command == V2_LOCAL {
        return Proxied::Header { client: None, length: whole };
    }
    let address_bytes = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        // Unspecified; the library knows what is none.
        _ => 0,
    };
    if length < address_bytes {
        return Proxied::Bad;
    }
    // The library wants all TLVs before it says anything, so it is shown a header without.
    let addresses = addresses.get(..address_bytes.into()).unwrap_or(addresses);
    let head = [V2_SIGNATURE, &[command, family], &address_bytes.to_be_bytes(), addresses].concat();
    match parsed(&head) {
        Proxied::Header { client, .. } => Proxied::Header { client, length: whole },
        other @ (Proxied::Absent | Proxied::Bad | Proxied::Unfinished) => other,
    }
}

fn parsed(header: &[u8]) -> Proxied {
    match ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((header, length)) => {
            Proxied::Header { client: header.proxied_address().map(|it| it.source), length }
        }
        Err(Error::BufferTooShort) => Proxied::Unfinished,
        Err(_) => Proxied::Bad,
    }
}

/// The lines of a header, the last one first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.into_iter().rev()
}

/// Whether an element of a list is one. Empty ones do not count (RFC 9110, section 5.6.1.2).
fn is_element(element: &&[u8]) -> bool {
    !element.trim_ascii().is_empty()
}

/// The elements of a line of `Forwarded` (RFC 7239, section 4), the last one first.
///
/// It is read from the right as well, because only there stands what a trusted proxy has written: a
/// quote that a client opened and never closed must not swallow it.
fn elements(line: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let (mut rest, mut is_quoted) = (line, false);
    for (index, byte) in line.iter().enumerate().rev() {
        let before = line.get(..index).unwrap_or_default();
        match byte {
            b'"' if !is_quoted || !ends_in_escape(before) => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                elements.push(rest.get(index + 1..).unwrap_or_default());
                rest = before;
            }
            _ => {}
        }
    }
    elements.push(rest);
    elements
}

/// Whether a quote behind this is an escaped one (RFC 9110, section 5.6.4).
fn ends_in_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The `for` of an element; one without it is a hop that hides whom it heard from.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |byte: &u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == b';' && !is_quoted
    };
    let value = element.split(is_separator).find_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.trim_ascii())
    })?;
    let value = value.strip_prefix(b"=").unwrap_or_default().trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    node(quoted.unwrap_or(value))
}

/// An address as proxies write it: alone, with a port, or in brackets (RFC 7239, section 6).
/// `unknown` and names that a proxy made up are none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let address = match bracketed {
        Some((address, port)) => {
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            address.parse().ok().filter(|address: &IpAddr| is_port && address.is_ipv6())
        }
        None => text.parse().ok().or_else(|| {
            let (address, port) = text.split_once(':')?;
            address.parse().ok().filter(|address: &IpAddr| is_port(port) && address.is_ipv4())
        }),
    };
    address.map(|address| address.to_canonical())
}

/// RFC 7239, section 6.3, lets a proxy make one up.
fn is_port(text: &str) -> bool {
    let is_made_up = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.parse::<u16>().is_ok()
        || text.strip_prefix('_').is_some_and(|name| name.chars().all(is_made_up))
}

impl FromStr for Proxies {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        if text == "unix" {
            return Ok(Self::Local);
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| NoNetwork)?;
        // A host part is a slip of the pen that would trust more than was meant.
        if network.addr() == network.network() { Ok(Self::In(network)) } else { Err(NoNetwork) }
    }
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be addresses, networks without a host part such as 10.0.0.0/8, or unix for \
             whoever comes by a Unix socket",
        )
    }
}

impl std::error::Error for NoNetwork {}
