//! Unix listening sockets and their files: replacing stale files, permissions, and removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::{io::ioctl_fionbio, net};

/// The file of a socket that this process has bound. Dropping this removes the file, unless another
/// process has replaced it.
///
/// Drop it before the socket is closed: until then no other file can get the same inode.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
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
    let file =
        SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    // Clients can connect only after `listen`, so the mode set by `bind` never takes effect.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    net::listen(&socket, backlog.into())?;
    Ok((socket.into(), file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity) {
            // Best effort: the next process that listens there removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
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

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino())
}
