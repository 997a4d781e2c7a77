//! What connections take of the real process' memory, as Linux counts it: idle ones, and the worst.
#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::net::SocketAddr;

use support::process::{Process, server};
use support::raw_http2::{GET, Http2, INITIAL_WINDOW_SIZE, window_update};
use support::tls;
use support::{BINARY, Client, PING, PONG, frame};

/// As many as the usual limit of 1,024 open files leaves this process.
const COUNT: usize = 800;

/// What is measured, and a margin; docs/performance.md has the figures. Without mimalloc it depends on
/// the C library.
const MOST_BYTES: usize = if cfg!(feature = "mimalloc") { 800 } else { 1_000 };

/// No rate stands in the way of a flood, and no ping of the server's comes between.
const FLAGS: [&str; 6] = [
    "--messages-per-second",
    "0",
    "--control-frames-per-second",
    "0",
    "--ping-interval-secs",
    "3600",
];

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

/// rustls keeps the keys of both directions, its key schedule and room for a handshake; there are no buffers.
#[test]
fn an_idle_connection_within_tls_takes_at_most_5_000_bytes() {
    const CONNECTIONS: usize = 400;
    let files = tls::Files::new("memory");
    let mut command = server();
    command.env("TOKIO_WORKER_THREADS", "1").env("MIMALLOC_ALLOW_THP", "0");
    let flags = files.flags();
    let flags = flags.iter().map(String::as_str).chain(FLAGS).collect::<Vec<_>>();
    let process = tls::start_as(command, &flags);
    let open = |count| -> Vec<tls::Client> {
        let mut clients: Vec<_> =
            (0..count).map(|_| tls::open(process.address, &files.cert)).collect();
        clients.iter_mut().for_each(tls::exchange_ping);
        clients
    };
    drop(open(50));
    let before = private_bytes(&process);
    let clients = open(CONNECTIONS);
    let each = (private_bytes(&process) - before) / clients.len();
    assert!(each <= 5_000, "{each} bytes each");
}

/// On each connection some sessions, and requests that are refused, and nobody reads what they are told:
/// no window is open, and the sessions' are opened by a byte at a time, each of which is a frame.
#[test]
fn connections_under_attack_take_no_more_than_the_server_says_at_its_start() {
    const CONNECTIONS: usize = 4;
    const SESSIONS: usize = 4;
    const REFUSED: usize = 20;
    // With what was refused, nearly all that may come at once.
    const ROUNDS: usize = 6500;

    let (_, of_the_other) = start_for(1);
    let (process, of_all) = start_for(1 + CONNECTIONS * SESSIONS);
    let mut other = Http2::connect(process.address);
    let bystander = other.open();
    other.exchange_pings(bystander);
    let before = private_bytes(&process);

    let pings = frame(PING, &[7; 125]).repeat(120);
    let mut clients: Vec<(Http2, Vec<u8>)> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = Http2::connect_narrowly(process.address, &[(INITIAL_WINDOW_SIZE, 0)]);
            let sessions: Vec<u32> = (0..SESSIONS).map(|_| client.open()).collect();
            for _ in 0..REFUSED {
                client.ask(GET);
            }
            for session in &sessions {
                client.say(*session, &pings);
            }
            let windows = sessions.iter().flat_map(|session| window_update(*session, 1));
            (client, windows.collect())
        })
        .collect();
    for _ in 0..ROUNDS {
        for (client, windows) in &mut clients {
            client.send(windows);
        }
        // With one worker, the sessions have had their turn by then.
        other.exchange_pings(bystander);
    }
    let growth = private_bytes(&process) - before;
    let most = of_all - of_the_other;
    assert!(growth <= most, "{growth} bytes, and not {most}");
}

/// A server for so many connections with one worker, for which the system keeps as little as it can, and
/// what it says that they may take.
fn start_for(connections: usize) -> (Process, usize) {
    let mut command = server();
    command.env("TOKIO_WORKER_THREADS", "1").env("MIMALLOC_ALLOW_THP", "0");
    let connections = connections.to_string();
    let own = ["--max-connections", &connections, "--socket-buffer-bytes", "1"];
    let json = ["--log-format", "json"];
    let mut process = Process::spawn_as(command, &[&json[..], &own, &FLAGS].concat());
    let worst_case = process.event("starting")["worst_case_bytes"].as_u64().unwrap();
    process.address = process.event("listening")["address"].as_str().unwrap().parse().unwrap();
    (process, worst_case.try_into().unwrap())
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

/// The memory that this process has written to and that no file backs: pages of a binary which was built
/// just now count as written, too, and as private if no other test runs it.
fn private_bytes(process: &Process) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.child.id())).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
