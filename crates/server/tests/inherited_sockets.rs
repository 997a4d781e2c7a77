//! Sockets that systemd passes to the process: served ones, and those that fail the start.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use support::Client;
use support::process::{
    Process, documented, fields, startup_error, with_descriptor, with_inherited,
};

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn an_inherited_socket_named_admin_is_the_admin_listener() {
    let folder = std::env::temp_dir().join(format!("ws-status-passed-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let process = Process::start_as(with_inherited(listener, "admin"), &[]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Client::open(process.address);
    drop(process);
    assert!(path.exists(), "the server does not remove an inherited socket");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn inherited_sockets_with_other_names_are_for_clients() {
    for name in ["", "public", "unknown", "ws-status.socket"] {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let process = Process::start_as(with_inherited(listener, name), &["--drain-delay-secs=1"]);
        assert_eq!(process.address, address, "{name}");
        Client::open(address);
    }
}

#[test]
fn a_descriptor_that_is_no_listening_stream_socket_fails_the_start() {
    let listening = listener();
    let connected = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
    let accepted = listening.accept().unwrap().0;
    let (left, _right) = UnixStream::pair().unwrap();
    let (pipe, _writer) = io::pipe().unwrap();
    let no_stream = "is no stream socket of TCP or Unix";
    let does_not_listen = "does not listen; it may be a connection, which systemd passes with \
                           Accept=yes";
    let descriptors: [(OwnedFd, &str); 7] = [
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), no_stream),
        (UnixDatagram::unbound().unwrap().into(), no_stream),
        (pipe.into(), no_stream),
        (File::open("/dev/null").unwrap().into(), no_stream),
        (connected.into(), does_not_listen),
        (accepted.into(), does_not_listen),
        (left.into(), does_not_listen),
    ];
    for (descriptor, problem) in descriptors {
        let (code, message) = startup_error(with_inherited(descriptor, "connection"));
        let expected =
            format!("LISTEN_FDS passes a socket \"connection\" (number 0) that {problem}");
        assert_eq!((code, message), (2, expected));
    }
}

#[test]
fn an_unknown_socket_name_fails_the_start() {
    let (code, message) = startup_error(with_inherited(listener(), "adimn"));
    assert_eq!(code, 2);
    let expected = "LISTEN_FDS passes a socket \"adimn\" (number 0) that has a name without a meaning \
                    here; it must be admin, tls or public, or that of a .socket unit";
    assert_eq!(message, expected);
}

#[test]
fn contradictory_variables_fail_the_start() {
    for (environment, problem) in [
        ("LISTEN_FDS=one", "LISTEN_FDS is \"one\", and must be the number of sockets passed"),
        ("LISTEN_FDS=-1", "LISTEN_FDS is \"-1\", and must be the number of sockets passed"),
        ("LISTEN_FDS=1 LISTEN_PID=me", "LISTEN_PID is \"me\", and must be the number of a process"),
        (
            "LISTEN_FDS=1 LISTEN_FDNAMES=public:tls",
            "LISTEN_FDNAMES has 2 names for the 1 sockets of LISTEN_FDS",
        ),
        (
            "LISTEN_FDS=2 LISTEN_FDNAMES=public",
            "LISTEN_FDNAMES has 1 names for the 2 sockets of LISTEN_FDS",
        ),
        // Only one socket is inherited.
        (
            "LISTEN_FDS=2",
            "LISTEN_FDS passes a socket \"\" (number 1) that is no stream socket of TCP or Unix",
        ),
    ] {
        assert_eq!(
            startup_error(with_descriptor(listener(), environment)),
            (2, problem.to_owned())
        );
    }
    let two = "exec 4<&3; LISTEN_FDS=2 LISTEN_FDNAMES=admin:admin";
    let (code, message) = startup_error(with_descriptor(listener(), two));
    assert_eq!(code, 2);
    assert!(message.contains("(number 1) that is a second admin listener"), "{message}");
}

#[test]
fn sockets_for_another_process_are_ignored_with_a_warning() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let command = with_descriptor(listener, "LISTEN_FDS=1 LISTEN_PID=1");
    let process = Process::spawn_as(command, &["--log-format=json", "--max-connections=10"]);
    let line = process.event("sockets_for_another");
    assert_eq!(fields(&line), documented("sockets_for_another"));
    assert_eq!(line["level"], "WARN");
    assert_ne!(process.event("listening")["address"], address.to_string());
}

#[test]
fn empty_variables_count_as_unset() {
    for environment in
        ["LISTEN_FDS= LISTEN_PID= LISTEN_FDNAMES=", "LISTEN_FDS=1 LISTEN_PID= LISTEN_FDNAMES="]
    {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let process = Process::start_as(with_descriptor(listener, environment), &[]);
        let is_used = environment.contains("LISTEN_FDS=1");
        assert_eq!(process.address == address, is_used, "{environment}");
        Client::open(process.address);
    }
}
