//! Unix sockets: whose path may be taken over, who may connect, and whose file goes away.
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
use support::UPGRADE;
use support::process::{Process, ran_as_ordinary_user, refusal, server};

/// A folder for sockets, which is not in the target folder: that path may be too long for them.
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

fn expect_refusal(path: &Path, problem: &str) {
    let expected = format!(
        "listen from the flag --listen: cannot listen on unix:{}: {problem}",
        path.display()
    );
    assert_eq!(refusal(server_on(path)), (2, expected));
}

/// The status of an answer to a client that comes by the socket.
fn status(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

/// A connection that is not waited for, if there is room for it.
fn connect_at_once(path: &Path) -> rustix::io::Result<OwnedFd> {
    let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(unix, stream, SocketFlags::NONBLOCK, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Clients that fill the backlog of a listener that accepts nobody.
fn fill_backlog(path: &Path) -> Vec<OwnedFd> {
    std::iter::from_fn(|| connect_at_once(path).ok()).take(100_000).collect()
}

#[test]
fn a_server_whose_backlog_is_full_is_noticed_and_keeps_its_path() {
    let folder = Folder::new("full");
    let path = folder.path("s");
    let busy = UnixListener::bind(&path).unwrap();
    let _waiting = fill_backlog(&path);
    expect_refusal(&path, "another server listens there");
    busy.set_nonblocking(true).unwrap();
    busy.accept().unwrap();
    connect_at_once(&path).unwrap();
}

#[test]
fn a_server_that_lives_keeps_its_path_and_one_that_was_killed_does_not() {
    let folder = Folder::new("lives");
    let path = folder.path("s");
    let mut process = start_on(&path);
    expect_refusal(&path, "another server listens there");
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
fn a_server_that_ends_leaves_the_file_of_its_successor() {
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
fn only_those_who_may_can_connect_whatever_the_mask_is() {
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
fn what_is_at_the_path_and_is_no_socket_of_a_server_that_was_killed_stops_the_start() {
    let folder = Folder::new("paths");
    let file = folder.path("file");
    fs::write(&file, "precious").unwrap();
    expect_refusal(&file, "there is a file that is no socket");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let link = folder.path("link");
    symlink(folder.path("elsewhere"), &link).unwrap();
    expect_refusal(&link, "there is a symbolic link");

    let datagrams = folder.path("datagrams");
    let _socket = UnixDatagram::bind(&datagrams).unwrap();
    expect_refusal(&datagrams, "another server listens there");

    expect_refusal(&folder.path("missing/s"), "its directory does not exist");
    expect_refusal(&folder.path(&"x".repeat(108)), "the path is too long for a socket");
    expect_refusal(&file.join("s"), "Not a directory (os error 20)");
}

#[test]
fn a_server_that_we_may_not_connect_to_keeps_its_path() {
    if ran_as_ordinary_user("a_server_that_we_may_not_connect_to_keeps_its_path") {
        return;
    }
    let folder = Folder::new("forbidden");
    let path = folder.path("s");
    let _theirs = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    let problem = "there is a socket, and whether a server listens on it cannot be told: Permission \
                   denied (os error 13)";
    let (code, sentence) = refusal(server_on(&path));
    assert_eq!(code, 2);
    assert!(sentence.ends_with(problem), "{sentence}");
    assert!(path.exists());
}
