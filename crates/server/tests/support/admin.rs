//! Requests to the admin listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Client;
use super::server::Server;

/// The flag for an admin listener on a free port.
pub(crate) const ADMIN: &[&str] = &["--admin-listen", "127.0.0.1:0"];

/// Starts a server and waits until it is ready.
pub(crate) fn server(flags: &[&str]) -> Server {
    let server = Server::start(&[ADMIN, flags].concat());
    wait_until("it is ready", || get(&server, "/readyz").0 == 200);
    server
}

/// Sends a request to the admin listener. Returns the status, the head and the body.
pub(crate) fn send(admin: SocketAddr, request: &str) -> (u16, String, String) {
    Client::connect(admin).request(request)
}

pub(crate) fn get(server: &Server, target: &str) -> (u16, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (status, _, body) = send(server.admin.unwrap(), &request);
    (status, body)
}

pub(crate) fn get_json(server: &Server, target: &str) -> Value {
    let (status, body) = get(server, target);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub(crate) fn post_drain(server: &Server, query: &str) -> Value {
    let request = format!("POST /drain{query} HTTP/1.1\r\nHost: localhost\r\nX-Drain: 1\r\n\r\n");
    let (status, _, body) = send(server.admin.unwrap(), &request);
    assert_eq!(status, 202, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Reads all metrics: names with labels, and values.
pub(crate) fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (status, body) = get(server, "/metrics");
    assert_eq!(status, 200);
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Waits until a condition holds, at most ten seconds.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_true() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
