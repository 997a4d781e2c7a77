//! Health checks over HTTP and TCP, and the log of invalid requests to the admin listener.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use serde_json::Value;
use support::Client;
use support::process::{Process, documented, fields};
use support::server::Server;
use support::tls::{Files, client_config, connect};

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const PROXIED: &[u8] = b"PROXY TCP4 198.51.100.7 10.0.0.1 4711 8080\r\n";

/// Sends a request to the admin listener and returns the status.
fn status(admin: SocketAddr, request: &str) -> u16 {
    Client::connect(admin).request(request).0
}

#[test]
fn a_health_check_of_http_1_0_needs_no_host_and_one_of_http_1_1_does() {
    let server = Server::start(&["--admin-listen=127.0.0.1:0"]);
    let admin = server.admin.unwrap();
    server.wait_for("ready", 1.0);
    for (request, expected) in [
        // As HAProxy's `option httpchk GET /readyz` sends it.
        ("GET /readyz HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS /readyz HTTP/1.0\r\n\r\n", 405),
        ("GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        // RFC 9112, section 3.2.
        ("GET /readyz HTTP/1.1\r\n\r\n", 400),
        ("GET /readyz HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400),
        ("GET /readyz HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        // A host that is present is checked in every version.
        ("GET /readyz HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        ("GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("GET http://evil.example/readyz HTTP/1.0\r\n\r\n", 403),
    ] {
        assert_eq!(status(admin, request), expected, "{request}");
    }
}

#[test]
fn each_refusal_of_the_admin_listener_is_logged_within_the_rate() {
    // The `starting` line has the port.
    let process = Process::spawn(&["--log-format=json", "--admin-listen=127.0.0.1:0"]);
    let admin: SocketAddr = process.event("starting")["admin"].as_str().unwrap().parse().unwrap();
    process.event("listening");
    for (request, path, host, status) in [
        (
            "GET /readyz?secret HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "/readyz",
            "evil.example",
            403,
        ),
        ("GET /readyz HTTP/1.1\r\n\r\n", "/readyz", "", 400),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", "/nothing", "localhost", 404),
        ("PUT /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "/metrics", "localhost", 405),
        ("POST /drain HTTP/1.1\r\nHost: localhost\r\n\r\n", "/drain", "localhost", 403),
        ("nonsense\r\n\r\n", "", "", 400),
    ] {
        let mut client = Client::connect(admin);
        assert_eq!(client.request(request).0, status, "{request}");
        let line = process.event("admin_refused");
        let peer = client.0.local_addr().unwrap().to_string();
        assert_eq!((&line["peer"], &line["path"]), (&peer.into(), &path.into()), "{line}");
        assert_eq!((&line["host"], &line["status"]), (&host.into(), &status.into()), "{line}");
        assert_eq!(fields(&line), documented("admin_refused"));
    }
    for _ in 0..50 {
        assert_eq!(status(admin, "GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    }
    process.signal(Signal::TERM);
    let suppressed = process.event("refused_suppressed")["lines"].as_u64().unwrap();
    // The burst is twenty, refilled by one a second, and six were used before.
    assert!((26..=36).contains(&suppressed), "{suppressed}");
}

/// Connects, sends these bytes, and disconnects, by a reset if `resets` is set.
fn probe(address: SocketAddr, bytes: &[u8], resets: bool) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    if resets {
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
}

/// Stops a server and returns the events that it has logged since it listened.
fn events(mut process: Process) -> Vec<Value> {
    process.signal(Signal::TERM);
    let lines = process.log.iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let events = lines.map(|line| line["event"].clone()).collect();
    process.exit_code();
    events
}

#[test]
fn a_client_that_disconnects_before_its_first_byte_is_not_logged() {
    let files = Files::new("probes");
    for mode in ["off", "optional", "required"] {
        let mode = format!("--proxy-protocol={mode}");
        let flags = ["--trusted-proxies=127.0.0.1", &mode];
        for process in [Process::start(&flags), files.start(&flags)] {
            for resets in [false, true] {
                probe(process.address, b"", resets);
                if mode != "--proxy-protocol=off" {
                    // A health check of the proxy, and one of a client behind it.
                    probe(process.address, LOCAL, resets);
                    probe(process.address, PROXIED, resets);
                }
            }
            assert_eq!(events(process), ["stopping", "stopped"], "{mode}");
        }
    }
    // After a TLS handshake.
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let process = files.start(&[]);
        let mut config = client_config(&files.cert, rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![protocol.to_vec()];
        let mut stream = connect(process.address, config);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        drop(stream);
        assert_eq!(events(process), ["stopping", "stopped"], "{protocol:?}");
    }
}

#[test]
fn a_client_that_disconnects_within_a_proxy_header_is_logged() {
    let process = Process::start(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=optional"]);
    for bytes in [&LOCAL[..5], b"PROXY TCP4 198.51", &[&LOCAL[..15], b"\x05abc"].concat()] {
        probe(process.address, bytes, false);
        assert_eq!(process.event("refused")["refusal"], "bad_proxy_header");
    }
    // A client that sends nothing is not logged, even at the timeout.
    let silent = TcpStream::connect(process.address).unwrap();
    assert_eq!(events(process), ["stopping", "stopped"]);
    drop(silent);
}
