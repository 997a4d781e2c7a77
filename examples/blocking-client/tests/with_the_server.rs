//! The client with the real server.

mod support;

use support::Client;
use support::server::Server;

/// Short enough for the tests to observe pings, and within the server's rate limit.
const SHORT_PING_INTERVAL: [&str; 2] = ["--ping-interval", "0.2"];

#[test]
fn each_text_message_is_one_line_of_stdout() {
    let server = Server::start(&[]);
    server.publisher.publish("sunny");
    let mut client = Client::start(&server.url("/ws/status"), &SHORT_PING_INTERVAL);
    assert_eq!(client.line(), "sunny");
    server.publisher.publish("rain");
    assert_eq!(client.line(), "rain");

    client.close_stdin();
    client.end().expect(0, "closed cause=handler_closed code=1000 reason=\"\" clean=true");
    server.wait_for(&closed("peer_closed", 1000), 1.0);
}

#[test]
fn both_sides_ping_and_answer_pings() {
    let server = Server::start(&["--ping-interval-secs", "1", "--pong-timeout-secs", "1"]);
    let client = Client::start(&server.url("/ws/status"), &SHORT_PING_INTERVAL);
    server.wait_for("ws_status_round_trip_seconds_count", 2.0);

    client.interrupt();
    let end = client.end();
    end.expect(0, "cause=handler_closed code=1000");
    let (_, round_trip) = end.record.trim_end().split_once("round_trip=").unwrap();
    assert!(round_trip.ends_with("µs") || round_trip.ends_with("ms"), "{round_trip}");
}

#[test]
fn a_close_with_1001_from_the_server_is_clean() {
    let server = Server::start(&[]);
    let client = Client::start(&server.url("/ws/status"), &[]);
    server.wait_for("ws_status_sessions", 1.0);
    assert_eq!(server.stop().clean, 1);
    client.end().expect(0, "closed cause=peer_closed code=1001 reason=\"drained\" clean=true");
}

#[test]
fn a_refused_handshake_prints_the_servers_response() {
    let server = Server::start(&[]);
    let client = Client::start(&server.url("/elsewhere"), &[]);
    client.end().expect(2, "blocking-client: refused with 404 Not Found: not_found: ");
}

fn closed(cause: &str, code: u16) -> String {
    format!("ws_status_sessions_closed_total{{cause=\"{cause}\",code=\"{code}\"}}")
}
