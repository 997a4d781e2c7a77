//! Limits of HTTP/2: heads, header tables, windows, streams and sessions.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::atomic::Ordering;

use support::flooding_handler::FloodingHandler;
use support::raw_http2::{
    CONNECT, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GET, HEADERS, Http2,
    INITIAL_WINDOW_SIZE, PREFACE, REFUSED_STREAM, RST_STREAM, SETTINGS, block, frame, settings,
    text, window_update,
};
use support::server::Server;
use support::{Client, PING, PONG, UPGRADE, frame as websocket_frame};

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], flags].concat())
}

/// The header block of the valid request with these additional fields.
fn with(lines: &[(&str, &str)]) -> Vec<u8> {
    block(&[CONNECT, lines].concat())
}

#[test]
fn a_head_that_is_too_large_gets_431_and_other_streams_stay_open() {
    let server = server(&["--max-headers", "20"]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    let long = "x".repeat(9000);
    let many = vec![("x", "x"); 20];
    for lines in [&[("x", long.as_str())], &many[..]] {
        assert_eq!(client.request(&[CONNECT, lines].concat()), 431, "{}", lines.len());
    }
    let fits = "x".repeat(7000);
    assert_eq!(client.request(&[CONNECT, &[("x", fits.as_str())]].concat()), 200);
    client.exchange_pings(session);
    assert_eq!(server.refused("header_too_large"), 2.0);
}

#[test]
fn a_head_has_the_limits_of_http_1_1_and_a_split_cookie_counts_as_one_field() {
    let server = server(&["--max-headers", "20"]);
    let pair = |index: usize| format!("name{index}=value{index}");
    // Chromium stores up to 180 cookies per site.
    for (count, expected) in [(1, true), (80, true), (180, true), (600, false)] {
        let pairs: Vec<String> = (0..count).map(pair).collect();
        let lines: Vec<(&str, &str)> = pairs.iter().map(|it| ("cookie", it.as_str())).collect();
        let status = Http2::connect(server.address).request(&[CONNECT, &lines].concat());
        assert_eq!(status, if expected { 200 } else { 431 }, "{count} over HTTP/2");
        let line = format!("Host: a\r\nCookie: {}", pairs.join("; "));
        let mut client = Client::connect(server.address);
        client.send(UPGRADE.replace("Host: a", &line).as_bytes());
        assert_eq!(client.head().0, if expected { 101 } else { 431 }, "{count} over HTTP/1.1");
    }
    // A split cookie counts as one field, and its pairs count by their total length.
    for (others, expected) in [(18, 200), (19, 431)] {
        let lines = [&[("cookie", "a=b"); 50][..], &vec![("x", "x"); others]].concat();
        let status = Http2::connect(server.address).request(&[CONNECT, &lines].concat());
        assert_eq!(status, expected, "{others}");
    }
    // RFC 9113, section 6.5.2, adds 32 bytes per field; HTTP/1.1 has four.
    let server = self::server(&["--max-headers", "300"]);
    for (length, expected) in [(10, true), (23, true), (25, false)] {
        let value = "x".repeat(length);
        let lines = vec![("name", value.as_str()); 250];
        let status = Http2::connect(server.address).request(&[CONNECT, &lines].concat());
        assert_eq!(status, if expected { 200 } else { 431 }, "{length} over HTTP/2");
        let lines = format!("Host: a\r\n{}X: y", format!("name: {value}\r\n").repeat(250));
        let mut client = Client::connect(server.address);
        client.send(UPGRADE.replace("Host: a", &lines).as_bytes());
        assert_eq!(client.head().0 == 101, expected, "{length} over HTTP/1.1");
    }
    // An indexed cookie takes one byte of input and counts two for its separator.
    let mut client = Http2::connect(server.address);
    let session = client.open();
    for (count, expected) in [(3000, 200), (5000, 431)] {
        const COOKIE: u8 = 0x80 | 32;
        let stream = client.stream();
        let lines = [block(CONNECT), vec![COOKIE; count]].concat();
        client.send(&frame(HEADERS, END_HEADERS, stream, &lines));
        assert_eq!(client.expect(HEADERS, stream).status(), expected, "{count}");
        client.exchange_pings(session);
    }
}

#[test]
fn the_advertised_header_list_size_allows_every_head_that_is_accepted() {
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let server = server(&[]);
    let mut client = Http2::connect_without_preface(server.address);
    client.send(&[PREFACE, &settings(&[])].concat());
    let settings = client.expect(SETTINGS, 0);
    let advertised =
        settings.payload.chunks(6).find(|it| it[..2] == MAX_HEADER_LIST_SIZE.to_be_bytes());
    let advertised = u32::from_be_bytes(advertised.unwrap()[2..].try_into().unwrap());
    // The most cookie pairs that fit in a head, with the overhead of RFC 9113, section 6.5.2, for each.
    let pairs = 8192 / "a=b; ".len();
    assert!(
        usize::try_from(advertised).unwrap() >= pairs * ("cookie".len() + "a=b".len() + 32),
        "{advertised}"
    );
}

#[test]
fn a_target_that_is_too_long_gets_414_and_other_streams_stay_open() {
    let server = server(&["--max-header-bytes", "100000"]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    for (length, expected) in [(60_000, 404), (66_000, 414), (110_000, 414)] {
        let path = format!("/{}", "a".repeat(length));
        let fields = block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", &path),
            (":authority", "a"),
        ]);
        let stream = client.stream();
        let mut parts = fields.chunks(16_384).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
            client.send(&frame(kind, flags, stream, part));
            kind = CONTINUATION;
        }
        assert_eq!(client.expect(HEADERS, stream).status(), expected, "{length}");
        client.exchange_pings(session);
    }
    assert_eq!(server.refused("uri_too_long"), 2.0);
}

