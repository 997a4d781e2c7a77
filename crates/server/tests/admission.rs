//! The admission of clients by the application: its time, its limits, its answers, and what surrounds it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::{Duration, Instant};

use support::admin::{ADMIN, get_json, scrape, send, wait_until};
use support::gatekeeper::Gatekeeper;
use support::raw_http2::{CONNECT, DATA, HEADERS, Http2, reset};
use support::server::Server;
use support::{CLOSE, Client, PING, PONG, UPGRADE, close, close_payload, frame, header};
use transport::Discard;

/// A handshake request with this query.
fn request(query: &str) -> String {
    UPGRADE.replace("/ws/status", &format!("/ws/status?{query}"))
}

/// The fields of a handshake over HTTP/2 with this query.
fn fields(path: &str) -> Vec<(&'static str, &str)> {
    CONNECT
        .iter()
        .map(|(name, value)| (*name, if *name == ":path" { path } else { *value }))
        .collect()
}

fn start(flags: &[&str]) -> (Server, Gatekeeper) {
    let gatekeeper = Gatekeeper::new();
    let server = Server::start_with(gatekeeper.clone(), &[ADMIN, flags].concat());
    (server, gatekeeper)
}

#[test]
fn each_route_has_its_own_application_and_another_path_names_them() {
    let routes =
        server::Server::new().route("/ws/status", Gatekeeper::new()).route("/ws/other", Discard);
    let server = Server::start_server(routes, &[]);
    let mut client = Client::connect(server.address);
    let (status, head, body) = client.request(UPGRADE);
    assert_eq!((status, &*body), (401, "no_name: the query must be who=NAME\n"));
    assert_eq!(header(&head, "www-authenticate"), Some("query"));
    assert_eq!(Client::connect(server.address).request(&request("who=a")).0, 101);
    let other = UPGRADE.replace("/ws/status", "/ws/other?who=nobody");
    assert_eq!(Client::connect(server.address).request(&other).0, 101);
    let (status, _, body) = Client::connect(server.address).request(&UPGRADE.replace("/ws", "/w"));
    assert_eq!(status, 404);
    assert!(body.ends_with("the WebSocket endpoints are /ws/status and /ws/other\n"), "{body}");
}

#[test]
#[should_panic(expected = "\"/ws/status\" is registered twice")]
fn a_path_can_be_registered_once() {
    let _ = server::Server::status(Discard).route("/ws/status", Discard);
}

#[test]
fn a_denial_is_counted_as_the_applications_and_releases_the_permit() {
    let (server, _) = start(&["--max-connections=1"]);
    for _ in 0..3 {
        let mut client = Client::connect(server.address);
        let (status, _, body) = client.request(&request("who=nobody"));
        assert_eq!((status, &*body), (403, "is_nobody: nobody may connect\n"));
        client.expect_end();
        drop(client);
        wait_until("the permit is released", || scrape(&server)["ws_status_connections"] == 0.0);
    }
    assert_eq!(server.refused("application"), 3.0);
    let mut admitted = Client::connect(server.address);
    assert_eq!(admitted.request(&request("who=a")).0, 101);
    assert_eq!(Client::connect(server.address).request(&request("who=a")).0, 503);
}

#[test]
fn a_panic_of_the_application_is_a_500_for_its_request_only() {
    let (server, _) = start(&[]);
    let mut http2 = Http2::connect(server.address);
    let session = http2.start_request(&fields("/ws/status?who=a"));
    assert_eq!(http2.expect(HEADERS, session).status(), 200);
    assert_eq!(http2.request(&fields("/ws/status?who=panics")), 500);
    http2.exchange_pings(session);
    let mut client = Client::connect(server.address);
    let (status, _, body) = client.request(&request("who=panics"));
    assert_eq!((status, body.split(':').next()), (500, Some("internal_error")));
    assert_eq!(server.refused("internal_error"), 2.0);
}

#[test]
fn frames_that_arrive_before_the_decision_belong_to_the_session() {
    let (server, gatekeeper) = start(&[]);
    // The second looks like a request target with a fragment, which is not checked within a session.
    for early in [frame(PING, b"early"), [frame(PING, b"\n#"), frame(PING, b"early")].concat()] {
        let mut client = Client::connect(server.address);
        client.send(&[request("who=a&wait").as_bytes(), &early].concat());
        wait_until("the application decides", || gatekeeper.current() == 1);
        client.send(&frame(PING, b"later"));
        gatekeeper.release(1);
        assert_eq!(client.head().0, 101);
        let mut payloads = Vec::new();
        while payloads.last().is_none_or(|payload| payload != b"later") {
            let (first, payload) = client.frame();
            assert_eq!(first, PONG);
            payloads.push(payload);
        }
        assert!(payloads.iter().any(|payload| payload == b"early"), "{payloads:?}");
    }
}

