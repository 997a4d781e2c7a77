//! Where the server is to be reached.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::{AdminAddress, Config};

/// Connections that wait to be accepted. With less, a storm of them loses SYNs and waits a second.
pub(crate) const BACKLOG: u16 = 4096;

/// Who may connect to a Unix socket: the user that the server runs as.
const MODE: u32 = 0o600;

/// Every port and path that the server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) public: Vec<TcpListener>,
    pub(crate) admin: Option<AdminListener>,
}

#[derive(Debug)]
pub(crate) enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket. It goes away with whoever listened there.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Listeners {
    /// Binds everything, or nothing.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let public = config.listen.iter().map(|address| {
            tcp(*address).map_err(|error| BindError::new("listen", address.to_string(), error))
        });
        let admin = config.admin_listen.as_ref().map(|address| {
            let (name, listener) = match address {
                AdminAddress::Tcp(address) => {
                    (address.to_string(), tcp(*address).map(AdminListener::Tcp))
                }
                AdminAddress::Unix(path) => (format!("unix:{}", path.display()), unix(path)),
            };
            listener.map_err(|error| BindError::new("admin_listen", name, error))
        });
        Ok(Self { public: public.collect::<Result<_, _>>()?, admin: admin.transpose()? })
    }

    /// The addresses for clients, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.public.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where the admin listener is: an address, or `unix:/PATH`.
    #[must_use]
    pub fn admin_address(&self) -> Option<String> {
        Some(match self.admin.as_ref()? {
            AdminListener::Tcp(listener) => listener.local_addr().ok()?.to_string(),
            AdminListener::Unix(_, SocketFile(path)) => format!("unix:{}", path.display()),
        })
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

impl BindError {
    fn new(key: &'static str, address: String, error: io::Error) -> Self {
        Self { key, address, error }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for BindError {}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Where that fails, the next to listen there takes it away.
        let _ = fs::remove_file(&self.0);
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Or a restart would have to wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

fn unix(path: &Path) -> io::Result<AdminListener> {
    // A process that was killed leaves its file behind, and nobody answers there any more.
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(AdminListener::Unix(listener, file))
}
