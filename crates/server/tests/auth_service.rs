//! The service at `auth_url`: its decisions, what it receives, and its connections.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use support::admin::{ADMIN, get_json, wait_until};
use support::auth_service::{ADMIT, AuthService};
use support::process::{Process, server};
use support::protocols::{self, Protocol};
use support::raw_http2::{CONNECT, HEADERS, Http2, reset};
use support::server::Server;
use support::{CLOSE, Client, close_payload, header, upgrade_with};

const UNAUTHENTICATED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n";

/// A service that decides by the cookie.
fn by_cookie() -> AuthService {
    AuthService::answering(|head| {
        let head = head.to_lowercase();
        match header(&head, "cookie") {
            Some("session=alice") => ADMIT.to_owned(),
            Some("session=banned") => {
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nbanned".to_owned()
            }
            Some("session=broken") => {
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            _ => format!("{UNAUTHENTICATED}\r\n"),
        }
    })
}

/// The names of a head's fields, sorted.
fn names(head: &str) -> Vec<String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut names: Vec<String> = lines.map(|(name, _)| name.to_lowercase()).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_service_decides_on_handshakes_over_every_protocol() {
    let service = by_cookie();
    let server = protocols::start(&[&[&*service.flag()], ADMIN].concat());
    for protocol in Protocol::ALL {
        let is_http1 = matches!(protocol, Protocol::Http1 | Protocol::Http1Tls);
        let handshake = |fields: &[_]| protocol.handshake(&server, fields);
        let opened = if is_http1 { 101 } else { 200 };
        assert_eq!(handshake(&[("cookie", "session=alice")]), opened, "{protocol:?}");
        assert_eq!(handshake(&[]), 401, "{protocol:?}");
        assert_eq!(handshake(&[("cookie", "session=banned")]), 403, "{protocol:?}");
        assert_eq!(handshake(&[("cookie", "session=broken")]), 503, "{protocol:?}");
    }
    for (refusal, count) in
        [("unauthenticated", 4.0), ("forbidden", 4.0), ("auth_unavailable", 4.0)]
    {
        assert_eq!(server.refused(refusal), count, "{refusal}");
    }
    for outcome in ["admitted", "forbidden", "unauthenticated", "unavailable"] {
        let requests = format!("auth_requests_total{{outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&requests), 4.0, "{outcome}");
    }
    assert_eq!(server.metric("auth_request_seconds_count"), 16.0);
}

#[test]
fn the_metrics_are_there_before_the_first_request() {
    let server = Server::start(ADMIN);
    assert_eq!(server.metric("auth_requests_total{outcome=\"unavailable\"}"), 0.0);
    assert_eq!(server.metric("auth_request_seconds_count"), 0.0);
}

#[test]
fn a_401_has_the_challenges_of_the_service() {
    let challenges = "WWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic realm=\"a\"\r\n";
    let service = AuthService::answering(move |_| format!("{UNAUTHENTICATED}{challenges}\r\n"));
    let server = Server::start(&[&service.flag()]);
    let (status, head, body) = Client::connect(server.address).request(support::UPGRADE);
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: bearer\r\n"), "{head}");
    assert!(head.contains("www-authenticate: basic realm=\"a\"\r\n"), "{head}");
    assert!(body.starts_with("unauthenticated: "), "{body}");
}

#[test]
fn the_service_receives_the_listed_fields_and_no_others() {
    let service = AuthService::answering(|_| ADMIT);
    let flags = [&*service.flag(), "--allowed-origins=*", "--identity-header=X-User"];
    let server = protocols::start(&flags);
    let fields = [
        ("authorization", "Bearer t0ken"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("origin", "https://app.example"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "chat, auth.t0ken"),
        ("user-agent", "a browser"),
        // A forged identity, and forged headers of proxies.
        ("x-user", "admin"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "gopher"),
        ("x-original-uri", "/forged"),
        ("accept-language", "eo"),
    ];
    for (protocol, scheme) in Protocol::ALL.into_iter().zip(["http", "https", "http", "https"]) {
        protocol.handshake(&server, &fields);
        let head = service.requests().pop().unwrap();
        let expected = [
            ("authorization", "bearer t0ken"),
            ("cookie", "a=1; b=2"),
            ("host", service.url.split('/').nth(2).unwrap()),
            ("origin", "https://app.example"),
            ("sec-websocket-protocol", "chat, auth.t0ken"),
            ("user-agent", "a browser"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", scheme),
            ("x-original-uri", "/ws/status"),
        ];
        assert_eq!(names(&head), expected.map(|(name, _)| name), "{protocol:?}: {head}");
        assert!(head.starts_with("GET /auth?x=1 HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        for (name, value) in expected {
            assert_eq!(header(&head, name), Some(value), "{protocol:?}");
        }
    }
}

#[test]
fn the_service_receives_the_query_and_the_client_behind_a_proxy() {
    let service = AuthService::answering(|_| ADMIT);
    let proxy = ["--trusted-proxies=127.0.0.1", "--forwarded-header=x-forwarded-for"];
    let server = Server::start(&[&proxy[..], &[&service.flag()]].concat());
    let fields = [("X-Forwarded-For", "192.0.2.1, 198.51.100.7")];
    let request = upgrade_with(&fields).replace("/ws/status ", "/ws/status?topic=a&x=%20 ");
    assert_eq!(Client::connect(server.address).request(&request).0, 101);
    let head = service.requests().pop().unwrap().to_lowercase();
    assert_eq!(header(&head, "x-forwarded-for"), Some("198.51.100.7"));
    assert_eq!(header(&head, "x-original-uri"), Some("/ws/status?topic=a&x=%20"));
}

#[test]
fn the_service_names_the_identity_and_the_end_of_a_session() {
    let service = AuthService::answering(|head| {
        // Since 1970: the end of one session has passed, the other's is in 2100.
        let until = if head.contains("ended") { "1" } else { "4102444800" };
        format!(
            "HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Until: {until}\r\nContent-Length: 2\r\n\r\nok"
        )
    });
    let flags = [&*service.flag(), "--identity-header=x-user", "--expires-header=X-Until"];
    let table = ["--admin-listen=127.0.0.1:0", "--connection-table=true"];
    let server = Server::start(&[&flags[..], &table].concat());
    let mut client = Client::connect(server.address);
    // The identity that the client claims has no effect.
    assert_eq!(client.request(&upgrade_with(&[("X-User", "admin")])).0, 101);
    wait_until("it is listed", || {
        let listed = get_json(&server, "/connections");
        listed["connections"].as_array().unwrap().len() == 1
    });
    assert_eq!(get_json(&server, "/connections")["connections"][0]["identity"], "alice");

    let process = Process::start(&flags);
    let mut ended = Client::connect(process.address);
    assert_eq!(ended.request(&upgrade_with(&[("Cookie", "ended")])).0, 101);
    assert_eq!(ended.frame(), (CLOSE, close_payload(3000, "expired")));
    assert_eq!(process.event("opened")["identity"], "alice");
}

#[test]
fn a_service_that_names_nobody_admits_without_an_identity() {
    let service =
        AuthService::answering(|_| "HTTP/1.1 200 OK\r\nX-User:\r\nContent-Length: 0\r\n\r\n");
    let process = Process::start(&[&service.flag(), "--identity-header=X-User"]);
    let _client = Client::open(process.address);
    assert_eq!(process.event("opened")["identity"], serde_json::Value::Null);
}

#[test]
fn connections_to_the_service_are_used_again() {
    let service = AuthService::answering(|head| {
        if head.contains("known") {
            return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody".to_owned();
        }
        format!("{UNAUTHENTICATED}\r\n")
    });
    let server = Server::start(&[&service.flag()]);
    for number in 0..20 {
        let (cookie, status) = if number % 2 == 0 { ("known", 101) } else { ("other", 401) };
        let request = upgrade_with(&[("Cookie", cookie)]);
        assert_eq!(Client::connect(server.address).request(&request).0, status);
    }
    assert_eq!((service.requests().len(), service.connections()), (20, 1));
}

#[test]
fn as_many_connections_are_kept_as_there_are_requests_at_a_time() {
    const CLIENTS: usize = 100;
    raise_file_limit();
    // No request is answered before all of them have arrived.
    let arrived = Barrier::new(CLIENTS);
    let service = AuthService::behaving(move |_, connection| {
        arrived.wait();
        connection.write_all(ADMIT.as_bytes()).is_ok()
    });
    let server = Server::start(&[&service.flag(), "--auth-timeout-secs=60"]);
    for _ in 0..3 {
        let mut clients: Vec<Client> =
            (0..CLIENTS).map(|_| Client::connect(server.address)).collect();
        clients.iter_mut().for_each(|client| client.send(upgrade_with(&[]).as_bytes()));
        for client in &mut clients {
            assert_eq!(client.response().0, 101);
        }
    }
    assert_eq!(service.requests().len(), 3 * CLIENTS);
    // A request may find that its predecessor has just not returned its connection yet.
    assert!(service.connections() < CLIENTS + CLIENTS / 4, "{}", service.connections());
}

#[test]
fn a_stale_connection_to_the_service_is_no_failure_of_a_client() {
    // The service closes each connection at its second request, without a response.
    let service = AuthService::behaving(|_, connection| {
        connection.write_all(ADMIT.as_bytes()).unwrap();
        let _ = connection.read_exact(&mut [0]);
        false
    });
    let server = Server::start(&[&service.flag()]);
    for _ in 0..5 {
        Client::open(server.address);
    }
    assert_eq!(service.connections(), 5);
}

#[test]
fn handshakes_that_the_server_itself_refuses_do_not_reach_the_service() {
    let service = AuthService::answering(|_| ADMIT);
    let server = Server::start(&[&service.flag()]);
    let valid = upgrade_with(&[]);
    for (request, status) in [
        (upgrade_with(&[("Origin", "https://foreign.example")]), 403),
        (valid.replace("13", "12"), 426),
        (valid.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), 400),
        (valid.replace("/ws/status", "/else"), 404),
        (valid.replace("GET", "POST"), 405),
    ] {
        assert_eq!(Client::connect(server.address).request(&request).0, status, "{request}");
    }
    assert_eq!(service.requests(), [""; 0]);
    let server = Server::start(&[&service.flag(), "--max-connections=1"]);
    let _only = Client::open(server.address);
    assert_eq!(Client::connect(server.address).request(&valid).0, 503);
    assert_eq!(service.requests().len(), 1);
}

/// A service that does not answer, and reports when the server closes a connection.
fn silent() -> (AuthService, mpsc::Receiver<usize>) {
    let (closed, closes) = mpsc::channel();
    let service = AuthService::behaving(move |_, connection| {
        let count = connection.read(&mut [0]).unwrap_or(0);
        closed.send(count).unwrap();
        false
    });
    (service, closes)
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let (service, closes) = silent();
    let server =
        Server::start(&[&service.flag(), "--auth-timeout-secs=60", "--handshake-timeout-secs=60"]);
    let mut http1 = Client::connect(server.address);
    http1.send(upgrade_with(&[]).as_bytes());
    wait_until("the service is asked", || service.requests().len() == 1);
    drop(http1);
    assert_eq!(closes.recv_timeout(Duration::from_secs(10)), Ok(0));

    let mut http2 = Http2::connect(server.address);
    let stream = http2.start_request(CONNECT);
    wait_until("the service is asked", || service.requests().len() == 2);
    http2.send(&reset(stream));
    assert_eq!(closes.recv_timeout(Duration::from_secs(10)), Ok(0));
}

/// Clients, server and service share the open files of this process.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_slow_decision_holds_up_no_other_stream() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let service = AuthService::behaving(move |head, connection| {
        if head.contains("slow") {
            released.lock().unwrap().recv().unwrap();
        }
        connection.write_all(ADMIT.as_bytes()).is_ok()
    });
    let server = Server::start(&[&service.flag(), "--auth-timeout-secs=60"]);
    let mut client = Http2::connect(server.address);
    let slow = client.start_request(&[CONNECT, &[("cookie", "slow")]].concat());
    wait_until("the service is asked", || service.requests().len() == 1);
    for _ in 0..3 {
        let stream = client.open();
        client.exchange_pings(stream);
    }
    release.send(()).unwrap();
    assert_eq!(client.expect(HEADERS, slow).status(), 200);
}

#[test]
fn a_drain_refuses_the_clients_that_wait_for_the_service() {
    let (service, closes) = silent();
    let mut server = Server::start(&[&service.flag(), "--auth-timeout-secs=60"]);
    let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(server.address)).collect();
    waiting.iter_mut().for_each(|client| client.send(upgrade_with(&[]).as_bytes()));
    wait_until("the service is asked", || service.requests().len() == 5);
    let began = Instant::now();
    server.begin_shutdown();
    for client in &mut waiting {
        let (status, _, body) = client.response();
        assert_eq!(status, 503);
        assert!(body.starts_with("draining: "), "{body}");
        assert_eq!(closes.recv_timeout(Duration::from_secs(10)), Ok(0));
    }
    drop(waiting);
    let summary = server.join();
    assert!(began.elapsed() < Duration::from_secs(5), "{summary:?}");
}