#[test]
fn a_client_that_leaves_ends_the_decision_about_it() {
    let (server, gatekeeper) = start(&[]);
    let mut client = Client::connect(server.address);
    client.send(request("who=a&wait").as_bytes());
    let mut http2 = Http2::connect(server.address);
    let session = http2.start_request(&fields("/ws/status?who=a"));
    assert_eq!(http2.expect(HEADERS, session).status(), 200);
    let stream = http2.start_request(&fields("/ws/status?who=a&wait"));
    wait_until("the application decides on both", || gatekeeper.current() == 2);
    drop(client);
    wait_until("one of them has left", || gatekeeper.current() == 1);
    http2.send(&reset(stream));
    wait_until("both have left", || gatekeeper.current() == 0);
    // The other session of the connection goes on.
    http2.exchange_pings(session);
    wait_until("the permits are released", || scrape(&server)["ws_status_connections"] == 1.0);
    let samples = scrape(&server);
    assert_eq!(samples["ws_status_sessions_opened_total"], 1.0);
}

#[test]
fn a_slow_decision_holds_up_no_other_stream_of_its_connection() {
    let (server, gatekeeper) = start(&[]);
    let mut client = Http2::connect(server.address);
    let slow = client.start_request(&fields("/ws/status?who=a&wait"));
    wait_until("the application decides", || gatekeeper.current() == 1);
    for _ in 0..3 {
        let quick = client.start_request(&fields("/ws/status?who=b"));
        assert_eq!(client.expect(HEADERS, quick).status(), 200);
        client.exchange_pings(quick);
    }
    gatekeeper.release(1);
    assert_eq!(client.expect(HEADERS, slow).status(), 200);
    client.exchange_pings(slow);
}

#[test]
fn a_decision_that_takes_too_long_is_refused_within_the_handshake_timeout() {
    let (server, gatekeeper) = start(&["--handshake-timeout-secs=0.5"]);
    let mut client = Client::connect(server.address);
    let mut http2 = Http2::connect(server.address);
    let began = Instant::now();
    let stream = http2.start_request(&fields("/ws/status?who=a&wait"));
    let (status, head, body) = client.request(&request("who=a&wait"));
    assert_eq!((status, body.split(':').next()), (503, Some("admission_timeout")));
    assert_eq!(header(&head, "retry-after"), Some("5"));
    client.expect_end();
    assert_eq!(http2.expect(HEADERS, stream).status(), 503);
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(gatekeeper.current(), 0);
    assert_eq!(server.refused("admission_timeout"), 2.0);
}

#[test]
fn at_most_so_many_decisions_run_at_a_time_and_the_others_wait() {
    let (server, gatekeeper) = start(&["--max-concurrent-admissions=2"]);
    let clients: Vec<Client> = (0..5)
        .map(|number| {
            let mut client = Client::connect(server.address);
            client.send(request("who=a&wait").as_bytes());
            let running = (number + 1).min(2);
            wait_until("the application decides", || gatekeeper.current() == running);
            client
        })
        .collect();
    wait_until("all have a permit", || scrape(&server)["ws_status_connections"] == 5.0);
    assert_eq!(gatekeeper.current(), 2);
    gatekeeper.release(5);
    for mut client in clients {
        assert_eq!(client.head().0, 101);
    }
    assert_eq!(gatekeeper.most(), 2);
}

#[test]
fn a_drain_refuses_the_handshakes_that_are_not_decided_yet() {
    let (mut server, gatekeeper) = start(&[]);
    let mut client = Client::connect(server.address);
    client.send(request("who=a&wait").as_bytes());
    let mut http2 = Http2::connect(server.address);
    let stream = http2.start_request(&fields("/ws/status?who=a&wait"));
    wait_until("the application decides on both", || gatekeeper.current() == 2);
    server.begin_shutdown();
    let (status, _, body) = client.response();
    assert_eq!((status, body.split(':').next()), (503, Some("draining")));
    client.expect_end();
    assert_eq!(http2.expect(HEADERS, stream).status(), 503);
    drop((client, http2));
    assert_eq!(gatekeeper.current(), 0);
    let began = Instant::now();
    assert_eq!(server.join().aborted, 0);
    assert!(began.elapsed() < Duration::from_secs(3), "no client is waited for");
}

