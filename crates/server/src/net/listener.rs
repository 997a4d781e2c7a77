//! Listening sockets: bound or inherited, TCP or Unix.

use std::fmt;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use transport::Peer;

use crate::net::accept_errors::is_connection_error;
use crate::net::address::ListenAddress;
use crate::net::inherited::{InheritedSocket, InheritedSockets};
use crate::net::stream::Stream;
use crate::net::tcp_write::INITIAL_SEND_BUFFER;
use crate::net::unix_socket::{self, SocketFile};

/// The listen backlog. With a shorter one, a burst of connections loses SYNs, which are retransmitted
/// after a second.
const BACKLOG: u16 = 4096;

/// The mode of the admin listener's Unix socket: only the user of the server may connect.
const ADMIN_MODE: u32 = 0o600;

/// Addresses to listen on, and options of the sockets.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The addresses for clients, at least one.
    pub addresses: Vec<ListenAddress>,
    /// The mode of the clients' Unix sockets.
    pub unix_mode: u32,
    /// The address of the admin listener.
    pub admin: Option<ListenAddress>,
    /// The size of the socket buffers in each direction, in bytes; `None` keeps the system's default.
    pub socket_buffer_bytes: Option<usize>,
}

/// All sockets that the server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) public: Vec<Listener>,
    pub(crate) admin: Option<Listener>,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Dropped before `socket`: see [`SocketFile`].
    _file: Option<SocketFile>,
    socket: ListeningSocket,
    /// Whether the socket was inherited. Then another process has it as well, and it still listens after
    /// this process has ended.
    pub(crate) is_shared: bool,
    /// Whether connections use TLS.
    pub(crate) is_encrypted: bool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// Binds all addresses, or none. Inherited sockets replace the addresses in the options.
    /// `has_certificate` decides whether an inherited socket named `tls` can be served.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound, or inherited socket that cannot be used.
    pub fn bind(
        options: &ListenOptions,
        has_certificate: bool,
        inherited: InheritedSockets,
    ) -> Result<Self, BindError> {
        let adopt = |key, socket, is_encrypted| {
            let adopted = if is_encrypted && !has_certificate {
                Err(io::Error::other("it is named tls, and tls_cert_file is not set"))
            } else {
                Listener::adopt(socket, is_encrypted)
            };
            adopted.map_err(|error| BindError {
                key,
                address: "an inherited socket".to_owned(),
                error,
            })
        };
        let bind = |key, address: &ListenAddress, mode, families| {
            Listener::bind(address, mode, families).map_err(|error| BindError {
                key,
                address: address.to_string(),
                error,
            })
        };
        let public: Vec<Listener> = if inherited.public.is_empty() {
            let (addresses, mode) = (&options.addresses, options.unix_mode);
            let bound = addresses.iter().map(|address| {
                bind("listen", address, mode, IpFamilies::for_address(address, addresses))
            });
            bound.collect::<Result<_, _>>()?
        } else {
            let public = inherited.public.into_iter();
            let adopted = public.map(|(socket, is_tls)| adopt("listen", socket, is_tls));
            adopted.collect::<Result<_, _>>()?
        };
        let admin = match (inherited.admin, &options.admin) {
            (Some(socket), _) => Some(adopt("admin_listen", socket, false)?),
            (None, Some(address)) => {
                Some(bind("admin_listen", address, ADMIN_MODE, IpFamilies::Both)?)
            }
            (None, None) => None,
        };
        for listener in public.iter().chain(&admin) {
            // Best effort: on failure the system default applies.
            let _ = listener.set_buffer_sizes(options.socket_buffer_bytes);
        }
        Ok(Self { public, admin })
    }

    /// Returns the TCP addresses for clients.
    #[must_use]
    pub fn ports(&self) -> Vec<SocketAddr> {
        self.public.iter().filter_map(Listener::port).collect()
    }

    /// Returns the TCP addresses for clients without TLS.
    #[must_use]
    pub fn plain_ports(&self) -> Vec<SocketAddr> {
        let plain = self.public.iter().filter(|listener| !listener.is_encrypted);
        plain.filter_map(Listener::port).collect()
    }

    /// Returns whether any listener for clients uses TLS.
    #[must_use]
    pub fn are_encrypted(&self) -> bool {
        self.public.iter().any(|listener| listener.is_encrypted)
    }

    /// Returns the addresses for clients in the syntax of the configuration. Port 0 is replaced by the
    /// port that the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.public.iter().map(Listener::address).collect()
    }

    /// Returns the address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(Listener::address)
    }

    /// Returns whether any socket for clients was inherited, and so is shared with another process.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.public.iter().any(|listener| listener.is_shared)
    }
}

impl Listener {
    fn bind(address: &ListenAddress, mode: u32, families: IpFamilies) -> io::Result<Self> {
        let (socket, file) = match address {
            ListenAddress::Tcp(address) | ListenAddress::Tls(address) => {
                (ListeningSocket::Tcp(tcp(*address, families)?), None)
            }
            ListenAddress::Unix(path) => {
                let (listener, file) = unix_socket::listen(path, mode, BACKLOG)?;
                (ListeningSocket::Unix(UnixListener::from_std(listener)?), Some(file))
            }
        };
        let is_encrypted = matches!(address, ListenAddress::Tls(_));
        Ok(Self::new(socket, false, is_encrypted, file))
    }

