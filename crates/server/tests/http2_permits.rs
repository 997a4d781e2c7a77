//! Permits of HTTP/2 sessions and connections, and the limit of refusals per connection.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::{Duration, Instant};

use support::raw_http2::{
    ACK, CONNECT, DATA, END_STREAM, ENHANCE_YOUR_CALM, GET, GOAWAY, HEADERS, Http2, NO_ERROR, PING,
    PREFACE, frame, settings,
};
use support::server::Server;
use support::{Client, UPGRADE};

/// The highest stream ID, which the first GOAWAY of a graceful end has.
const MAX_STREAM_ID: u32 = u32::MAX >> 1;

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], flags].concat())
}

#[test]
fn each_session_holds_a_permit_and_an_idle_connection_holds_one() {
    let server = server(&["--max-connections", "4"]);
    let mut client = Http2::connect(server.address);
    server.wait_for("connections", 1.0);
    let sessions = [1.0, 2.0, 3.0, 4.0].map(|permits| {
        let session = client.open();
        assert_eq!(server.metric("connections"), permits);
        session
    });
    assert_eq!(client.request(CONNECT), 503);
    assert_eq!(Client::connect(server.address).request(UPGRADE).0, 503);

    // The sessions close in another order. The last permit is that of the connection.
    for (index, permits) in [(1, 3.0), (3, 2.0), (0, 1.0), (2, 1.0)] {
        client.close(sessions[index]);
        server.wait_for("connections", permits);
    }
    server.wait_for("sessions", 0.0);
    for permits in [1.0, 2.0, 3.0, 4.0] {
        client.open();
        assert_eq!(server.metric("connections"), permits);
    }
    // All permits are released when the connection is dropped.
    drop(client);
    server.wait_for("connections", 0.0);
    assert_eq!(server.refused("connection_limit"), 2.0);
}

#[test]
fn the_limit_per_address_counts_sessions_of_all_http_versions() {
    let server = server(&["--max-connections-per-address", "3"]);
    let mut client = Http2::connect(server.address);
    let first = client.open();
    let _second = client.open();
    let http1 = Client::open(server.address);
    assert_eq!(client.request(CONNECT), 429);
    assert_eq!(Client::connect(server.address).request(UPGRADE).0, 429);
    // Existing sessions stay open after a refusal.
    client.exchange_pings(first);

    drop(http1);
    server.wait_for("connections", 2.0);
    client.open();
    client.close(first);
    server.wait_for("connections", 2.0);
    let _http1 = Client::open(server.address);
    assert_eq!(client.request(CONNECT), 429);
}

#[test]
fn permits_of_a_proxy_count_for_its_clients() {
    let flags = [
        "--max-connections-per-address=1",
        "--trusted-proxies=127.0.0.0/8",
        "--forwarded-header=x-forwarded-for",
    ];
    let server = server(&flags);
    let mut proxy = Http2::connect(server.address);
    let from = |name: &'static str| [CONNECT, &[("x-forwarded-for", name)]].concat();
    let stream = proxy.start_request(&from("192.0.2.1"));
    assert_eq!(proxy.expect(HEADERS, stream).status(), 200);
    assert_eq!(proxy.request(&from("192.0.2.2")), 200);
    assert_eq!(proxy.request(&from("192.0.2.1")), 429);
    proxy.close(stream);
    server.wait_for("sessions", 1.0);
    assert_eq!(proxy.request(&from("192.0.2.1")), 200);
    drop(proxy);
    server.wait_for("connections", 0.0);
    assert_eq!(Http2::connect(server.address).request(&from("192.0.2.2")), 200);
}

#[test]
fn a_connection_without_a_permit_is_refused_and_closed() {
    let server = server(&["--max-connections", "1"]);
    let _session = Client::open(server.address);
    let mut client = Http2::connect(server.address);
    assert_eq!(client.request(CONNECT), 503);
    let rest = client.expect(DATA, 1);
    assert!(rest.payload.starts_with(b"connection_limit: "));
    let begin = Instant::now();
    client.rest();
    // The client does not answer the PING after the GOAWAY; it has one second.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    drop(client);
    assert_eq!(server.metric("connections"), 1.0);
}

#[test]
fn a_connection_error_without_a_permit_closes_within_its_second() {
    let server = server(&["--max-connections", "1", "--close-timeout-secs", "30"]);
    let _session = Client::open(server.address);
    // A connection error in h2, one before h2, and a graceful end.
    let goaway = frame(GOAWAY, 0, 0, &[0; 8]);
    let endings: [Vec<u8>; 3] =
        [frame(DATA, 0, 0, &[]), frame(HEADERS, 0, 1, &[0x80]).repeat(2), goaway];
    for bytes in endings {
        let clients: Vec<Http2> = (0..200)
            .map(|_| {
                let mut client = Http2::connect_without_preface(server.address);
                client.send_ignoring_errors(&[PREFACE, &settings(&[]), &bytes].concat());
                client
            })
            .collect();
        let begin = Instant::now();
        assert_eq!(Client::connect(server.address).request(UPGRADE).0, 503, "{bytes:x?}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{bytes:x?}: {:?}", begin.elapsed());
        drop(clients);
    }
}

#[test]
fn silent_connections_at_the_limit_do_not_delay_the_refusal_of_others() {
    let server = server(&["--max-connections", "1"]);
    let _session = Client::open(server.address);
    let _silent: Vec<Http2> = (0..200)
        .map(|_| {
            let mut silent = Http2::connect_without_preface(server.address);
            silent.send(PREFACE);
            silent
        })
        .collect();
    // Without a permit, a connection has one second to send its request instead of ten.
    let begin = Instant::now();
    assert_eq!(Http2::connect(server.address).request(CONNECT), 503);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn after_20_refusals_a_connection_accepts_no_requests_and_its_sessions_stay_open() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    for _ in 0..19 {
        assert_eq!(client.request(GET), 404);
    }
    client.start_request(GET);
    let goaway = client.expect(GOAWAY, 0);
    assert_eq!((goaway.code(), &goaway.payload[..4]), (NO_ERROR, &MAX_STREAM_ID.to_be_bytes()[..]));
    let ping = client.expect(PING, 0);
    // Requests that cross the GOAWAY are still answered.
    assert_eq!(client.request(GET), 404);
    let last = client.next - 2;
    client.send(&frame(PING, ACK, 0, &ping.payload));
    let goaway = client.expect(GOAWAY, 0);
    assert_eq!((goaway.code(), &goaway.payload[..4]), (NO_ERROR, &last.to_be_bytes()[..]));
    let ignored = client.start_request(CONNECT);
    client.exchange_pings(session);
    assert_eq!(server.refused("not_found"), 21.0);
    assert_eq!(server.metric("sessions_opened_total"), 1.0);
    assert!(ignored > last);

    // The connection ends with its last session.
    client.close(session);
    client.send(&frame(DATA, END_STREAM, session, &[]));
    client.rest();
    drop(client);
    server.wait_for("connections", 0.0);
}

#[test]
fn a_client_that_keeps_requesting_after_20_refusals_is_disconnected() {
    let server = server(&["--http2-max-streams", "4"]);
    let mut client = Http2::connect(server.address);
    client.open();
    // Twenty, and twice the limit of streams.
    for _ in 0..28 {
        assert_eq!(client.request(GET), 404);
    }
    client.start_request(GET);
    assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM);
    drop(client);
    server.wait_for("connections", 0.0);
    assert_eq!(server.refused("too_many_frames"), 1.0);
}