#[test]
fn a_session_ends_with_3000_when_its_permission_ends() {
    let (server, _) = start(&[]);
    let mut client = Client::connect(server.address);
    assert_eq!(client.request(&request("who=brief")).0, 101);
    assert_eq!(client.frame(), (CLOSE, close_payload(3000, "expired")));
    client.send(&close(3000, ""));
    client.expect_end();
    wait_until("it is counted", || {
        scrape(&server)["ws_status_sessions_closed_total{cause=\"expired\",code=\"3000\"}"] == 1.0
    });
}

/// Requests the end of the sessions of an identity.
fn disconnect(server: &Server, query: &str, headers: &str) -> (u16, String) {
    let request = format!("POST /disconnect?{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let (status, _, body) = send(server.admin.unwrap(), &request);
    (status, body)
}

#[test]
fn an_operator_ends_the_sessions_of_one_user() {
    let (server, _) = start(&["--connection-table=true"]);
    let open = |query: &str| {
        let mut client = Client::connect(server.address);
        assert_eq!(client.request(&request(query)).0, 101);
        client
    };
    let (mut first, mut second, mut other) = (open("who=alice"), open("who=alice"), open("who=al"));
    let mut http2 = Http2::connect(server.address);
    let stream = http2.start_request(&fields("/ws/status?who=alice"));
    assert_eq!(http2.expect(HEADERS, stream).status(), 200);
    let table = get_json(&server, "/connections");
    let identities: Vec<&str> = table["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["identity"].as_str().unwrap())
        .collect();
    assert_eq!(identities.iter().filter(|it| **it == "alice").count(), 3, "{table}");

    let (status, body) =
        disconnect(&server, "identity=alice&code=4001&reason=log%20out", "X-Disconnect: 1\r\n");
    assert_eq!((status, &*body), (200, "{\"sessions\":3}\n"));
    for client in [&mut first, &mut second] {
        assert_eq!(client.frame(), (CLOSE, close_payload(4001, "log out")));
        client.send(&close(4001, ""));
        client.expect_end();
    }
    let data = http2.expect(DATA, stream).payload;
    assert_eq!(data[2..], close_payload(4001, "log out"));
    other.send(&frame(PING, b"here"));
    assert_eq!(other.frame(), (PONG, b"here".to_vec()));
    http2.send_data(stream, &close(4001, ""));
    wait_until("their ends are counted", || {
        scrape(&server)["ws_status_sessions_closed_total{cause=\"disconnect_requested\",code=\"4xxx\"}"]
            == 3.0
    });
    let (status, body) = disconnect(&server, "identity=alice", "X-Disconnect: 1\r\n");
    assert_eq!((status, &*body), (200, "{\"sessions\":0}\n"));
    // The default is 3000 without a reason.
    disconnect(&server, "identity=al", "X-Disconnect: 1\r\n");
    assert_eq!(other.frame(), (CLOSE, close_payload(3000, "")));
}

#[test]
fn a_request_to_disconnect_has_to_be_complete_and_from_no_page() {
    let (server, _) = start(&[]);
    let confirmed = "X-Disconnect: 1\r\n";
    let long = format!("identity=a&reason={}", "x".repeat(124));
    for query in [
        "",
        "identity=",
        "code=3000",
        "identity=a&identity=b",
        "identity=a&code=1000",
        "identity=a&code=3001",
        "identity=a&code=5000",
        "identity=a&code=x",
        "identity=a&other=1",
        &long,
    ] {
        assert_eq!(disconnect(&server, query, confirmed).0, 400, "{query}");
    }
    assert_eq!(disconnect(&server, &long.replace("xx", "x"), confirmed).0, 200);
    assert_eq!(disconnect(&server, "identity=a", "").0, 403);
    assert_eq!(disconnect(&server, "identity=a", "X-Disconnect: 1\r\nOrigin: http://a\r\n").0, 403);
}

#[test]
fn many_clients_are_admitted_at_once() {
    const CLIENTS: usize = 500;
    let (server, gatekeeper) = start(&["--max-concurrent-admissions=16"]);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.send(request("who=a&wait").as_bytes());
            client
        })
        .collect();
    gatekeeper.release(CLIENTS);
    for client in &mut clients {
        assert_eq!(client.head().0, 101);
    }
    assert!(gatekeeper.most() <= 16, "{}", gatekeeper.most());
    let frame = support::close_payload(3000, "");
    let (status, body) = disconnect(&server, "identity=a", "X-Disconnect: 1\r\n");
    assert_eq!((status, body), (200, format!("{{\"sessions\":{CLIENTS}}}\n")));
    for client in &mut clients {
        assert_eq!(client.frame(), (CLOSE, frame.clone()));
    }
}