#[test]
fn a_head_with_continuation_frames_has_the_same_limit() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let lines = with(&[("x", &"x".repeat(9000))]);
    let stream = client.stream();
    let (first, rest) = lines.split_at(6000);
    client.send(&frame(HEADERS, 0, stream, first));
    client.send(&frame(CONTINUATION, END_HEADERS, stream, rest));
    assert_eq!(client.expect(HEADERS, stream).status(), 431);
}

#[test]
fn a_head_many_times_too_large_gets_431_and_other_sessions_stay_open() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    // More than proxies forward: the limit of Envoy is 60 KiB.
    let lines = with(&[("x", &"x".repeat(100_000))]);
    let stream = client.stream();
    let mut parts = lines.chunks(16_384).peekable();
    let mut kind = HEADERS;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
        client.send(&frame(kind, flags, stream, part));
        kind = CONTINUATION;
    }
    assert_eq!(client.expect(HEADERS, stream).status(), 431);
    client.exchange_pings(session);
    assert_eq!(server.refused("header_too_large"), 1.0);
}

#[test]
fn an_endless_head_ends_its_connection() {
    let server = server(&[]);
    for part in [block(&[("x", "x")]), block(&[("x", &"x".repeat(16_000))]), Vec::new()] {
        let mut client = Http2::connect(server.address);
        let stream = client.stream();
        client.send(&frame(HEADERS, 0, stream, &block(CONNECT)));
        client.send_ignoring_errors(&frame(CONTINUATION, 0, stream, &part).repeat(20));
        assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM, "{}", part.len());
    }
    server.wait_for("connections", 0.0);
    assert_eq!(server.refused("too_many_frames"), 3.0);
}

#[test]
fn an_hpack_bomb_ends_its_connection() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    // A field in the dynamic table, referenced by one byte each (RFC 7541, section 6.1).
    let bomb = [&[0x40], &*text("x"), &*text("x".repeat(4000)), &[0xbe; 10_000]].concat();
    let stream = client.stream();
    client.send(&frame(HEADERS, END_HEADERS, stream, &[block(CONNECT), bomb].concat()));
    assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM);
}

