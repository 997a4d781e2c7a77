//! What an idle connection takes of the real process' memory, as Linux counts it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

mod support;

use std::fs;
use std::net::SocketAddr;

use support::process::{Process, server};
use support::{BINARY, Client, PING, PONG, frame};

/// As many as the usual limit of 1,024 open files leaves this process.
const COUNT: usize = 800;

/// What is measured, and a margin; docs/performance.md has the figures. Without mimalloc it depends on
/// the C library.
const MOST_BYTES: usize = if cfg!(feature = "mimalloc") { 800 } else { 1_000 };

/// No rate stands in the way of a flood.
const FLAGS: [&str; 4] = ["--messages-per-second", "0", "--control-frames-per-second", "0"];

#[test]
fn an_idle_connection_takes_at_most_800_bytes_even_after_a_flood() {
    // With one worker, so that it does not depend on which of them a connection came to.
    let mut command = server();
    command.env("TOKIO_WORKER_THREADS", "1");
    // Where the system gives huge pages to everyone, memory comes in steps of 2 MB.
    command.env("MIMALLOC_ALLOW_THP", "0");
    let process = Process::start_as(command, &FLAGS);
    drop(open(process.address, 100));
    let before = private_bytes(&process);
    let mut clients = open(process.address, COUNT);
    let idle = private_bytes(&process) - before;

    let flood = frame(BINARY, b"a message").repeat(64);
    for client in &mut clients {
        client.send(&flood);
    }
    exchange_pings(&mut clients);
    let flooded = private_bytes(&process) - before;
    let each = [idle, flooded].map(|bytes| bytes / COUNT);
    assert!(each.iter().all(|bytes| *bytes <= MOST_BYTES), "{each:?} bytes each");
}

/// Sessions that have exchanged a ping.
fn open(address: SocketAddr, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::open(address)).collect();
    exchange_pings(&mut clients);
    clients
}

fn exchange_pings(clients: &mut [Client]) {
    for client in clients {
        client.send(&frame(PING, b"ping"));
        assert_eq!(client.frame(), (PONG, b"ping".to_vec()));
    }
}

/// The memory that only this process uses, and has written to.
fn private_bytes(process: &Process) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.child.id())).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
