//! Invalid requests and frames over HTTP/2: each is refused or reset and opens no session (RFC 9113,
//! sections 5, 6 and 8).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::raw_http2::{
    ACK, CONNECT, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GET, GOAWAY, HEADERS, Http2,
    INITIAL_WINDOW_SIZE, NO_ERROR, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, headers, settings, window_update,
};
use support::server::Server;

/// Makes frames for the stream of a session.
type Ending = fn(u32) -> Vec<u8>;

type Fields = Vec<(&'static str, &'static str)>;

fn server() -> Server {
    Server::start(&["--admin-listen", "127.0.0.1:0", "--control-frames-per-second", "0"])
}

/// The valid request without some fields and with others appended.
fn changed(without: &[&str], more: &[(&'static str, &'static str)]) -> Fields {
    let kept = CONNECT.iter().filter(|(name, _)| !without.contains(name));
    kept.chain(more).copied().collect()
}

/// The valid request with another value of a field.
fn with(name: &'static str, value: &'static str) -> Fields {
    CONNECT.iter().map(|line| if line.0 == name { (name, value) } else { *line }).collect()
}

/// Sends a request and returns its status, or the error code of its reset.
fn outcome(client: &mut Http2, fields: &[(&str, &str)]) -> Result<u16, u32> {
    let stream = client.start_request(fields);
    let answer = std::iter::from_fn(|| client.frame())
        .find(|frame| frame.is(HEADERS, stream) || frame.is(RST_STREAM, stream))
        .expect("the connection stays open");
    if answer.kind == HEADERS { Ok(answer.status()) } else { Err(answer.code()) }
}

//= rfc8441#4-1 rfc8441#5-2 test
#[test]
fn a_malformed_request_gets_400_and_other_streams_stay_open() {
    let server = server();
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let requests: [(&str, Fields); 17] = [
        ("no method", changed(&[":method"], &[])),
        ("no scheme", changed(&[":scheme"], &[])),
        ("no path", changed(&[":path"], &[])),
        ("an empty path", with(":path", "")),
        ("an empty authority", with(":authority", "")),
        ("an invalid authority", with(":authority", "a/b c")),
        ("no fields", Vec::new()),
        ("a protocol without CONNECT", with(":method", "GET")),
        ("no protocol, but a path", changed(&[":protocol"], &[])),
        ("two paths", [&[(":path", "/ws/status")], CONNECT].concat()),
        ("two methods", [&[(":method", "CONNECT")], CONNECT].concat()),
        ("two authorities", [&[(":authority", "b")], CONNECT].concat()),
        ("a pseudo-header behind others", changed(&[":path"], &[(":path", "/ws/status")])),
        ("a status", [&[(":status", "200")], CONNECT].concat()),
        ("connection", changed(&[], &[("connection", "upgrade")])),
        ("upgrade", changed(&[], &[("upgrade", "websocket")])),
        ("transfer-encoding", changed(&[], &[("transfer-encoding", "chunked")])),
    ];
    for (name, fields) in requests {
        assert_eq!(outcome(&mut client, &fields), Ok(400), "{name}");
    }
    client.exchange_pings(session);
    assert_eq!(server.metric("sessions_opened_total"), 1.0);
    assert_eq!(server.refused("malformed"), 17.0);
}

//= rfc6455#3-1 rfc8441#4-2 rfc8441#5-1 rfc8441#5-3 test
#[test]
fn a_request_that_is_no_valid_handshake_gets_its_status() {
    let server = server();
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let requests: [(&str, u16, Fields); 22] = [
        ("an empty protocol", 501, with(":protocol", "")),
        ("another protocol", 501, with(":protocol", "websocket, x")),
        ("a plain CONNECT", 405, vec![(":method", "CONNECT"), (":authority", "a:80")]),
        ("a GET", 426, [&[(":method", "GET")], &CONNECT[2..]].concat()),
        ("a PUT", 405, [&[(":method", "PUT")], &CONNECT[2..]].concat()),
        ("all paths", 404, with(":path", "/")),
        ("a path with more", 404, with(":path", "/ws/status/")),
        ("two slashes", 404, with(":path", "//ws/status")),
        ("no host", 400, changed(&[":authority"], &[])),
        ("another Host", 400, changed(&[], &[("host", "b")])),
        ("two Hosts", 400, changed(&[], &[("host", "a"), ("host", "a")])),
        ("two other Hosts", 400, changed(&[":authority"], &[("host", "a"), ("host", "b")])),
        ("a user", 400, with(":authority", "b@a")),
        ("a body", 400, changed(&[], &[("content-length", "5")])),
        ("two lengths", 400, changed(&[], &[("content-length", "0"), ("content-length", "0")])),
        ("two lengths elsewhere", 400, [GET, &[("content-length", "0"); 2]].concat()),
        ("another Host elsewhere", 400, [GET, &[("host", "b")]].concat()),
        ("no host elsewhere", 400, GET[..3].to_vec()),
        ("another port in Host", 400, changed(&[], &[("host", "a:443")])),
        ("a fragment", 400, with(":path", "/ws/status#a")),
        ("no version", 426, changed(&["sec-websocket-version"], &[])),
        ("two versions", 426, changed(&[], &[("sec-websocket-version", "13")])),
    ];
    for (name, status, fields) in requests {
        assert_eq!(outcome(&mut client, &fields), Ok(status), "{name}");
    }
    client.exchange_pings(session);
    assert_eq!(server.metric("sessions_opened_total"), 1.0);
}

