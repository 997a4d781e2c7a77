//! The server in this process, on a port of its own, with clients on real sockets.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use server::ShutdownSummary;
use support::server::Server;
use support::ways::{self, Session, Way};
use support::{CLOSE, Client, PING, PONG, TEXT, UPGRADE, close, close_payload, frame, header};

#[test]
fn a_request_to_the_path_is_upgraded_with_or_without_a_query() {
    let server = Server::start(&[]);
    for target in ["/ws/status", "/ws/status?", "/ws/status?token=secret&x=%2F"] {
        let mut client = Client::connect(server.address);
        let (status, head, _) = client.request(&UPGRADE.replace("/ws/status", target));
        assert_eq!(status, 101, "{target}");
        assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
    }
}

#[test]
fn a_plain_get_gets_a_proper_error() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let (status, head, body) = client.request("GET /ws/status HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 426);
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection"), Some("upgrade"));
    assert!(body.starts_with("not_an_upgrade: "), "{body}");

    // The connection is still good.
    let (status, ..) = client.request(UPGRADE);
    assert_eq!(status, 101);
}

#[test]
fn every_other_path_is_not_found() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    for target in [
        "/",
        "/ws",
        "/ws/",
        "/ws/status/",
        "/ws/status/x",
        "/WS/status",
        "/ws%2Fstatus",
        "//ws/status",
    ] {
        let (status, _, body) = client.request(&UPGRADE.replace("/ws/status", target));
        assert_eq!(status, 404, "{target}");
        assert!(body.starts_with("not_found: ") && body.contains("is /ws/status\n"), "{body}");
    }
}

#[test]
fn every_other_method_is_not_allowed() {
    let server = Server::start(&[]);
    for line in ["POST /ws/status", "HEAD /ws/status", "OPTIONS /ws/status", "CONNECT a:80"] {
        let mut client = Client::connect(server.address);
        client.send(UPGRADE.replace("GET /ws/status", line).as_bytes());
        let (status, head) = client.head();
        assert_eq!(status, 405, "{line}");
        assert_eq!(header(&head, "allow"), Some("get"));
    }
}

#[test]
fn a_connected_clients_ping_gets_its_pong() {
    let server = ways::start(&[]);
    for (way, mut client) in ways::open_all(&server) {
        client.send(&frame(TEXT, b"dropped"));
        client.send(&frame(PING, b"are you there?"));
        assert_eq!(client.frame(), (PONG, b"are you there?".to_vec()), "{way:?}");
    }
}

#[test]
fn the_server_pings_and_lets_go_of_a_peer_that_does_not_answer() {
    let server = ways::start(&["--ping-interval-secs", "0.2", "--pong-timeout-secs", "1"]);
    let mut answering = ways::open_all(&server);
    let mute = ways::open_all(&server);
    for _ in 0..5 {
        for (way, client) in &mut answering {
            let (first, payload) = client.frame();
            assert_eq!(first, PING, "{way:?}");
            client.send(&frame(PONG, &payload));
        }
    }
    for (way, mut client) in mute {
        assert_eq!(client.frame().0, PING, "{way:?}");
        client.expect_end();
    }
    for (_, mut client) in answering {
        client.send(&frame(PING, b"still here"));
        while client.frame() != (PONG, b"still here".to_vec()) {}
    }
}

#[test]
fn a_connection_closes_gracefully() {
    let server = ways::start(&[]);
    for (way, mut client) in ways::open_all(&server) {
        client.send(&close(1000, "done"));
        assert_eq!(client.frame(), (CLOSE, close_payload(1000, "done")), "{way:?}");
        client.expect_end();
    }
}

#[test]
fn a_client_that_is_told_1009_sees_it_although_it_goes_on_sending() {
    let server = ways::start(&["--max-message-bytes", "100", "--close-timeout-secs", "60"]);
    for (way, mut client) in ways::open_all(&server) {
        // Far more than any buffers hold: it only gets through if the server reads it away.
        for _ in 0..500 {
            client.send(&frame(TEXT, &[b'x'; 60_000]));
        }
        client.0.end();
        assert_eq!(client.frame(), (CLOSE, close_payload(1009, "too_big")), "{way:?}");
        client.expect_end();
    }
}

#[test]
fn a_shutdown_closes_open_sessions_gracefully() {
    let mut server = ways::start(&[]);
    let clients: Vec<Session> =
        Way::ALL.iter().cycle().take(48).map(|way| way.open(&server)).collect();
    server.begin_stop();
    // Each then hangs up: one that stays on a connection of HTTP/2 is waited for a while.
    for mut client in clients {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.stopped();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (48, 0, 0));
    assert!(duration < Duration::from_secs(3), "{duration:?}");
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_waited_for_as_long_as_its_timeout() {
    let mut server = ways::start(&["--close-timeout-secs", "0.3"]);
    let _mute = ways::open_all(&server);
    let polite = ways::open_all(&server);
    server.begin_stop();
    for (_, mut client) in polite {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.stopped();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (4, 4, 0));
    assert!((0.3..2.0).contains(&duration.as_secs_f64()), "{duration:?}");
}

#[test]
fn what_is_left_when_the_grace_is_over_is_aborted() {
    let mut server = ways::start(&["--close-timeout-secs", "60", "--shutdown-grace-secs", "0.3"]);
    let mute = ways::open_all(&server);
    server.begin_stop();
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.stopped();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (0, 0, 4));
    assert!((0.3..2.0).contains(&duration.as_secs_f64()), "{duration:?}");
    for (way, mut client) in mute {
        assert_eq!(client.frame(), (CLOSE, close_payload(1001, "drained")), "{way:?}");
        // In no order: over HTTP/2 the connection may go before its sessions can say so.
        client.expect_hang_up();
    }
}

