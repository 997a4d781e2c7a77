//! The clients of `handover`, the processes that they must not be able to tell apart, and what both report.

pub mod admin;
pub mod clients;
pub mod faults;
pub mod haproxy;
pub mod logs;
pub mod probes;
pub mod publisher;
pub mod report;
pub mod servers;
mod session;
pub mod upgrade;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where clients connect: to the server, and if there is a proxy, half of them to that.
#[derive(Clone, Copy)]
pub struct Routes {
    /// The server.
    pub direct: SocketAddr,
    /// The proxy in front of it.
    pub proxied: Option<SocketAddr>,
}

impl Routes {
    /// Returns the address for the client with this number.
    #[must_use]
    pub fn of(&self, client: usize) -> SocketAddr {
        self.proxied.filter(|_| client % 2 == 1).unwrap_or(self.direct)
    }
}

/// Returns a different loopback address for clients in turn, so that the ephemeral ports of one are not
/// exhausted.
#[must_use]
pub fn source(client: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(2 + client % 40).unwrap_or(2))
}

/// Returns addresses with different free ports.
///
/// # Errors
///
/// No port is free.
pub fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut listeners = Vec::new();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}
