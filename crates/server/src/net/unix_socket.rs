//! Unix listening sockets and their files: replacing stale files, permissions, and removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::{io::ioctl_fionbio, net};

/// The file of a socket. If this process owns it, dropping this removes the file, unless another process has
/// replaced it.
///
/// Drop it before the socket is closed: until then no other file can get the same inode.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    is_owned: AtomicBool,
}

/// The device and the inode of a file.
type Identity = (u64, u64);

/// Listens on `path`, whose file gets `mode`. Does not block on another process.
///
/// # Errors
///
/// The path is not usable for a socket, another kind of file exists there, or another server listens
/// there.
pub(crate) fn listen(
    path: &Path,
    mode: u32,
    backlog: u16,
) -> io::Result<(unix::net::UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => io::Error::other("the path is too long for a socket"),
        other => other.into(),
    })?;
    remove_stale_socket(path, &address)?;
    let socket = stream_socket()?;
    net::bind(&socket, &address).map_err(|error| match error {
        Errno::NOENT => io::Error::other("its directory does not exist"),
        Errno::ADDRINUSE => address_in_use(),
        other => other.into(),
    })?;
    let file = SocketFile::new(path, &fs::symlink_metadata(path)?, true);
    // Clients can connect only after `listen`, so the mode set by `bind` never takes effect.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    net::listen(&socket, backlog.into())?;
    Ok((socket.into(), file))
}

impl SocketFile {
    fn new(path: &Path, file: &fs::Metadata, is_owned: bool) -> Self {
        let identity = (file.dev(), file.ino());
        Self { path: path.to_owned(), identity, is_owned: is_owned.into() }
    }

    /// Finds the file of a socket that another process has created and still owns, and sets its mode. Returns
    /// `None` if there is no socket at the path.
    ///
    /// # Errors
    ///
    /// The mode cannot be set.
    pub(crate) fn of_other(path: &Path, mode: u32) -> io::Result<Option<Self>> {
        let Some(file) = socket_at(path) else { return Ok(None) };
        if file.permissions().mode() & 0o777 != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(Some(Self::new(path, &file, false)))
    }

    /// Finds the file of a socket that another process has created and still owns, and that this process does
    /// not use. Returns `None` if there is no socket at the path.
    pub(crate) fn of_unused(path: &Path) -> Option<Self> {
        socket_at(path).map(|file| Self::new(path, &file, false))
    }

    /// Makes this process the owner of the file.
    pub(crate) fn own(&self) {
        self.is_owned.store(true, Ordering::Relaxed);
    }

    /// Leaves the file to another process.
    pub(crate) fn leave(&self) {
        self.is_owned.store(false, Ordering::Relaxed);
    }

    /// Returns the path, if the file is still there.
    pub(crate) fn path(&self) -> Option<&Path> {
        let file = fs::symlink_metadata(&self.path).ok()?;
        ((file.dev(), file.ino()) == self.identity).then_some(&self.path)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_owned.load(Ordering::Relaxed) && self.path().is_some() {
            // Best effort: the next process that listens there removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn socket_at(path: &Path) -> Option<fs::Metadata> {
    fs::symlink_metadata(path).ok().filter(|file| file.file_type().is_socket())
}

/// Removes the socket file of a process that was killed. Only `ECONNREFUSED` shows that no process
/// listens: a full backlog belongs to a process that is overloaded or stopped, and without the
/// permission to connect the state is unknown.
fn remove_stale_socket(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if found.is_symlink() {
        return Err(io::Error::other("there is a symbolic link"));
    }
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is a file that is no socket"));
    }
    match net::connect(stream_socket()?, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        Err(error @ (Errno::ACCESS | Errno::PERM)) => Err(io::Error::other(format!(
            "there is a socket, and whether a server listens on it cannot be determined: {error}"
        ))),
        // Connected, a full backlog, or a socket of another type: a process has it.
        Ok(()) | Err(_) => Err(address_in_use()),
    }
}

fn address_in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")
}

/// Returns a stream socket, non-blocking and close-on-exec.
fn stream_socket() -> io::Result<OwnedFd> {
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}
