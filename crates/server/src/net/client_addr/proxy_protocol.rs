//! The header of the PROXY protocol, version 1 or 2.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig};

/// A header of the PROXY protocol is not longer. Its second version has room for 64 KiB; a client's
/// certificate among its TLVs takes 2 to 3 KiB, and one with post-quantum keys twice as much or more.
const MAX_HEADER_BYTES_V2: usize = 16 << 10;

/// What the two versions of the PROXY protocol begin with.
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the second version has in front of its addresses: the signature, the command, the family, the
/// length of what follows.
const V2_HEAD_BYTES: usize = 16;

/// The command of a proxy that connects on its own behalf.
const V2_LOCAL: u8 = 0x20;

/// What a beginning of a stream is to the PROXY protocol.
#[derive(Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// It begins with something else.
    Absent,
    /// It begins like a header and is none.
    Invalid,
    /// It is a header of so many bytes, of which those at the end may not have come.
    Complete {
        /// Who is behind the proxy; `None` is the proxy itself.
        client: Option<SocketAddr>,
        /// What to skip.
        length: usize,
    },
    /// More is needed to tell.
    Incomplete,
}

/// Looks for a header of the PROXY protocol at the beginning of a stream. 232 bytes are always enough
/// to tell: what the second version has behind its addresses (TLVs) is not looked at.
#[must_use]
pub fn parse_proxy_header(bytes: &[u8]) -> ProxyHeader {
    let is_begun = |signature: &[u8]| signature.iter().zip(bytes).all(|(a, b)| a == b);
    if let Some([command, family, high, low, addresses @ ..]) = bytes.strip_prefix(V2_SIGNATURE) {
        let length = u16::from_be_bytes([*high, *low]);
        return parse_v2(*command, *family, length, addresses);
    }
    if is_begun(V1_SIGNATURE) {
        // It has 107 bytes at most, which the library sees to.
        parse(bytes)
    } else if is_begun(V2_SIGNATURE) {
        ProxyHeader::Incomplete
    } else {
        ProxyHeader::Absent
    }
}

/// The second version, behind whose head come the addresses.
fn parse_v2(command: u8, family: u8, length: u16, addresses: &[u8]) -> ProxyHeader {
    let whole = V2_HEAD_BYTES + usize::from(length);
    if whole > MAX_HEADER_BYTES_V2 {
        return ProxyHeader::Invalid;
    }
    // Whatever else stands in it is to be ignored, the family included.
    if command == V2_LOCAL {
        return ProxyHeader::Complete { client: None, length: whole };
    }
    let address_bytes = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        // Unspecified; the library knows what is none.
        _ => 0,
    };
    if length < address_bytes {
        return ProxyHeader::Invalid;
    }
    // The library wants all TLVs before it says anything, so it is shown a header without.
    let addresses = addresses.get(..address_bytes.into()).unwrap_or(addresses);
    let head = [V2_SIGNATURE, &[command, family], &address_bytes.to_be_bytes(), addresses].concat();
    match parse(&head) {
        ProxyHeader::Complete { client, .. } => ProxyHeader::Complete { client, length: whole },
        other @ (ProxyHeader::Absent | ProxyHeader::Invalid | ProxyHeader::Incomplete) => other,
    }
}

fn parse(header: &[u8]) -> ProxyHeader {
    match proxy_header::ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((header, length)) => {
            ProxyHeader::Complete { client: header.proxied_address().map(|it| it.source), length }
        }
        Err(Error::BufferTooShort) => ProxyHeader::Incomplete,
        Err(_) => ProxyHeader::Invalid,
    }
}
