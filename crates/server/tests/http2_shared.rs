//! An HTTP/2 connection of a trusted proxy: no client ends the sessions of the others that share it.

mod support;

use support::raw_http2::{CONNECT, ENHANCE_YOUR_CALM, Http2, headers, reset};
use support::server::Server;

const PROXY: &[&str] = &["--trusted-proxies", "127.0.0.1", "--forwarded-header", "x-forwarded-for"];

/// The address of the client that a proxy forwards a request of.
const CLIENT: (&str, &str) = ("x-forwarded-for", "198.51.100.7");

/// More requests than a client with its own connection may send.
const MANY: usize = 300;

/// A handshake request of a client.
fn valid() -> Vec<(&'static str, &'static str)> {
    [CONNECT, &[CLIENT]].concat()
}

/// The same request with an invalid path.
fn malformed() -> Vec<(&'static str, &'static str)> {
    let invalid = |(name, value)| (name, if name == ":path" { "/ws/status?<" } else { value });
    valid().into_iter().map(invalid).collect()
}

#[test]
fn resets_of_clients_behind_a_proxy_do_not_end_other_sessions() {
    let server = Server::start(PROXY);
    let mut proxy = Http2::connect(server.address);
    let session = proxy.open();
    for _ in 0..MANY {
        let stream = proxy.start_request(&valid());
        proxy.send(&reset(stream));
    }
    proxy.exchange_pings(session);
}

#[test]
fn malformed_requests_that_a_proxy_forwards_do_not_end_other_sessions() {
    let server = Server::start(PROXY);
    let mut proxy = Http2::connect(server.address);
    let session = proxy.open();
    for _ in 0..MANY {
        assert_eq!(proxy.request(&malformed()), 400);
    }
    proxy.exchange_pings(session);
}

#[test]
fn a_client_with_its_own_connection_has_stricter_limits() {
    let server = Server::start(&[]);
    let mut client = Http2::connect(server.address);
    client.open();
    for _ in 0..MANY {
        let stream = client.stream();
        // The server may have closed the connection.
        client.send_ignoring_errors(&headers(stream, &malformed()));
    }
    // It follows the graceful GOAWAY (NO_ERROR), since the client goes on.
    assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM);
}
