//! Whose sessions over HTTP/2 take which places, and how often a connection may be refused.
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

/// The last stream that there may ever be, which is how a graceful end begins.
const LAST: u32 = u32::MAX >> 1;

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], flags].concat())
}

#[test]
fn each_session_has_a_place_and_a_connection_without_one_has_one() {
    let server = server(&["--max-connections", "4"]);
    let mut client = Http2::connect(server.address);
    server.wait_for("connections", 1.0);
    let sessions = [1.0, 2.0, 3.0, 4.0].map(|places| {
        let session = client.open();
        assert_eq!(server.metric("connections"), places);
        session
    });
    assert_eq!(client.request(CONNECT), 503);
    assert_eq!(Client::connect(server.address).request(UPGRADE).0, 503);

    // They leave in another order than they came, and the last place is the connection's.
    for (index, places) in [(1, 3.0), (3, 2.0), (0, 1.0), (2, 1.0)] {
        client.close(sessions[index]);
        server.wait_for("connections", places);
    }
    server.wait_for("sessions", 0.0);
    for places in [1.0, 2.0, 3.0, 4.0] {
        client.open();
        assert_eq!(server.metric("connections"), places);
    }
    // All of them come back when the connection is cut.
    drop(client);
    server.wait_for("connections", 0.0);
    assert_eq!(server.refused("connection_limit"), 2.0);
}

#[test]
fn an_address_has_so_many_sessions_over_whichever_http() {
    let server = server(&["--max-connections-per-address", "3"]);
    let mut client = Http2::connect(server.address);
    let first = client.open();
    let _second = client.open();
    let http1 = Client::open(server.address);
    assert_eq!(client.request(CONNECT), 429);
    assert_eq!(Client::connect(server.address).request(UPGRADE).0, 429);
    // Who is refused may go on with what it has.
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
fn a_proxy_has_the_places_of_its_clients() {
    let flags = [
        "--max-connections-per-address=1",
        "--trusted-proxies=127.0.0.0/8",
        "--forwarded-header=x-forwarded-for",
    ];
    let server = server(&flags);
    let mut proxy = Http2::connect(server.address);
    let from = |name: &'static str| [CONNECT, &[("x-forwarded-for", name)]].concat();
    let stream = proxy.ask(&from("192.0.2.1"));
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
fn a_connection_without_a_place_is_told_so_once() {
    let server = server(&["--max-connections", "1"]);
    let _session = Client::open(server.address);
    let mut client = Http2::connect(server.address);
    assert_eq!(client.request(CONNECT), 503);
    let rest = client.expect(DATA, 1);
    assert!(rest.payload.starts_with(b"full: "));
    let begin = Instant::now();
    client.rest();
    // It has not answered the PING that comes with the GOAWAY, and a second is all it has.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    drop(client);
    assert_eq!(server.metric("connections"), 1.0);
}

#[test]
fn who_is_only_to_be_refused_and_breaks_a_rule_has_its_second_and_no_more() {
    let server = server(&["--max-connections", "1", "--close-timeout-secs", "30"]);
    let _session = Client::open(server.address);
    // What ends the connection, in h2 and in front of it, and what ends it well.
    let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
    let bad: [Vec<u8>; 3] =
        [frame(DATA, 0, 0, &[]), frame(HEADERS, 0, 1, &[0x80]).repeat(2), goodbye];
    for bytes in bad {
        let bad: Vec<Http2> = (0..200)
            .map(|_| {
                let mut bad = Http2::connect_silently(server.address);
                bad.send_anyway(&[PREFACE, &settings(&[]), &bytes].concat());
                bad
            })
            .collect();
        let begin = Instant::now();
        assert_eq!(Client::connect(server.address).request(UPGRADE).0, 503, "{bytes:x?}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{bytes:x?}: {:?}", begin.elapsed());
        drop(bad);
    }
}

#[test]
fn silent_connections_at_the_limit_do_not_keep_others_from_being_told() {
    let server = server(&["--max-connections", "1"]);
    let _session = Client::open(server.address);
    let _silent: Vec<Http2> = (0..200)
        .map(|_| {
            let mut silent = Http2::connect_silently(server.address);
            silent.send(PREFACE);
            silent
        })
        .collect();
    // Each has a second to ask, and not the ten that a handshake has.
    let begin = Instant::now();
    assert_eq!(Http2::connect(server.address).request(CONNECT), 503);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn after_so_many_refusals_a_connection_takes_no_more_requests_and_its_sessions_go_on() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    for _ in 0..19 {
        assert_eq!(client.request(GET), 404);
    }
    client.ask(GET);
    let goodbye = client.expect(GOAWAY, 0);
    assert_eq!((goodbye.code(), &goodbye.payload[..4]), (NO_ERROR, &LAST.to_be_bytes()[..]));
    let ping = client.expect(PING, 0);
    // Whoever has not heard of it yet is still answered.
    assert_eq!(client.request(GET), 404);
    let last = client.next - 2;
    client.send(&frame(PING, ACK, 0, &ping.payload));
    let goodbye = client.expect(GOAWAY, 0);
    assert_eq!((goodbye.code(), &goodbye.payload[..4]), (NO_ERROR, &last.to_be_bytes()[..]));
    let ignored = client.ask(CONNECT);
    client.exchange_pings(session);
    assert_eq!(server.refused("not_found"), 21.0);
    assert_eq!(server.metric("sessions_opened_total"), 1.0);
    assert!(ignored > last);

    // And it is over with the last of them.
    client.close(session);
    client.send(&frame(DATA, END_STREAM, session, &[]));
    client.rest();
    drop(client);
    server.wait_for("connections", 0.0);
}

#[test]
fn who_goes_on_asking_after_so_many_refusals_is_cut_off() {
    let server = server(&["--http2-max-streams", "4"]);
    let mut client = Http2::connect(server.address);
    client.open();
    // Twenty, and twice as many as there may be streams.
    for _ in 0..28 {
        assert_eq!(client.request(GET), 404);
    }
    client.ask(GET);
    assert_eq!(client.expect_goodbye(), ENHANCE_YOUR_CALM);
    drop(client);
    server.wait_for("connections", 0.0);
    assert_eq!(server.refused("too_many_frames"), 1.0);
}
