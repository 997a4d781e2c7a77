//! HTTP/2 floods: the connection is ended, and other connections are not affected (RFC 9113,
//! section 10.5).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::thread;

use support::flooding_handler::FloodingHandler;
use support::process::Process;
use support::publisher::Publisher;
use support::raw_http2::{
    ACK, CONNECT, DATA, ENHANCE_YOUR_CALM, Frame, GET, GOAWAY, HEADERS, Http2, INITIAL_WINDOW_SIZE,
    PADDED, PING, PRIORITY, PROTOCOL_ERROR, frame, goaway, headers, reset, settings, window_update,
};
use support::server::Server;

/// The limit of streams.
const STREAMS: &str = "16";
/// The frame budget of a connection with this limit: frames it may send at once.
const AT_ONCE: usize = 8 * 64 * 16;

/// Flags of a server that sends no keep-alive pings.
const QUIET: [&str; 4] = ["--http2-max-streams", STREAMS, "--ping-interval-secs", "3600"];

fn server(flags: &[&str]) -> Server {
    let own = ["--admin-listen", "127.0.0.1:0", "--http2-max-streams", STREAMS];
    Server::start(&[&own, flags].concat())
}

/// Makes a frame for the stream of a session.
type Flood = fn(u32) -> Vec<u8>;

/// Sends a hundred times the frame budget and returns the frames of the server.
fn flood_with(client: &mut Http2, unit: &[u8]) -> Vec<Frame> {
    let mut sender = client.stream.try_clone().unwrap();
    let units = unit.repeat(AT_ONCE);
    let sending = thread::spawn(move || (0..100).try_for_each(|_| sender.write_all(&units)));
    let rest = client.rest();
    // The server may read all of it.
    let _ = sending.join().unwrap();
    rest
}

/// The code of the only GOAWAY.
fn goaway_code(rest: &[Frame]) -> u32 {
    let goaways: Vec<&Frame> = rest.iter().filter(|frame| frame.kind == GOAWAY).collect();
    let [goaway] = goaways[..] else { panic!("{goaways:?}") };
    goaway.code()
}

#[test]
fn a_rapid_reset_is_disconnected_and_its_permits_are_released() {
    let server = server(&[]);
    let mut other = Http2::connect(server.address);
    let session = other.open();
    for fields in [CONNECT, GET] {
        let mut client = Http2::connect(server.address);
        let requests: Vec<Vec<u8>> = (0..5000)
            .map(|_| {
                let stream = client.stream();
                [headers(stream, fields), reset(stream)].concat()
            })
            .collect();
        client.send_ignoring_errors(&requests.concat());
        assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM);
        other.exchange_pings(session);
    }
    server.wait_for("sessions", 1.0);
    server.wait_for("connections", 1.0);
    assert_eq!(server.refused("too_many_frames"), 2.0);
    // Fewer than the frame budget.
    let requests = server.metric("sessions_opened_total") + server.refused("not_found");
    assert!(requests <= 130.0, "{requests}");
}

#[test]
fn a_rapid_reset_that_waits_for_each_response_is_disconnected() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let mut rounds = 0;
    let end = loop {
        rounds += 1;
        assert!(rounds < 100, "the connection stays open");
        let stream = client.start_request(CONNECT);
        let answer = std::iter::from_fn(|| client.frame())
            .find(|frame| frame.is(HEADERS, stream) || frame.kind == GOAWAY);
        match answer {
            Some(frame) if frame.kind == HEADERS => client.send(&reset(stream)),
            end => break end,
        }
    };
    assert_eq!(end.map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
    server.wait_for("connections", 0.0);
}

#[test]
fn a_flood_of_small_frames_is_disconnected() {
    let server = server(&["--message-timeout-secs", "0"]);
    let mut other = Http2::connect(server.address);
    let other_session = other.open();
    let floods: [(&str, Flood); 13] = [
        ("empty DATA", |stream| frame(DATA, 0, stream, &[])),
        ("DATA of padding", |stream| {
            frame(DATA, PADDED, stream, &[[255].as_slice(), &[0; 255]].concat())
        }),
        ("a byte and padding", |stream| frame(DATA, PADDED, stream, &[1, 0x82, 0])),
        ("a byte of DATA", |stream| frame(DATA, 0, stream, &[0x82])),
        ("DATA for a closed stream", |_| frame(DATA, 0, 1, &[0])),
        ("PING", |_| frame(PING, 0, 0, &[0; 8])),
        ("PING with ACK", |_| frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", |_| settings(&[(4, 1000)])),
        ("PRIORITY", |_| frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 0])),
        ("PRIORITY on itself", |_| frame(PRIORITY, 0, 7, &[0, 0, 0, 7, 0])),
        ("WINDOW_UPDATE", |_| window_update(0, 1)),
        ("WINDOW_UPDATE of a stream", |stream| window_update(stream, 1)),
        ("an unknown type", |stream| frame(0x42, 0, stream, &[0])),
    ];
    for (round, (name, flood)) in (1_u32..).zip(floods) {
        let mut client = Http2::connect(server.address);
        let first = client.open();
        client.close(first);
        let session = client.open();
        let rest = flood_with(&mut client, &flood(session));
        let code = goaway_code(&rest);
        assert!([ENHANCE_YOUR_CALM, PROTOCOL_ERROR].contains(&code), "{name}: {code}");
        // The answers show how many frames were read: the budget, and its refill over time.
        let answers = rest.iter().filter(|frame| frame.flags & ACK != 0).count();
        assert!(answers <= 2 * AT_ONCE, "{name}: {answers}");
        drop(client);
        server.wait_for("connections", 1.0);
        let refused = server.refused("too_many_frames") + server.refused("malformed");
        assert_eq!(refused, f64::from(round), "{name}");
        other.exchange_pings(other_session);
    }
}

