//! A WebSocket client on raw bytes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub const TEXT: u8 = 0x81;
/// A text message that is compressed: it has RSV1 set (RFC 7692, section 6).
pub const COMPRESSED_TEXT: u8 = 0xc1;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// A valid upgrade request.
pub const UPGRADE: &str = "GET /ws/status HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The same, with the offer that Chromium makes.
pub const UPGRADE_WITH_OFFER: &str = "GET /ws/status HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// Connects from `source`, a loopback address. Callers use several, so that the ephemeral ports of one
/// are not exhausted.
///
/// # Errors
///
/// The connection cannot be opened.
pub async fn connect(
    server: SocketAddr,
    source: Ipv4Addr,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((source, 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends the upgrade request, and returns the status of the response.
///
/// # Errors
///
/// The connection is lost, or the response is invalid.
pub async fn upgrade(stream: &mut TcpStream) -> io::Result<u16> {
    stream.write_all(UPGRADE.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte, so that no frame after the head is consumed.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let status = str::from_utf8(&head).ok().and_then(|head| head.split(' ').nth(1)?.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Encodes a client's frame, masked (RFC 6455, section 5.3).
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len());
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Encodes the header of a client's frame, up to its masking key.
#[must_use]
pub fn head(first: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length) {
        Ok(short @ 0..126) => vec![first, 0x80 | short.to_be_bytes()[1]],
        Ok(medium) => [&[first, 0x80 | 126], medium.to_be_bytes().as_slice()].concat(),
        Err(_) => [&[first, 0x80 | 127], (length as u64).to_be_bytes().as_slice()].concat(),
    }
}

/// Splits a complete frame of the server off: its first byte, its payload, and the remaining bytes.
#[must_use]
pub fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        short => (short.into(), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((first, payload, rest))
}

/// Removes a complete frame from the received bytes: its first byte, and its payload.
pub fn next_frame(inbox: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, payload, rest) = split_frame(inbox)?;
    let (payload, end) = (payload.to_vec(), inbox.len() - rest.len());
    inbox.drain(..end);
    Some((first, payload))
}
