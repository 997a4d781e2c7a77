//! The process under systemd: notifications, and the handover of an inherited socket.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::net::TcpListener;

use rustix::process::Signal;
use support::load::Load;
use support::notify::NotifySocket;
use support::process::{Process, documented, fields, server, with_inherited};
use support::{CLOSE, Client, close_payload};

#[test]
fn processes_hand_over_on_one_socket_without_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || {
        let command = with_inherited(listener.try_clone().unwrap(), "public");
        let process = Process::start_as(command, &["--drain-delay-secs=1", "--listen=127.0.0.1:1"]);
        assert_eq!(process.address, address, "an inherited socket replaces all addresses");
        process
    };
    let mut current = start();
    let load = Load::start(address);
    let mut idle = Client::open(address);
    for _ in 0..3 {
        let opened = load.opened();
        // The new process is ready before the old one is signalled.
        let next = start();
        current.signal(Signal::TERM);
        current.event("stopping");
        let mut old = std::mem::replace(&mut current, next);
        assert_eq!(old.exit_code(), 0);
        assert!(load.opened() > opened + 50, "clients keep connecting");
    }
    assert_eq!(idle.frame(), (CLOSE, close_payload(1001, "drained")));
    load.expect_no_failure(500);
}

#[test]
fn an_inherited_socket_without_a_drain_delay_is_warned_about() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = with_inherited(listener, "");
    let process = Process::spawn_as(command, &["--log-format=json", "--max-connections=10"]);
    let line = process.event("no_delay_for_handover");
    assert_eq!(fields(&line), documented("no_delay_for_handover"));
}

#[test]
fn systemd_is_notified_of_every_state_change() {
    let socket = NotifySocket::new("states");
    let mut command = server();
    command.env("NOTIFY_SOCKET", socket.path()).env("WATCHDOG_USEC", "200000");
    let mut process = Process::start_as(command, &["--max-connections=100"]);
    socket.until("READY=1");
    let session = Client::open(process.address);
    for _ in 0..5 {
        socket.until("WATCHDOG=1");
    }
    socket.until("STATUS=1 sessions open, 1 opened in total");
    process.signal(Signal::HUP);
    let reloading = socket.until("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    socket.until("READY=1");
    process.signal(Signal::TERM);
    socket.until("STOPPING=1");
    // The watchdog is notified during a drain, too.
    socket.until("WATCHDOG=1");
    drop(session);
    assert_eq!(process.exit_code(), 0);
}
