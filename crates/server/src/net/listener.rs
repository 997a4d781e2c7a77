//! Where the server is to be reached.

use std::fmt;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use transport::Peer;

use crate::net::accept_errors::is_of_one_connection;
use crate::net::address::ListenAddress;
use crate::net::inherited::{InheritedSocket, InheritedSockets};
use crate::net::stream::Stream;
use crate::net::tcp_write::INITIAL_SEND_BUFFER;
use crate::net::unix_socket::{self, SocketFile};

/// Connections that wait to be accepted. With less, a storm of them loses SYNs and waits a second.
const BACKLOG: u16 = 4096;

/// Who may connect to the admin listener's Unix socket: the user that the server runs as.
const ADMIN_MODE: u32 = 0o600;

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The addresses for clients. At least one.
    pub addresses: Vec<ListenAddress>,
    /// The permissions of the files of their Unix sockets.
    pub unix_mode: u32,
    /// Where the admin listener is, if there is one.
    pub admin: Option<ListenAddress>,
    /// What the system may keep for a client in each direction; `None` leaves it to the system.
    pub socket_buffer_bytes: Option<usize>,
}

/// Every port and path that the server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) public: Vec<Listener>,
    pub(crate) admin: Option<Listener>,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Held for its drop, which comes before that of the socket.
    _file: Option<SocketFile>,
    socket: ListeningSocket,
    /// Whether the socket was passed to us. Then somebody else has it as well, and goes on listening
    /// when we end.
    pub(crate) is_shared: bool,
    /// Whether everything on it is within TLS.
    pub(crate) is_encrypted: bool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// Binds everything, or nothing. Sockets that were passed take the place of the addresses in
    /// the options. Whether there is a certificate decides whether one that is named `tls` can be served.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub fn bind(
        options: &ListenOptions,
        has_certificate: bool,
        passed: InheritedSockets,
    ) -> Result<Self, BindError> {
        let adopt = |key, socket, is_encrypted| {
            let adopted = if is_encrypted && !has_certificate {
                Err(io::Error::other("it is named tls, and tls_cert_file is not set"))
            } else {
                Listener::adopt(socket, is_encrypted)
            };
            adopted.map_err(|error| BindError { key, address: "a passed socket".to_owned(), error })
        };
        let bind = |key, address: &ListenAddress, mode, families| {
            Listener::bind(address, mode, families).map_err(|error| BindError {
                key,
                address: address.to_string(),
                error,
            })
        };
        let public: Vec<Listener> = if passed.public.is_empty() {
            let (addresses, mode) = (&options.addresses, options.unix_mode);
            let bound = addresses.iter().map(|address| {
                bind("listen", address, mode, IpFamilies::beside(address, addresses))
            });
            bound.collect::<Result<_, _>>()?
        } else {
            let public = passed.public.into_iter();
            let adopted = public.map(|(socket, is_tls)| adopt("listen", socket, is_tls));
            adopted.collect::<Result<_, _>>()?
        };
        let admin = match (passed.admin, &options.admin) {
            (Some(socket), _) => Some(adopt("admin_listen", socket, false)?),
            (None, Some(address)) => {
                Some(bind("admin_listen", address, ADMIN_MODE, IpFamilies::Both)?)
            }
            (None, None) => None,
        };
        for listener in public.iter().chain(&admin) {
            // Where that fails, the system goes by its own.
            let _ = listener.limit_buffers(options.socket_buffer_bytes);
        }
        Ok(Self { public, admin })
    }

    /// The ports for clients.
    #[must_use]
    pub fn ports(&self) -> Vec<SocketAddr> {
        self.public.iter().filter_map(Listener::port).collect()
    }

    /// The ports for clients on which nothing is encrypted.
    #[must_use]
    pub fn plain_ports(&self) -> Vec<SocketAddr> {
        let plain = self.public.iter().filter(|listener| !listener.is_encrypted);
        plain.filter_map(Listener::port).collect()
    }

    /// Whether there is a port on which everything is.
    #[must_use]
    pub fn are_encrypted(&self) -> bool {
        self.public.iter().any(|listener| listener.is_encrypted)
    }

    /// The addresses for clients as they stand in the configuration, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.public.iter().map(Listener::address).collect()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(Listener::address)
    }

    /// Whether a socket was passed, which somebody else has as well.
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
            // Frames are small, and Nagle's algorithm would hold them back. Connections have this from
            // their listener; where it fails, frames are late.
            let _ = sockopt::set_tcp_nodelay(listener, true);
        }
        Self { _file: file, socket, is_shared, is_encrypted }
    }

    /// The next connection, and who it is with. Cancel safe.
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

    /// The connections that the system has accepted and we have not. Their clients believe that they
    /// are connected, so they get an answer, too.
    ///
    /// The system is asked directly: tokio may not have heard of the latest ones yet.
    pub(crate) fn into_pending_connections(self) -> Vec<(Stream, Peer)> {
        // The file is removed before the socket is closed, as its drop has to be.
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
        // Not for ever, or a storm of connections would keep the port open.
        let accepted = iter::from_fn(|| Some(accept()))
            .take(BACKLOG.into())
            .take_while(|accepted| accepted.as_ref().err().is_none_or(is_of_one_connection))
            .flatten()
            .collect();
        drop(file);
        accepted
    }

    /// Sets what the system may keep for each client. Connections have this from their listener, and
    /// have to: the largest window is agreed on before a connection is accepted.
    fn limit_buffers(&self, bytes: Option<usize>) -> io::Result<()> {
        if let ListeningSocket::Tcp(listener) = &self.socket {
            let first = bytes.map_or(INITIAL_SEND_BUFFER, |bytes| bytes.min(INITIAL_SEND_BUFFER));
            sockopt::set_socket_send_buffer_size(listener, first)?;
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

    pub(crate) fn address(&self) -> String {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let address = listener.local_addr().map(|address| address.to_string());
                let kind = if self.is_encrypted { "tls:" } else { "" };
                format!("{kind}{}", address.unwrap_or_default())
            }
            ListeningSocket::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("unix:{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The setting that holds it.
    pub key: &'static str,
    /// The address as it would be written there.
    pub address: String,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl BindError {
    /// Whether the system has run out of something, and the address may be good.
    pub(crate) fn is_shortage(&self) -> bool {
        let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        shortages.iter().any(|errno| self.error.raw_os_error() == Some(errno.raw_os_error()))
    }
}

impl std::error::Error for BindError {}

/// Whose connections `[::]` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IpFamilies {
    /// Those of IPv4 as well.
    Both,
    /// Those of IPv6: another listener has the port of IPv4, and the system lets it be had once.
    Ipv6,
}

impl IpFamilies {
    fn beside(address: &ListenAddress, all: &[ListenAddress]) -> Self {
        let Some(port) = address.tcp().map(|address| address.port()) else { return Self::Both };
        // Port 0 is another one each time.
        let is_ipv4 = |other: &SocketAddr| {
            port != 0 && other.port() == port && other.ip().to_canonical().is_ipv4()
        };
        let mut others = all.iter().filter_map(ListenAddress::tcp);
        if others.any(|other| is_ipv4(&other)) { Self::Ipv6 } else { Self::Both }
    }
}

fn tcp(address: SocketAddr, families: IpFamilies) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Or a restart would have to wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Said either way: what the system does by itself is a setting of its own.
        sockopt::set_ipv6_v6only(&socket, families == IpFamilies::Ipv6)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_has_the_buffers_of_its_listener() {
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
        // Linux doubles it, for its own bookkeeping.
        let [receive, send] = sizes;
        assert!((50_000..=100_000).contains(&receive), "{receive}");
        assert!((INITIAL_SEND_BUFFER..=3 * INITIAL_SEND_BUFFER).contains(&send), "{send}");
    }
}
