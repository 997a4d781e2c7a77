//! The header of the PROXY protocol, version 1 or 2.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};

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