#[test]
fn who_stays_on_a_connection_behind_its_last_session_is_not_waited_for_beyond_the_grace() {
    let mut server = ways::start(&["--close-timeout-secs", "60", "--shutdown-grace-secs", "0.3"]);
    let mut clients = ways::open_all(&server);
    server.begin_stop();
    for (_, client) in &mut clients {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.stopped();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (4, 0, 0));
    // What does not end by itself is left behind after a second more, with a warning.
    assert!(duration < Duration::from_millis(1300), "{duration:?}");
}

#[test]
fn during_a_shutdown_no_connection_is_accepted_and_accepted_ones_get_503() {
    let mut server = Server::start(&["--close-timeout-secs", "1"]);
    let mut session = Client::open(server.address);
    let mut silent_so_far = Client::connect(server.address);
    let mut used_before = Client::connect(server.address);
    assert_eq!(used_before.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 404);
    server.begin_stop();
    // The session is told last of all that there is a shutdown, or first: it has begun in any case.
    assert_eq!(session.frame(), (CLOSE, close_payload(1001, "drained")));

    for client in [&mut silent_so_far, &mut used_before] {
        let (status, head, body) = client.request(UPGRADE);
        assert_eq!(status, 503, "{body}");
        assert_eq!(header(&head, "retry-after"), Some("1"));
        assert_eq!(header(&head, "connection"), Some("close"));
        assert!(body.starts_with("draining: "), "{body}");
        client.expect_end();
    }
    session.send(&close(1001, ""));
    let address = server.address;
    assert_eq!(server.stopped().clean, 1);
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_client_in_the_backlog_is_not_lost_by_a_shutdown() {
    let mut server = Server::start(&["--close-timeout-secs", "1"]);
    // Connected as far as the system is concerned, whether the server has accepted them or not.
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(server.address)).collect();
    server.begin_stop();
    for client in &mut clients {
        let (status, ..) = client.request(UPGRADE);
        match status {
            101 => client.answer_drain(), // It was faster than the shutdown.
            status => assert_eq!(status, 503),
        }
    }
    assert_eq!(server.stopped().aborted, 0);
}

#[test]
fn a_client_too_many_is_told_so_and_gets_in_when_another_leaves() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut first = Client::open(server.address);
    let _second = Client::open(server.address);
    let mut third = Client::connect(server.address);
    let (status, head, body) = third.request(UPGRADE);
    assert_eq!(status, 503);
    assert_eq!(header(&head, "retry-after"), Some("5"));
    assert!(body.starts_with("full: "), "{body}");
    third.expect_end();

    first.send(&close(1000, ""));
    first.frame();
    first.expect_end();
    // The slot is free a moment after the socket is closed.
    let until = Instant::now() + Duration::from_secs(5);
    while Client::connect(server.address).request(UPGRADE).0 != 101 {
        assert!(Instant::now() < until, "the slot is not given back");
    }
}

#[test]
fn a_connection_has_so_long_for_its_upgrade_and_not_longer() {
    let server = Server::start(&["--handshake-timeout-secs", "0.4"]);
    let begin = Instant::now();
    let mut silent = Client::connect(server.address);
    let mut slow = Client::connect(server.address);
    let mut refused = Client::connect(server.address);
    slow.send(b"GET /ws/status HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(refused.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 404);
    for client in [&mut silent, &mut slow, &mut refused] {
        client.expect_end();
        let took = begin.elapsed().as_secs_f64();
        assert!((0.35..3.0).contains(&took), "{took}");
    }
    // A session has all the time in the world.
    let mut session = Client::open(server.address);
    session.0.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    assert!(session.0.read(&mut [0]).is_err(), "nothing comes, and it does not end");
    session.send(&frame(PING, b""));
    assert_eq!(session.frame(), (PONG, vec![]));
}

#[test]
fn many_clients_come_and_go_and_all_slots_come_back() {
    let mut server = ways::start(&["--max-connections", "64"]);
    thread::scope(|scope| {
        for way in Way::ALL.iter().cycle().take(8) {
            let server = &server;
            scope.spawn(move || {
                for round in 0..50 {
                    let mut client = way.open(server);
                    match round % 4 {
                        0 => drop(client),
                        1 => client.send(&frame(0x83, b"nonsense")),
                        2 => {
                            client.send(&close(1000, ""));
                            client.frame();
                            client.expect_end();
                        }
                        _ => {
                            client.send(&frame(PING, b"x"));
                            assert_eq!(client.frame(), (PONG, b"x".to_vec()));
                        }
                    }
                }
            });
        }
    });
    let mut last: Vec<Session> = Vec::new();
    let until = Instant::now() + Duration::from_secs(10);
    for way in Way::ALL.iter().cycle() {
        match way.try_open(&server) {
            Some(client) => last.push(client),
            None => assert!(Instant::now() < until, "only {} of 64 slots are free", last.len()),
        }
        if last.len() == 64 {
            break;
        }
    }
    server.begin_stop();
    for mut client in last {
        client.answer_drain();
    }
    assert_eq!(server.stopped().aborted, 0);
}