#[test]
fn a_client_that_acknowledges_no_settings_has_the_same_limits() {
    let server = server(&["--http2-max-streams", "2", "--max-headers", "20"]);
    let mut client = Http2::connect_without_preface(server.address);
    client.send(PREFACE);
    client.send(&settings(&[(support::raw_http2::HEADER_TABLE_SIZE, 0)]));
    client.expect(SETTINGS, 0);
    let long = "x".repeat(9000);
    let many = vec![("x", "x"); 20];
    for lines in [&[("x", long.as_str())], &many[..]] {
        assert_eq!(client.request(&[CONNECT, lines].concat()), 431, "{}", lines.len());
    }
    let sessions = [client.open(), client.open()];
    let refused = client.start_request(CONNECT);
    assert_eq!(client.expect(RST_STREAM, refused).code(), REFUSED_STREAM);
    for session in sessions {
        client.exchange_pings(session);
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_and_not_counted() {
    let server = server(&["--http2-max-streams", "2"]);
    let mut client = Http2::connect(server.address);
    let first = client.open();
    let second = client.open();
    for fields in [CONNECT, GET] {
        let refused = client.start_request(fields);
        assert_eq!(client.expect(RST_STREAM, refused).code(), REFUSED_STREAM);
    }
    assert_eq!(server.metric("sessions_opened_total"), 2.0);
    assert_eq!(server.metric("connections"), 2.0);
    client.close(first);
    // A stream stays open until the server has received the end of both sides.
    client.send(&frame(DATA, END_STREAM, first, &[]));
    client.exchange_pings(second);
    client.open();
    server.wait_for("sessions", 2.0);
}

#[test]
fn a_client_that_opens_no_window_is_sent_little_and_disconnected() {
    let handler = FloodingHandler::default();
    let flags = ["--admin-listen", "127.0.0.1:0", "--write-timeout-secs", "0.5"];
    let server = Server::start_with(handler.clone(), &flags);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    let sessions: Vec<u32> = (0..64).map(|_| client.open()).collect();
    // The count is final once all sessions have ended.
    server.wait_for("sessions", 0.0);
    // The queue of 64 KiB, the 4 KiB in h2, and the message that exceeds the queue.
    let most = 64 * (64 + 4 + 2);
    let messages = handler.0.load(Ordering::Relaxed);
    assert!(messages <= most, "{messages}");
    let timed_out = server.metric("sessions_closed_total{cause=\"write_timeout\",code=\"1006\"}");
    assert_eq!(timed_out, 64.0);
    drop(sessions);
}

#[test]
fn a_closed_window_blocks_no_other_stream() {
    let handler = FloodingHandler::default();
    let server = Server::start_with(handler, &["--admin-listen", "127.0.0.1:0"]);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    let _blocked = client.open();
    let other = client.open();
    for _ in 0..10 {
        client.send(&[window_update(0, 10_000), window_update(other, 10_000)].concat());
        let mut bytes = 0;
        while bytes < 10_000 {
            bytes += client.expect(DATA, other).payload.len();
        }
    }
}

/// Four streams, and no timeout or rate limit that would end a blocked session.
const NO_TIMEOUTS: [&str; 6] =
    ["--http2-max-streams", "4", "--write-timeout-secs", "0", "--control-frames-per-second", "0"];

#[test]
fn a_stream_that_is_not_read_uses_no_connection_window_of_other_streams() {
    let server = server(&NO_TIMEOUTS);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    let blocked = [client.open(), client.open(), client.open()];
    let other = client.open();
    client.send(&window_update(other, 1000));
    // The pong to the first ping is blocked, so the server reads no further input.
    for stream in blocked {
        let ping = websocket_frame(PING, &[7; 125]);
        client.send_data(stream, &ping);
        client.exchange_pings(other);
        let pings = ping.repeat(16_384 / ping.len() - 1);
        client.send_data(stream, &pings);
    }
    for _ in 0..10 {
        client.exchange_pings(other);
    }
    // A blocked stream continues once it has a window.
    client.send(&window_update(blocked[0], 1 << 20));
    let pong = client.expect(DATA, blocked[0]);
    assert_eq!(pong.payload[..2], [PONG, 125]);
}

#[test]
fn input_queued_for_a_blocked_session_blocks_no_other_stream() {
    // With more workers, a delayed one may fall behind by more pings than the queue holds.
    let server = Server::start_on_one_worker(&NO_TIMEOUTS);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    let blocked = client.open();
    let other = client.open();
    client.send(&window_update(other, 10_000));
    // Without a separate queue, h2 would hold 256 frames for all streams together, with their read
    // buffers.
    let pings = frame(DATA, 0, blocked, &websocket_frame(PING, b"")).repeat(20);
    for _ in 0..50 {
        client.send(&pings);
        client.exchange_pings(other);
    }
    client.send(&window_update(blocked, 10_000));
    let mut pongs = 0;
    while pongs < 1000 {
        pongs +=
            client.expect(DATA, blocked).payload.chunks(2).filter(|it| *it == [PONG, 0]).count();
    }
}