#[test]
fn a_frame_that_affects_every_stream_costs_the_frame_budget_of_all() {
    let server = server(&[]);
    let floods = [("SETTINGS", settings(&[(INITIAL_WINDOW_SIZE, 1000)])), ("GOAWAY", goaway())];
    for (name, flood) in floods {
        let mut client = Http2::connect(server.address);
        client.open();
        let rest = flood_with(&mut client, &[flood, frame(PING, 0, 0, &[0; 8])].concat());
        assert_eq!(goaway_code(&rest), ENHANCE_YOUR_CALM, "{name}");
        let pongs = rest.iter().filter(|frame| frame.kind == PING).count();
        assert!(pongs <= 2 * AT_ONCE / 18, "{name}: {pongs}");
    }
}

#[test]
fn a_client_that_answers_every_frame_of_the_server_stays_connected() {
    let publisher = Publisher::default();
    let server = Server::start_with(publisher.subscribe(), &QUIET);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    let update = |stream: &u32| [window_update(0, 7), window_update(*stream, 7)].concat();
    let answers: Vec<u8> = sessions.iter().flat_map(update).collect();
    // Four times the frame budget, in less time than the budget needs to refill.
    for state in 0..4 * AT_ONCE / (2 * sessions.len()) {
        publisher.publish(format!("{state:05}"));
        let frames = std::iter::from_fn(|| client.frame()).filter(|frame| frame.kind == DATA);
        assert_eq!(frames.take(sessions.len()).count(), sessions.len(), "state {state}");
        client.send(&answers);
    }
}

#[test]
fn answers_that_were_saved_up_cost_the_frame_budget_beyond_their_credit() {
    let publisher = Publisher::default();
    let server = Server::start_with(publisher.subscribe(), &QUIET);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    client.send(&window_update(0, 1 << 20));
    for state in 0..4 * AT_ONCE / (2 * sessions.len()) {
        publisher.publish(format!("{state:05}"));
        let frames = std::iter::from_fn(|| client.frame()).filter(|frame| frame.kind == DATA);
        assert_eq!(frames.take(sessions.len()).count(), sessions.len(), "state {state}");
    }
    let unit = [window_update(0, 1).repeat(15), frame(PING, 0, 0, &[0; 8])].concat();
    let rest = flood_with(&mut client, &unit);
    assert_eq!(goaway_code(&rest), ENHANCE_YOUR_CALM);
    let pongs = rest.iter().filter(|frame| frame.kind == PING).count();
    // The credit of the answers, the budget, and as much again for its refill.
    assert!(pongs <= 3 * AT_ONCE / 16, "{pongs}");
}

#[test]
fn a_window_update_of_one_byte_earns_no_credit_from_the_frame_that_it_allows() {
    let server = Server::start_with(FloodingHandler::default(), &QUIET);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.send(&window_update(0, 1 << 20));
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    let windows: Vec<u8> = sessions.iter().flat_map(|stream| window_update(*stream, 1)).collect();
    let mut rounds = 0;
    let end = loop {
        rounds += 1;
        assert!(rounds < 4 * AT_ONCE / sessions.len(), "the connection stays open");
        client.send_ignoring_errors(&windows);
        let answers = std::iter::from_fn(|| client.frame());
        let mut answers = answers.filter(|frame| [DATA, GOAWAY].contains(&frame.kind));
        if let Some(end) = answers.by_ref().take(sessions.len()).find(|it| it.kind == GOAWAY) {
            break end;
        }
    };
    assert_eq!(end.code(), ENHANCE_YOUR_CALM);
}

#[test]
fn a_burst_of_requests_and_an_endless_stream_of_messages_are_no_flood() {
    let off = ["--messages-per-second", "0", "--control-frames-per-second", "0"];
    let server = server(&off);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.start_request(CONNECT)).collect();
    for session in &sessions {
        assert_eq!(client.expect(HEADERS, *session).status(), 200);
    }
    let messages = frame(DATA, 0, sessions[0], &support::frame(support::TEXT, b"")).repeat(1000);
    for _ in 0..20 {
        client.send(&messages);
        client.exchange_pings(sessions[0]);
    }
    for session in sessions {
        client.exchange_pings(session);
    }
}

#[test]
fn a_frame_of_an_unknown_type_costs_the_frame_budget_by_its_length() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    client.open();
    client.send_ignoring_errors(&frame(0x42, 0, 0, &[0; 1 << 14]).repeat(40));
    assert_eq!(client.expect_goaway(), ENHANCE_YOUR_CALM);
}

#[test]
fn a_flood_logs_no_warning() {
    let process = Process::start(&[]);
    let mut client = Http2::connect(process.address);
    // h2 would log a warning for each.
    client.send(&frame(PING, ACK, 0, &[0; 8]).repeat(100));
    client.open();
    let lines = std::iter::from_fn(|| Some(process.line()));
    let mut lines = lines.take_while(|line| !line.contains("\"opened\""));
    assert_eq!(lines.find(|line| !line.contains("INFO")), None);
}
