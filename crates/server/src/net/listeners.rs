//! All listening sockets of the server: for clients, for operators, and for a successor process.

use std::fmt;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::net::address::ListenAddress;
use crate::net::handed_over::{HandedOver, ListenerKind};
use crate::net::inherited::InheritedSockets;
use crate::net::listener::{IpFamilies, Listener};
use crate::net::unix_socket::SocketFile;

/// The mode of the Unix sockets of the admin and the takeover listener: only the user of the server may connect.
const PRIVATE_MODE: u32 = 0o600;

/// Addresses to listen on, and options of the sockets.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The addresses for clients, at least one.
    pub addresses: Vec<ListenAddress>,
    /// The mode of the clients' Unix sockets.
    pub unix_mode: u32,
    /// The address of the admin listener.
    pub admin: Option<ListenAddress>,
    /// The path of the takeover listener's Unix socket.
    pub takeover: Option<PathBuf>,
    /// The size of the socket buffers in each direction, in bytes; `None` keeps the system's default.
    pub socket_buffer_bytes: Option<usize>,
}

/// All sockets that the server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) public: Vec<Listener>,
    pub(crate) admin: Option<Listener>,
    /// Where a successor process connects.
    pub(crate) takeover: Option<Listener>,
    /// The files of Unix sockets that the predecessor had and this process does not use.
    unused_files: Vec<SocketFile>,
}

impl Listeners {
    /// Binds all addresses, or none. Inherited sockets replace the addresses in the options, also those that
    /// the predecessor inherited. A socket that the predecessor has bound for an address is used instead of a
    /// new one. `has_certificate` decides whether an inherited socket named `tls` can be served.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound, or inherited socket that cannot be used.
    pub fn bind(
        options: &ListenOptions,
        has_certificate: bool,
        mut inherited: InheritedSockets,
        mut handed_over: HandedOver,
    ) -> Result<Self, BindError> {
        if inherited.public.is_empty() {
            let next = || handed_over.take_inherited(ListenerKind::Public);
            inherited.public = iter::from_fn(next).collect();
        }
        if inherited.admin.is_none() {
            let admin = handed_over.take_inherited(ListenerKind::Admin);
            inherited.admin = admin.map(|(socket, _)| socket);
        }
        let adopt = |kind: ListenerKind, socket, is_encrypted| {
            let adopted = if is_encrypted && !has_certificate {
                Err(io::Error::other("it is named tls, and tls_cert_file is not set"))
            } else {
                Listener::adopt(socket, is_encrypted)
            };
            adopted.map_err(|error| BindError {
                key: kind.key(),
                address: "an inherited socket".to_owned(),
                error,
            })
        };
        let mut bind = |kind: ListenerKind, address: &ListenAddress, mode, families| {
            let taken = match handed_over.take(kind, address) {
                Some(socket) => Listener::take_over(socket, address, mode, families),
                None => Ok(None),
            };
            let listener = match taken {
                Ok(Some(listener)) => Ok(listener),
                Ok(None) => Listener::bind(address, mode, families),
                Err(error) => Err(error),
            };
            listener.map_err(|error| BindError {
                key: kind.key(),
                address: address.to_string(),
                error,
            })
        };
        let public: Vec<Listener> = if inherited.public.is_empty() {
            let (addresses, mode) = (&options.addresses, options.unix_mode);
            let bound = addresses.iter().map(|address| {
                let families = IpFamilies::for_address(address, addresses);
                bind(ListenerKind::Public, address, mode, families)
            });
            bound.collect::<Result<_, _>>()?
        } else {
            let public = inherited.public.into_iter();
            let adopted =
                public.map(|(socket, is_tls)| adopt(ListenerKind::Public, socket, is_tls));
            adopted.collect::<Result<_, _>>()?
        };
        let mut bind_private =
            |kind, address: &ListenAddress| bind(kind, address, PRIVATE_MODE, IpFamilies::Both);
        let admin = match (inherited.admin, &options.admin) {
            (Some(socket), _) => Some(adopt(ListenerKind::Admin, socket, false)?),
            (None, Some(address)) => Some(bind_private(ListenerKind::Admin, address)?),
            (None, None) => None,
        };
        let takeover = options.takeover.clone().map(ListenAddress::Unix);
        let takeover =
            takeover.map(|address| bind_private(ListenerKind::Takeover, &address)).transpose()?;
        for listener in public.iter().chain(&admin) {
            // Best effort: on failure the system default applies.
            let _ = listener.set_buffer_sizes(options.socket_buffer_bytes);
        }
        let unused_files = handed_over.into_unused_files();
        Ok(Self { public, admin, takeover, unused_files })
    }

    /// Returns every socket, for the task that accepts on it, and for what hands it over.
    pub(crate) fn into_shared(self) -> Vec<(ListenerKind, Arc<Listener>)> {
        let Self { public, admin, takeover, unused_files: _ } = self;
        let public = public.into_iter().map(|listener| (ListenerKind::Public, listener));
        let admin = admin.into_iter().map(|listener| (ListenerKind::Admin, listener));
        let takeover = takeover.into_iter().map(|listener| (ListenerKind::Takeover, listener));
        let all = public.chain(admin).chain(takeover);
        all.map(|(kind, listener)| (kind, Arc::new(listener))).collect()
    }

    /// Makes this process the owner of the files of all Unix sockets: see [`Listener::own_file`]. It removes
    /// those that it does not use when it begins to serve.
    pub(crate) fn own_files(&self) {
        self.all().for_each(|(_, listener)| listener.own_file());
        self.unused_files.iter().for_each(SocketFile::own);
    }

    fn all(&self) -> impl Iterator<Item = (ListenerKind, &Listener)> {
        let public = self.public.iter().map(|listener| (ListenerKind::Public, listener));
        let admin = self.admin.iter().map(|listener| (ListenerKind::Admin, listener));
        let takeover = self.takeover.iter().map(|listener| (ListenerKind::Takeover, listener));
        public.chain(admin).chain(takeover)
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

#[cfg(test)]
mod tests;