#[test]
fn two_thousand_clients_at_once_are_admitted_within_the_limit_of_concurrent_requests() {
    const CLIENTS: usize = 2000;
    raise_file_limit();
    let service = AuthService::behaving(|_, connection| {
        thread::sleep(Duration::from_millis(50));
        connection.write_all(ADMIT.as_bytes()).is_ok()
    });
    let flags = [&*service.flag(), "--max-concurrent-admissions=64", "--auth-timeout-secs=9"];
    let server = Server::start(&flags);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(server.address)).collect();
    clients.iter_mut().for_each(|client| client.send(upgrade_with(&[]).as_bytes()));
    for client in &mut clients {
        let (status, _, body) = client.response();
        assert_eq!(status, 101, "{body}");
    }
    assert_eq!(service.requests().len(), CLIENTS);
    assert!((32..=64).contains(&service.highest()), "{}", service.highest());
}

#[test]
fn a_reload_of_the_url_applies_to_new_handshakes() {
    let [before, after] = [401, 403].map(|status| {
        AuthService::answering(move |_| {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
        })
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auth-reload.toml");
    let write = |url: &str| fs::write(&file, format!("auth_url = \"{url}\"")).unwrap();
    write(&before.url);
    let process = Process::start_as(server(), &[&format!("--config={}", file.display())]);
    let status = || Client::connect(process.address).request(&upgrade_with(&[])).0;
    assert_eq!(status(), 401);
    write(&after.url);
    process.signal(Signal::HUP);
    process.event("reloaded");
    assert_eq!(status(), 403);
    write("");
    process.signal(Signal::HUP);
    process.event("reloaded");
    assert_eq!(status(), 101);
}
