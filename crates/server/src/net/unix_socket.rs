//! A Unix socket and its file: when a path may be taken over, who may connect, and whose file is removed.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::{io::ioctl_fionbio, net};

/// The file of a socket that this process has bound. Dropping it removes the file, unless another process
/// has put its own into the place meanwhile.
///
/// It is to be dropped before the socket is closed: until then no other file gets its inode.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// The device and the inode of a file.
type Identity = (u64, u64);

/// Listens on `path`, with these permissions on its file. Never waits for another process.
///
/// # Errors
///
/// The path cannot be a socket, something else is there, or a server that lives.
pub(crate) fn listen(
    path: &Path,
    mode: u32,
    backlog: u16,
) -> io::Result<(unix::net::UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => io::Error::other("the path is too long for a socket"),
        other => other.into(),
    })?;
    make_room(path, &address)?;
    let socket = stream_socket()?;
    net::bind(&socket, &address).map_err(|error| match error {
        Errno::NOENT => io::Error::other("its directory does not exist"),
        Errno::ADDRINUSE => in_use(),
        other => other.into(),
    })?;
    let file =
        SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    // Before it listens nobody can connect, so the permissions that `bind` gave it never count.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    net::listen(&socket, backlog.into())?;
    Ok((socket.into(), file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity) {
            // Where that fails, the next process that listens there removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a process which was killed has left behind. Only a refused connection says that
/// nobody listens there: a full backlog belongs to a process that is busy or stopped, and without the
/// permission to connect nothing is known.
fn make_room(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
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
            "there is a socket, and whether a server listens on it cannot be told: {error}"
        ))),
        // Connected, a full backlog, or a socket of another type: there is a process.
        Ok(()) | Err(_) => Err(in_use()),
    }
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")
}

/// Does not wait, and is closed in processes that this one starts.
fn stream_socket() -> io::Result<OwnedFd> {
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino())
}
