//! Parses the header of the PROXY protocol, versions 1 and 2.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig};

/// The longest header of version 2 that is accepted. The format allows 64 KiB; a client certificate in a
/// TLV takes 2 to 3 KiB, and one with post-quantum keys twice as much or more.
const MAX_HEADER_BYTES_V2: usize = 16 << 10;

/// The first bytes of versions 1 and 2.
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses: signature, command, family, and the length of the rest.
const V2_HEAD_BYTES: usize = 16;

/// The command of a proxy that connects on its own behalf.
const V2_LOCAL: u8 = 0x20;

/// The result of parsing the start of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The stream does not begin with a header.
    Absent,
    /// A header whose addresses are complete. Its last bytes may not have been received.
    Complete {
        /// The client's address; `None` if the connection is the proxy's own.
        client: Option<SocketAddr>,
        /// The length of the whole header, in bytes.
        length: usize,
    },
    /// More bytes are needed.
    Incomplete,
    /// The stream begins with a signature, but the header is invalid.
    Invalid,
}

/// Parses the PROXY header at the start of a stream. 232 bytes always suffice: the TLVs of version 2,
/// which follow the addresses, are not parsed.
#[must_use]
pub fn parse_proxy_header(bytes: &[u8]) -> ProxyHeader {
    let is_prefix_of = |signature: &[u8]| signature.iter().zip(bytes).all(|(a, b)| a == b);
    if let Some([command, family, high, low, addresses @ ..]) = bytes.strip_prefix(V2_SIGNATURE) {
        let length = u16::from_be_bytes([*high, *low]);
        return parse_v2(*command, *family, length, addresses);
    }
    if is_prefix_of(V1_SIGNATURE) {
        // At most 107 bytes, which the library checks.
        parse(bytes)
    } else if is_prefix_of(V2_SIGNATURE) {
        ProxyHeader::Incomplete
    } else {
        ProxyHeader::Absent
    }
}

/// Parses version 2. `addresses` is the received part of what follows the length field.
fn parse_v2(command: u8, family: u8, length: u16, addresses: &[u8]) -> ProxyHeader {
    let total = V2_HEAD_BYTES + usize::from(length);
    if total > MAX_HEADER_BYTES_V2 {
        return ProxyHeader::Invalid;
    }
    // The rest of a LOCAL header is ignored, including the family.
    if command == V2_LOCAL {
        return ProxyHeader::Complete { client: None, length: total };
    }
    let address_bytes = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        // AF_UNSPEC, or invalid: the library rejects that.
        _ => 0,
    };
    if length < address_bytes {
        return ProxyHeader::Invalid;
    }
    // The library returns nothing until it has all TLVs, so it gets a header without them.
    let addresses = addresses.get(..address_bytes.into()).unwrap_or(addresses);
    let head = [V2_SIGNATURE, &[command, family], &address_bytes.to_be_bytes(), addresses].concat();
    match parse(&head) {
        ProxyHeader::Complete { client, .. } => ProxyHeader::Complete { client, length: total },
        other @ (ProxyHeader::Absent | ProxyHeader::Invalid | ProxyHeader::Incomplete) => other,
    }
}

fn parse(header: &[u8]) -> ProxyHeader {
    match proxy_header::ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((header, length)) => ProxyHeader::Complete {
            client: header.proxied_address().map(|address| address.source),
            length,
        },
        Err(Error::BufferTooShort) => ProxyHeader::Incomplete,
        Err(_) => ProxyHeader::Invalid,
    }
}
