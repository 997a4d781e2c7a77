//! The server in the test process, with clients on real sockets: routes, sessions, shutdown and limits.
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
use support::protocols::{self, Protocol, Session};
use support::server::Server;
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
fn a_plain_get_is_refused_with_426() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let (status, head, body) = client.request("GET /ws/status HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 426);
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "connection"), Some("upgrade"));
    assert!(body.starts_with("not_an_upgrade: "), "{body}");

    // The connection stays open.
    let (status, ..) = client.request(UPGRADE);
    assert_eq!(status, 101);
}

#[test]
fn the_answer_to_a_request_that_is_no_upgrade_says_which_header_is_missing() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let both = "without Upgrade: websocket and without Connection: Upgrade";
    for (line, other, missing) in [
        ("Upgrade: websocket", "X: y", "without Upgrade: websocket"),
        ("Connection: Upgrade", "Connection: keep-alive", "without Connection: Upgrade"),
        ("Upgrade: websocket\r\nConnection: Upgrade", "X: y", both),
    ] {
        let (status, _, body) = client.request(&UPGRADE.replace(line, other));
        assert_eq!(status, 426);
        let hint = format!("the request arrived {missing}");
        assert_eq!(body.lines().nth(1), Some(&*hint), "{body}");
    }
}

//= rfc6455#4.2.2-4 test
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
fn a_ping_is_answered_with_its_pong() {
    let server = protocols::start(&[]);
    for (protocol, mut client) in protocols::open_all(&server) {
        client.send(&frame(TEXT, b"dropped"));
        client.send(&frame(PING, b"are you there?"));
        assert_eq!(client.frame(), (PONG, b"are you there?".to_vec()), "{protocol:?}");
    }
}

#[test]
fn the_server_pings_and_disconnects_a_peer_that_does_not_answer() {
    let server = protocols::start(&["--ping-interval-secs", "0.2", "--pong-timeout-secs", "1"]);
    let mut answering = protocols::open_all(&server);
    let silent = protocols::open_all(&server);
    for _ in 0..5 {
        for (protocol, client) in &mut answering {
            let (first, payload) = client.frame();
            assert_eq!(first, PING, "{protocol:?}");
            client.send(&frame(PONG, &payload));
        }
    }
    for (protocol, mut client) in silent {
        assert_eq!(client.frame().0, PING, "{protocol:?}");
        client.expect_end();
    }
    for (_, mut client) in answering {
        client.send(&frame(PING, b"still here"));
        while client.frame() != (PONG, b"still here".to_vec()) {}
    }
}

//= rfc6455#7.1.1-2 test
#[test]
fn a_client_closes_gracefully() {
    let server = protocols::start(&[]);
    for (protocol, mut client) in protocols::open_all(&server) {
        client.send(&close(1000, "done"));
        assert_eq!(client.frame(), (CLOSE, close_payload(1000, "done")), "{protocol:?}");
        client.expect_end();
    }
}

//= rfc6455#7.1.1-1 test
#[test]
fn a_close_with_1009_reaches_a_client_that_keeps_sending() {
    let server = protocols::start(&["--max-message-bytes", "100", "--close-timeout-secs", "60"]);
    for (protocol, mut client) in protocols::open_all(&server) {
        // More than all buffers hold: the client can only send this if the server discards it.
        for _ in 0..500 {
            client.send(&frame(TEXT, &[b'x'; 60_000]));
        }
        client.0.end();
        assert_eq!(client.frame(), (CLOSE, close_payload(1009, "too_big")), "{protocol:?}");
        client.expect_end();
    }
}

#[test]
fn a_shutdown_closes_open_sessions_gracefully() {
    let mut server = protocols::start(&[]);
    let clients: Vec<Session> =
        Protocol::ALL.iter().cycle().take(48).map(|protocol| protocol.open(&server)).collect();
    server.begin_shutdown();
    // Each client disconnects: the server would wait for an HTTP/2 connection that stays open.
    for mut client in clients {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.join();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (48, 0, 0));
    assert!(duration < Duration::from_secs(3), "{duration:?}");
}

#[test]
fn a_shutdown_waits_for_an_unresponsive_peer_until_the_close_timeout() {
    let mut server = protocols::start(&["--close-timeout-secs", "0.3"]);
    let _silent = protocols::open_all(&server);
    let responsive = protocols::open_all(&server);
    server.begin_shutdown();
    for (_, mut client) in responsive {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.join();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (4, 4, 0));
    assert!((0.3..2.0).contains(&duration.as_secs_f64()), "{duration:?}");
}

