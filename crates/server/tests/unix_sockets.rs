//! Unix sockets: reuse of a path, permissions, removal of the file, and sessions.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use support::process::{Process, ran_as_ordinary_user, server, startup_error};
use support::server::Server;
use support::{UPGRADE, close};

/// A folder for sockets outside the target folder, whose path may be too long for a socket address.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ws-status-{name}-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn server_on(path: &Path) -> Command {
    let mut command = server();
    command.arg(listen_on(path)).arg("--log-format=json");
    command
}

fn listen_on(path: &Path) -> String {
    format!("--listen=unix:{}", path.display())
}

fn start_on(path: &Path) -> Process {
    let process = Process::run(server_on(path));
    process.event("listening");
    process
}

fn expect_startup_error(path: &Path, problem: &str) {
    let expected = format!(
        "listen from the flag --listen: cannot listen on unix:{}: {problem}",
        path.display()
    );
    assert_eq!(startup_error(server_on(path)), (2, expected));
}

/// The status line of a handshake over the socket.
fn status(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

/// Connects without blocking; fails if the backlog is full.
fn connect_nonblocking(path: &Path) -> rustix::io::Result<OwnedFd> {
    let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(unix, stream, SocketFlags::NONBLOCK, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Fills the backlog of a listener that accepts no connections.
fn fill_backlog(path: &Path) -> Vec<OwnedFd> {
    std::iter::from_fn(|| connect_nonblocking(path).ok()).take(100_000).collect()
}

#[test]
fn a_server_with_a_full_backlog_is_detected_and_keeps_its_path() {
    let folder = Folder::new("full");
    let path = folder.path("s");
    let listener = UnixListener::bind(&path).unwrap();
    let _backlog = fill_backlog(&path);
    expect_startup_error(&path, "another server listens there");
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap();
    connect_nonblocking(&path).unwrap();
}

#[test]
fn a_running_server_keeps_its_path_and_the_path_of_a_killed_one_is_reused() {
    let folder = Folder::new("lives");
    let path = folder.path("s");
    let mut process = start_on(&path);
    expect_startup_error(&path, "another server listens there");
    assert_eq!(status(&path), "HTTP/1.1 101");
    process.signal(Signal::KILL);
    process.child.wait().unwrap();
    assert!(path.exists());
    let mut process = start_on(&path);
    assert_eq!(status(&path), "HTTP/1.1 101");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    assert!(!path.exists());
}

#[test]
fn a_server_that_ends_does_not_remove_the_socket_of_its_successor() {
    let folder = Folder::new("successor");
    let path = folder.path("s");
    let mut process = start_on(&path);
    fs::remove_file(&path).unwrap();
    let _successor = start_on(&path);
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    assert_eq!(status(&path), "HTTP/1.1 101");
}

#[test]
fn the_socket_has_the_configured_mode_under_any_umask() {
    let folder = Folder::new("mode");
    for mask in ["000", "077"] {
        let path = folder.path(mask);
        let mut command = Command::new("/bin/sh");
        let script = format!("umask {mask}; exec \"$0\" \"$@\"");
        command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
        command.arg(listen_on(&path));
        command.args(["--listen-unix-mode=0620", "--log-format=json"]);
        let process = Process::run(command);
        process.event("listening");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620, "{mask}");
    }
}

#[test]
fn a_path_that_is_not_the_socket_of_a_killed_server_fails_the_start() {
    let folder = Folder::new("paths");
    let file = folder.path("file");
    fs::write(&file, "precious").unwrap();
    expect_startup_error(&file, "there is a file that is no socket");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let link = folder.path("link");
    symlink(folder.path("elsewhere"), &link).unwrap();
    expect_startup_error(&link, "there is a symbolic link");

    let datagrams = folder.path("datagrams");
    let _socket = UnixDatagram::bind(&datagrams).unwrap();
    expect_startup_error(&datagrams, "another server listens there");

    expect_startup_error(&folder.path("missing/s"), "its directory does not exist");
    expect_startup_error(&folder.path(&"x".repeat(108)), "the path is too long for a socket");
    expect_startup_error(&file.join("s"), "Not a directory (os error 20)");
}

#[test]
fn a_server_that_refuses_permission_to_connect_keeps_its_path() {
    if ran_as_ordinary_user("a_server_that_refuses_permission_to_connect_keeps_its_path") {
        return;
    }
    let folder = Folder::new("forbidden");
    let path = folder.path("s");
    let _other = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    let problem = "there is a socket, and whether a server listens on it cannot be determined: Permission \
                   denied (os error 13)";
    let (code, message) = startup_error(server_on(&path));
    assert_eq!(code, 2);
    assert!(message.ends_with(problem), "{message}");
    assert!(path.exists());
}

#[test]
fn a_session_over_a_unix_socket_is_drained() {
    let folder = std::env::temp_dir().join(format!("ws-status-unix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("public.sock");
    let listen = format!("--listen=unix:{}", path.display());
    let mut server = Server::start(&[&listen, "--listen-unix-mode=0600"]);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        head.extend(byte);
    }
    server.begin_shutdown();
    let mut close_frame = [0; 11];
    std::io::Read::read_exact(&mut stream, &mut close_frame).unwrap();
    assert_eq!(&close_frame, b"\x88\x09\x03\xe9drained");
    stream.write_all(&close(1001, "")).unwrap();
    assert_eq!(server.join().clean, 1);
    assert!(!path.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
