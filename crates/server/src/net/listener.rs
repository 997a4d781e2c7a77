//! A listening socket: bound, inherited or handed over, TCP or Unix.

use std::io;
use std::iter;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix;
use std::path::Path;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use transport::Peer;

use crate::net::accept_errors::is_connection_error;
use crate::net::address::ListenAddress;
use crate::net::handed_over::{INHERITED, ListenerKind, SocketDescription};
use crate::net::inherited::InheritedSocket;
use crate::net::stream::Stream;
use crate::net::tcp_write::INITIAL_SEND_BUFFER;
use crate::net::unix_socket::{self, SocketFile};

/// The listen backlog. With a shorter one, a burst of connections loses SYNs, which are retransmitted
/// after a second.
const BACKLOG: u16 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Dropped before `socket`: see [`SocketFile`].
    file: Option<SocketFile>,
    socket: ListeningSocket,
    /// The address as it is configured; `None` if the socket was inherited.
    configured: Option<ListenAddress>,
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

impl TryFrom<InheritedSocket> for ListeningSocket {
    type Error = io::Error;

    fn try_from(socket: InheritedSocket) -> io::Result<Self> {
        Ok(match socket {
            InheritedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            InheritedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?)
            }
        })
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Binds an address, and listens. `mode` is that of a Unix socket's file.
    pub(crate) fn bind(
        address: &ListenAddress,
        mode: u32,
        families: IpFamilies,
    ) -> io::Result<Self> {
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
        Ok(Self::new(socket, file, is_encrypted, Some(address.clone())))
    }

    /// Uses a socket that the service manager has bound.
    pub(crate) fn adopt(socket: InheritedSocket, is_encrypted: bool) -> io::Result<Self> {
        Ok(Self::new(socket.try_into()?, None, is_encrypted, None))
    }

    /// Uses a socket that the predecessor has bound for `address`, and still uses. Returns `None` if it is
    /// not as [`bind`](Self::bind) would make it.
    ///
    /// The predecessor owns the file of a Unix socket until [`own_file`](Self::own_file) is called.
    pub(crate) fn take_over(
        (description, socket): (SocketDescription, InheritedSocket),
        address: &ListenAddress,
        mode: u32,
        families: IpFamilies,
    ) -> io::Result<Option<Self>> {
        let file = match (&socket, address) {
            (
                InheritedSocket::Tcp(it),
                ListenAddress::Tcp(address) | ListenAddress::Tls(address),
            ) if !is_any_ipv6(*address)
                || sockopt::ipv6_v6only(it)? == (families == IpFamilies::Ipv6) =>
            {
                None
            }
            (InheritedSocket::Unix(_), ListenAddress::Unix(path))
                if description.path.as_ref() == Some(path) =>
            {
                let Some(file) = SocketFile::of_other(path, mode)? else { return Ok(None) };
                Some(file)
            }
            (InheritedSocket::Tcp(_) | InheritedSocket::Unix(_), _) => return Ok(None),
        };
        let is_encrypted = matches!(address, ListenAddress::Tls(_));
        Ok(Some(Self::new(socket.try_into()?, file, is_encrypted, Some(address.clone()))))
    }

    fn new(
        socket: ListeningSocket,
        file: Option<SocketFile>,
        is_encrypted: bool,
        configured: Option<ListenAddress>,
    ) -> Self {
        if let ListeningSocket::Tcp(listener) = &socket {
            // Frames are small, and Nagle's algorithm would delay them. Connections inherit the option
            // from their listener. Best effort: on failure frames are late.
            let _ = sockopt::set_tcp_nodelay(listener, true);
        }
        Self { file, socket, is_shared: configured.is_none(), is_encrypted, configured }
    }

    /// Describes the socket for a successor process.
    pub(crate) fn describe(&self, kind: ListenerKind) -> SocketDescription {
        let configured = self.configured.as_ref();
        SocketDescription {
            kind,
            address: configured.map_or_else(|| INHERITED.to_owned(), ToString::to_string),
            is_encrypted: self.is_encrypted,
            is_shared: self.is_shared,
            path: self.file.as_ref().and_then(SocketFile::path).map(Path::to_owned),
        }
    }

    /// Makes this process the owner of the file of a Unix socket that it has taken over: it removes the file
    /// when it closes the socket. To be called when the handover is committed.
    pub(crate) fn own_file(&self) {
        self.file.iter().for_each(SocketFile::own);
    }

    /// Leaves the file of a Unix socket to a successor process. To be called when the handover is committed.
    pub(crate) fn leave_file(&self) {
        self.file.iter().for_each(SocketFile::leave);
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

    /// Accepts the next connection of a listener that has a Unix socket, as that of a successor has. Cancel
    /// safe.
    pub(crate) async fn accept_unix(&self) -> io::Result<UnixStream> {
        match &self.socket {
            ListeningSocket::Unix(listener) => listener.accept().await.map(|(stream, _)| stream),
            ListeningSocket::Tcp(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the connections in the backlog. For their clients they are established, so they get a response,
    /// too, when the listener is closed.
    ///
    /// This calls `accept` of the system directly: tokio may not have received the event of the latest
    /// ones.
    pub(crate) fn pending_connections(&self) -> Vec<(Stream, Peer)> {
        let Ok(descriptor) = self.as_fd().try_clone_to_owned() else { return Vec::new() };
        let mut accept: Box<dyn FnMut() -> io::Result<(Stream, Peer)>> = match &self.socket {
            ListeningSocket::Tcp(_) => {
                let listener = net::TcpListener::from(descriptor);
                Box::new(move || {
                    let (stream, peer) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((TcpStream::from_std(stream)?.into(), peer.into()))
                })
            }
            ListeningSocket::Unix(_) => {
                let listener = unix::net::UnixListener::from(descriptor);
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((UnixStream::from_std(stream)?.into(), Peer::Local))
                })
            }
        };
        // At most `BACKLOG`: a burst of connections must not keep the port open.
        iter::from_fn(|| Some(accept()))
            .take(BACKLOG.into())
            .take_while(|accepted| accepted.as_ref().err().is_none_or(is_connection_error))
            .flatten()
            .collect()
    }

    /// Sets the sizes of the socket buffers. Connections must inherit them from their listener: TCP
    /// negotiates the window scale before a connection is accepted.
    pub(crate) fn set_buffer_sizes(&self, bytes: Option<usize>) -> io::Result<()> {
        if let ListeningSocket::Tcp(listener) = &self.socket {
            let send = bytes.map_or(INITIAL_SEND_BUFFER, |bytes| bytes.min(INITIAL_SEND_BUFFER));
            sockopt::set_socket_send_buffer_size(listener, send)?;
            if let Some(bytes) = bytes {
                sockopt::set_socket_recv_buffer_size(listener, bytes)?;
            }
        }
        Ok(())
    }

    /// Returns the TCP address.
    pub(crate) fn port(&self) -> Option<SocketAddr> {
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

/// The IP versions that a listener on `[::]` accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpFamilies {
    /// IPv6, and IPv4 as mapped addresses.
    Both,
    /// IPv6 only: another listener has the IPv4 port, which can be bound once.
    Ipv6,
}

impl IpFamilies {
    /// Returns the IP versions for `address`, which is one of `all`.
    pub(crate) fn for_address(address: &ListenAddress, all: &[ListenAddress]) -> Self {
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
    if is_any_ipv6(address) {
        // Set either way: the default depends on a system setting.
        sockopt::set_ipv6_v6only(&socket, families == IpFamilies::Ipv6)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

fn is_any_ipv6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_inherits_the_buffer_sizes_of_its_listener() {
        let address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&address, 0, IpFamilies::Both).expect("a port is free");
        listener.set_buffer_sizes(Some(50_000)).expect("they can be set");
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