#[test]
fn sessions_that_outlast_the_grace_are_aborted() {
    let mut server =
        protocols::start(&["--close-timeout-secs", "60", "--shutdown-grace-secs", "0.3"]);
    let silent = protocols::open_all(&server);
    server.begin_shutdown();
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.join();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (0, 0, 4));
    assert!((0.3..2.0).contains(&duration.as_secs_f64()), "{duration:?}");
    for (protocol, mut client) in silent {
        assert_eq!(client.frame(), (CLOSE, close_payload(1001, "drained")), "{protocol:?}");
        // Orderly or not: over HTTP/2, the connection may end before the end of its streams is sent.
        client.expect_disconnect();
    }
}

#[test]
fn a_client_that_keeps_its_connection_open_does_not_outlast_the_grace() {
    let mut server =
        protocols::start(&["--close-timeout-secs", "60", "--shutdown-grace-secs", "0.3"]);
    let mut clients = protocols::open_all(&server);
    server.begin_shutdown();
    for (_, client) in &mut clients {
        client.answer_drain();
    }
    let ShutdownSummary { clean, timed_out, aborted, duration, failed } = server.join();
    assert_eq!(failed, None);
    assert_eq!((clean, timed_out, aborted), (4, 0, 0));
    // A task that does not end would take another second, with a warning.
    assert!(duration < Duration::from_millis(1300), "{duration:?}");
}

#[test]
fn during_a_shutdown_no_connection_is_accepted_and_accepted_ones_get_503() {
    let mut server = Server::start(&["--close-timeout-secs", "1"]);
    let mut session = Client::open(server.address);
    let mut silent = Client::connect(server.address);
    let mut used = Client::connect(server.address);
    assert_eq!(used.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 404);
    server.begin_shutdown();
    // Whatever the order of notifications, the shutdown has begun when the session receives its Close
    // frame.
    assert_eq!(session.frame(), (CLOSE, close_payload(1001, "drained")));

    for client in [&mut silent, &mut used] {
        let (status, head, body) = client.request(UPGRADE);
        assert_eq!(status, 503, "{body}");
        assert_eq!(header(&head, "retry-after"), Some("1"));
        assert_eq!(header(&head, "connection"), Some("close"));
        assert!(body.starts_with("draining: "), "{body}");
        client.expect_end();
    }
    session.send(&close(1001, ""));
    let address = server.address;
    assert_eq!(server.join().clean, 1);
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
}

#[test]
fn a_client_in_the_backlog_is_answered_during_a_shutdown() {
    let mut server = Server::start(&["--close-timeout-secs", "5"]);
    // The system has established the connections, whether the server has accepted them or not.
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(server.address)).collect();
    server.begin_shutdown();
    // All at once: a connection that is refused has one second for its request.
    clients.iter_mut().for_each(|client| client.send(UPGRADE.as_bytes()));
    for client in &mut clients {
        let (status, ..) = client.response();
        match status {
            101 => client.answer_drain(), // The request arrived before the shutdown.
            status => assert_eq!(status, 503),
        }
    }
    assert_eq!(server.join().aborted, 0);
}

#[test]
fn a_client_beyond_the_limit_gets_503_and_is_accepted_after_another_leaves() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut first = Client::open(server.address);
    let _second = Client::open(server.address);
    let mut third = Client::connect(server.address);
    let (status, head, body) = third.request(UPGRADE);
    assert_eq!(status, 503);
    assert_eq!(header(&head, "retry-after"), Some("5"));
    assert!(body.starts_with("connection_limit: "), "{body}");
    third.expect_end();

    first.send(&close(1000, ""));
    first.frame();
    first.expect_end();
    // The permit is released shortly after the socket is closed.
    let until = Instant::now() + Duration::from_secs(5);
    while Client::connect(server.address).request(UPGRADE).0 != 101 {
        assert!(Instant::now() < until, "the permit is not released");
    }
}

//= rfc6455#7.2.2-1 test
#[test]
fn a_connection_without_an_upgrade_ends_at_the_handshake_timeout() {
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
    // A session has no such deadline.
    let mut session = Client::open(server.address);
    session.0.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    assert!(session.0.read(&mut [0]).is_err(), "the session stays open without input");
    session.send(&frame(PING, b""));
    assert_eq!(session.frame(), (PONG, vec![]));
}

#[test]
fn all_permits_are_released_after_many_sessions() {
    let mut server = protocols::start(&["--max-connections", "64"]);
    thread::scope(|scope| {
        for protocol in Protocol::ALL.iter().cycle().take(8) {
            let server = &server;
            scope.spawn(move || {
                for round in 0..50 {
                    let mut client = protocol.open(server);
                    match round % 4 {
                        0 => drop(client),
                        1 => client.send(&frame(0x83, b"invalid")),
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
    for protocol in Protocol::ALL.iter().cycle() {
        match protocol.try_open(&server) {
            Some(client) => last.push(client),
            None => assert!(Instant::now() < until, "only {} of 64 permits are free", last.len()),
        }
        if last.len() == 64 {
            break;
        }
    }
    server.begin_shutdown();
    for mut client in last {
        client.answer_drain();
    }
    assert_eq!(server.join().aborted, 0);
}