//= rfc8441#5-3 test
#[test]
fn each_valid_form_of_a_request_opens_a_session() {
    let server = server();
    let requests: [(&str, Fields); 8] = [
        ("no content", changed(&[], &[("content-length", "0")])),
        ("the protocol as a client of HTTP/1.1 writes it", with(":protocol", "WebSocket")),
        ("Host besides", changed(&[], &[("host", "a")])),
        ("Host instead", changed(&[":authority"], &[("host", "a")])),
        ("the port of the scheme in Host", changed(&[], &[("host", "A:80")])),
        ("the port of the scheme", [&with(":authority", "a:80")[..], &[("host", "a")]].concat()),
        ("a port of nothing", [&with(":authority", "a:")[..], &[("host", "a:80")]].concat()),
        ("a cookie in parts", changed(&[], &[("cookie", "a=b"); 40])),
    ];
    for (name, fields) in requests {
        let mut client = Http2::connect(server.address);
        let stream = client.start_request(&fields);
        assert_eq!(client.expect(HEADERS, stream).status(), 200, "{name}");
        // h2 does not count the data of a session against a content length.
        client.exchange_pings(stream);
    }
}

#[test]
fn an_http2_connection_error_ends_its_connection_and_is_recorded_once() {
    let server = server();
    let errors: Vec<(&str, Vec<u8>)> = vec![
        ("an index beyond the table", frame(HEADERS, END_HEADERS, 3, &[0xff, 0xff, 0x03])),
        ("a truncated field", frame(HEADERS, END_HEADERS, 3, &[0, 9, b'x'])),
        ("a length without an end", frame(HEADERS, END_HEADERS, 3, &[0xff; 30])),
        ("a larger table", frame(HEADERS, END_HEADERS, 3, &[0x3f, 0xff, 0xff, 0x03])),
        ("padding beyond the end", frame(HEADERS, END_HEADERS | PADDED, 3, &[9, 0])),
        ("HEADERS on stream 0", headers(0, CONNECT)),
        ("HEADERS on a stream of the server", headers(2, CONNECT)),
        (
            "another frame within a header block",
            [frame(HEADERS, 0, 3, &[]), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "CONTINUATION of another stream",
            [frame(HEADERS, 0, 3, &[]), frame(CONTINUATION, END_HEADERS, 5, &[])].concat(),
        ),
        ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 3, &block(CONNECT))),
        ("DATA on stream 0", frame(DATA, 0, 0, &[0])),
        ("DATA on an idle stream", frame(DATA, 0, 9, &[0])),
        ("DATA with too much padding", frame(DATA, PADDED, 1, &[9])),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 9, &[0; 4])),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("RST_STREAM too short", frame(RST_STREAM, 0, 1, &[0])),
        ("a push", frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(GET)].concat())),
        ("PING too short", frame(PING, 0, 0, &[0])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("SETTINGS too short", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS with ACK and payload", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("a window too large", settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)])),
        ("a frame too small", settings(&[(5, 100)])),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("WINDOW_UPDATE by 0", window_update(0, 0)),
        ("WINDOW_UPDATE by 0 on a stream", window_update(1, 0)),
        ("WINDOW_UPDATE that overflows", window_update(0, u32::MAX >> 1)),
        ("WINDOW_UPDATE too short", frame(WINDOW_UPDATE, 0, 0, &[0])),
        ("a frame too large", frame(0x42, 0, 0, &[0; (1 << 14) + 1])),
        ("HTTP/1.1", b"GET /ws/status HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ];
    let mut other = Http2::connect(server.address);
    let other_session = other.open();
    for (round, (name, bytes)) in (1_u32..).zip(errors) {
        let mut client = Http2::connect(server.address);
        client.open();
        client.send(&bytes);
        let rest = client.rest();
        let goaway = rest.iter().find(|frame| frame.kind == GOAWAY).map(Frame::code);
        assert!(goaway.is_some_and(|code| code != NO_ERROR), "{name}: {rest:?}");
        drop(client);
        server.wait_for("connections", 1.0);
        assert_eq!(server.refused("malformed"), f64::from(round), "{name}");
        other.exchange_pings(other_session);
    }
}

#[test]
fn a_session_ends_with_its_stream_and_no_other_session_does() {
    let server = server();
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let endings: [(&str, Ending); 5] = [
        ("an end", |stream| frame(DATA, END_STREAM, stream, &[])),
        ("a reset", |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])),
        ("trailers", |stream| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x", "x")]))
        }),
        ("trailers without END_STREAM", |stream| headers(stream, &[("x", "x")])),
        ("a window too large", |stream| window_update(stream, u32::MAX >> 1)),
    ];
    for (round, (name, ending)) in (2_u32..).zip(endings) {
        let stream = client.open();
        client.send(&ending(stream));
        assert_eq!(server.metric("sessions_opened_total"), f64::from(round), "{name}");
        server.wait_for("sessions", 1.0);
        client.exchange_pings(session);
    }
    assert_eq!(server.refused("malformed"), 0.0);
}
