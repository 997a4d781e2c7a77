//! Names and TCP connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

/// More addresses of a name than this are ignored.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Resolves a host by the resolver of the system.
///
/// # Errors
///
/// The resolver's error, or `TimedOut`.
pub(crate) async fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let addresses = timeout(limit, lookup_host((host, port))).await??;
    let mut unique: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !unique.contains(&address) && unique.len() < MAX_ADDRESSES {
            unique.push(address);
        }
    }
    Ok(unique)
}

/// Connects, from a local address if one is given.
///
/// # Errors
///
/// The error of the system, or `TimedOut`.
pub(crate) async fn connect(
    address: SocketAddr,
    bind: Option<IpAddr>,
    limit: Duration,
) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = bind {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = timeout(limit, socket.connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