    fn adopt(socket: InheritedSocket, is_encrypted: bool) -> io::Result<Self> {
        let socket = match socket {
            InheritedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                ListeningSocket::Tcp(TcpListener::from_std(listener)?)
            }
            InheritedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                ListeningSocket::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Self::new(socket, true, is_encrypted, None))
    }

    fn new(
        socket: ListeningSocket,
        is_shared: bool,
        is_encrypted: bool,
        file: Option<SocketFile>,
    ) -> Self {
        if let ListeningSocket::Tcp(listener) = &socket {
            // Frames are small, and Nagle's algorithm would delay them. Connections inherit the option
            // from their listener. Best effort: on failure frames are late.
            let _ = sockopt::set_tcp_nodelay(listener, true);
        }
        Self { _file: file, socket, is_shared, is_encrypted }
    }

    /// Accepts the next connection, and returns it with its peer. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        Ok(match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (stream.into(), peer.into())
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                (stream.into(), Peer::Local)
            }
        })
    }

    /// Closes the listener, and returns the connections left in its backlog. For their clients they are
    /// established, so they get a response, too.
    ///
    /// This calls `accept` of the system directly: tokio may not have received the event of the latest
    /// ones.
    pub(crate) fn into_pending_connections(self) -> Vec<(Stream, Peer)> {
        // Dropped before the socket is closed: see `SocketFile`.
        let Self { _file: file, socket, .. } = self;
        let mut accept: Box<dyn FnMut() -> io::Result<(Stream, Peer)>> = match socket {
            ListeningSocket::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                Box::new(move || {
                    let (stream, peer) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((TcpStream::from_std(stream)?.into(), peer.into()))
                })
            }
            ListeningSocket::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((UnixStream::from_std(stream)?.into(), Peer::Local))
                })
            }
        };
        // At most `BACKLOG`: a burst of connections must not keep the port open.
        let accepted = iter::from_fn(|| Some(accept()))
            .take(BACKLOG.into())
            .take_while(|accepted| accepted.as_ref().err().is_none_or(is_connection_error))
            .flatten()
            .collect();
        drop(file);
        accepted
    }

    /// Sets the sizes of the socket buffers. Connections must inherit them from their listener: TCP
    /// negotiates the window scale before a connection is accepted.
    fn set_buffer_sizes(&self, bytes: Option<usize>) -> io::Result<()> {
        if let ListeningSocket::Tcp(listener) = &self.socket {
            let send = bytes.map_or(INITIAL_SEND_BUFFER, |bytes| bytes.min(INITIAL_SEND_BUFFER));
            sockopt::set_socket_send_buffer_size(listener, send)?;
            if let Some(bytes) = bytes {
                sockopt::set_socket_recv_buffer_size(listener, bytes)?;
            }
        }
        Ok(())
    }

    fn port(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
        }
    }

    /// Returns the address in the syntax of the configuration.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let address = listener.local_addr().map(|address| address.to_string());
                let prefix = if self.is_encrypted { "tls:" } else { "" };
                format!("{prefix}{}", address.unwrap_or_default())
            }
            ListeningSocket::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("unix:{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }
}

/// The error of listening on an address.
#[derive(Debug)]
pub struct BindError {
    /// The key of the setting with the address.
    pub key: &'static str,
    /// The address in the syntax of that setting.
    pub address: String,
    /// The cause.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl BindError {
    /// Returns whether the system lacks a resource, so that the address may still be valid.
    pub(crate) fn is_shortage(&self) -> bool {
        let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        shortages.iter().any(|errno| self.error.raw_os_error() == Some(errno.raw_os_error()))
    }
}

impl std::error::Error for BindError {}

/// The IP versions that a listener on `[::]` accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IpFamilies {
    /// IPv6, and IPv4 as mapped addresses.
    Both,
    /// IPv6 only: another listener has the IPv4 port, which can be bound once.
    Ipv6,
}

impl IpFamilies {
    /// Returns the IP versions for `address`, which is one of `all`.
    fn for_address(address: &ListenAddress, all: &[ListenAddress]) -> Self {
        let Some(port) = address.tcp().map(|address| address.port()) else { return Self::Both };
        // The system chooses another port for each port 0.
        let is_ipv4 = |other: &SocketAddr| {
            port != 0 && other.port() == port && other.ip().to_canonical().is_ipv4()
        };
        let mut others = all.iter().filter_map(ListenAddress::tcp);
        if others.any(|other| is_ipv4(&other)) { Self::Ipv6 } else { Self::Both }
    }
}

fn tcp(address: SocketAddr, families: IpFamilies) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a restart fails while connections of the previous process exist, as in TIME-WAIT.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Set either way: the default depends on a system setting.
        sockopt::set_ipv6_v6only(&socket, families == IpFamilies::Ipv6)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_inherits_the_buffer_sizes_of_its_listener() {
        let options = ListenOptions {
            addresses: vec![ListenAddress::Tcp(([127, 0, 0, 1], 0).into())],
            unix_mode: 0o600,
            admin: None,
            socket_buffer_bytes: Some(50_000),
        };
        let listeners =
            Listeners::bind(&options, false, InheritedSockets::default()).expect("a port is free");
        let listener = listeners.public.first().expect("there is one");
        let port = listener.port().expect("it is a port");
        let _client = TcpStream::connect(port).await.expect("it listens");
        let ListeningSocket::Tcp(listener) = &listener.socket else { panic!("it is TCP") };
        let (stream, _) = listener.accept().await.expect("there is a client");
        let sizes = [
            sockopt::socket_recv_buffer_size(&stream).expect("it can be asked"),
            sockopt::socket_send_buffer_size(&stream).expect("it can be asked"),
        ];
        // Linux doubles the size for its own bookkeeping.
        let [receive, send] = sizes;
        assert!((50_000..=100_000).contains(&receive), "{receive}");
        assert!((INITIAL_SEND_BUFFER..=3 * INITIAL_SEND_BUFFER).contains(&send), "{send}");
    }
}
