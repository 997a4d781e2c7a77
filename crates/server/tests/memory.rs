//! Memory of the server process per connection, as Linux counts it: idle, and under attack.
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

/// Connections, within the default limit of 1,024 open files for the test process.
const COUNT: usize = 800;

/// The measured value and a margin; docs/performance.md has the figures. Without mimalloc, it depends on
/// the C library.
const MOST_BYTES: usize = if cfg!(feature = "mimalloc") { 800 } else { 1_000 };

/// No rate limits, which would end a flood, and no keep-alive pings.
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
    // One worker, so that the result does not depend on the distribution of connections.
    let mut command = server();
    command.env("TOKIO_WORKER_THREADS", "1");
    // With transparent huge pages, memory would grow in steps of 2 MB.
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

/// rustls keeps the keys of both directions, its key schedule and the handshake state, and no buffers.
#[test]
fn an_idle_tls_connection_takes_at_most_5_000_bytes() {
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

/// Each connection has sessions and refused requests, and reads no response: it opens no window, except
/// those of the sessions by one byte at a time, so that each byte is a frame.
#[test]
fn connections_under_attack_take_at_most_the_logged_worst_case() {
    const CONNECTIONS: usize = 4;
    const SESSIONS: usize = 4;
    const REFUSED: usize = 20;
    // Together with the refused requests, nearly the whole frame budget.
    const ROUNDS: usize = 6500;

    let (_, other_worst_case) = start_for(1);
    let (process, worst_case) = start_for(1 + CONNECTIONS * SESSIONS);
    let mut other = Http2::connect(process.address);
    let other_session = other.open();
    other.exchange_pings(other_session);
    let before = private_bytes(&process);

    let pings = frame(PING, &[7; 125]).repeat(120);
    let mut clients: Vec<(Http2, Vec<u8>)> = (0..CONNECTIONS)
        .map(|_| {
            let mut client =
                Http2::connect_with_small_buffer(process.address, &[(INITIAL_WINDOW_SIZE, 0)]);
            let sessions: Vec<u32> = (0..SESSIONS).map(|_| client.open()).collect();
            for _ in 0..REFUSED {
                client.start_request(GET);
            }
            for session in &sessions {
                client.send_data(*session, &pings);
            }
            let windows = sessions.iter().flat_map(|session| window_update(*session, 1));
            (client, windows.collect())
        })
        .collect();
    for _ in 0..ROUNDS {
        for (client, windows) in &mut clients {
            client.send(windows);
        }
        // With one worker, the sessions have run before this pong.
        other.exchange_pings(other_session);
    }
    let growth = private_bytes(&process) - before;
    let most = worst_case - other_worst_case;
    assert!(growth <= most, "{growth} bytes exceed {most}");
}

/// Starts a server with this connection limit, one worker and the smallest socket buffers. Returns it
/// with the worst case that it logs.
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

/// Opens sessions, each of which has exchanged a ping.
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

/// The anonymous memory of a process. File-backed pages would vary: those of a binary that was just
/// built count as dirty, and as private if no other test runs it.
fn private_bytes(process: &Process) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.child.id())).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
