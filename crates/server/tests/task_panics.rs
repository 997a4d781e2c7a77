//! A panic in a task of the server, in a child process under a systemd watchdog.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::env;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::server::Server;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A log subscriber that panics at the line of the listener on this address: the only way to make a task
/// of the server panic from outside.
struct PanicsAt(String);

impl Subscriber for PanicsAt {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut AddressVisitor(&self.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Panics at a field with this address.
struct AddressVisitor<'a>(&'a str);

impl Visit for AddressVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "address" && value == self.0 {
            panic!("the log is broken");
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The environment variable with the folder for the sockets of the child process.
const FOLDER: &str = "WS_STATUS_TEST_FOLDER";

#[test]
#[ignore = "the child process of the test below"]
fn child_process_whose_second_listener_panics() {
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    let unix = |name: &str| format!("unix:{}", folder.join(name).display());
    tracing::subscriber::set_global_default(PanicsAt(unix("broken"))).unwrap();
    let server = Server::start(&[
        &format!("--listen={},{}", unix("whole"), unix("broken")),
        &format!("--admin-listen={}", unix("admin")),
        "--drain-delay-secs=2",
    ]);
    assert_eq!(server.join().failed, Some("accept"));
}

/// The child process, which is killed when the test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answer(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_task_that_panics_ends_readiness_and_the_watchdog_and_then_the_server() {
    let folder = env::temp_dir().join(format!("ws-status-supervision-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let notify = folder.join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let message = || {
        let mut message = [0; 1000];
        let length = systemd.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };

    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "child_process_whose_second_listener_panics"])
        .env(FOLDER, &folder)
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "200000")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    // The watchdog is fed ten times a second.
    let stops = (0..100).any(|_| message().contains("STOPPING=1"));
    assert!(stops, "a task has panicked and the server goes on");

    // The server drains: it is not ready, and it serves clients during the drain delay.
    let ready = answer(&folder.join("admin"), "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("draining\n"), "{ready}");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let served = answer(&folder.join("whole"), request);
    assert!(served.starts_with("HTTP/1.1 404"), "{served}");

    // Notifications are read until the process ends, or it would block on them.
    systemd.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut buffer, mut fed) = ([0; 1000], 0);
    let status = loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            break status;
        }
        if systemd.recv(&mut buffer).is_ok() && buffer.starts_with(b"WATCHDOG=1") {
            fed += 1;
        }
    };
    assert!(status.success(), "the test in the child process passes");
    assert!(fed <= 1, "the watchdog is not fed during the drain of two seconds");
    fs::remove_dir_all(&folder).unwrap();
}
