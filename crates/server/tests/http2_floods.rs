//! Clients that bring more over HTTP/2 than messages need, and what it costs the others: nothing
//! (RFC 9113, section 10.5).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::thread;

use support::chatter::Chatter;
use support::newest::Newest;
use support::process::Process;
use support::raw_http2::{
    ACK, CONNECT, DATA, ENHANCE_YOUR_CALM, Frame, GET, GOAWAY, HEADERS, Http2, INITIAL_WINDOW_SIZE,
    PADDED, PING, PRIORITY, PROTOCOL_ERROR, frame, goaway, headers, reset, settings, window_update,
};
use support::server::Server;

/// Frames that a connection may bring at once, with so many streams; more come at its pace.
const STREAMS: &str = "16";
const AT_ONCE: usize = 8 * 64 * 16;

/// A server that says nothing but what its handler has to say.
const QUIET: [&str; 4] = ["--http2-max-streams", STREAMS, "--ping-interval-secs", "3600"];

fn server(flags: &[&str]) -> Server {
    let own = ["--admin-listen", "127.0.0.1:0", "--http2-max-streams", STREAMS];
    Server::start(&[&own, flags].concat())
}

/// A frame, given the stream of a session.
type Flood = fn(u32) -> Vec<u8>;

/// Sends a hundred times what is allowed, and gives back what the server has said.
fn drown(client: &mut Http2, unit: &[u8]) -> Vec<Frame> {
    let mut sender = client.stream.try_clone().unwrap();
    let units = unit.repeat(AT_ONCE);
    let sending = thread::spawn(move || (0..100).try_for_each(|_| sender.write_all(&units)));
    let rest = client.rest();
    // It may be read away to its end.
    let _ = sending.join().unwrap();
    rest
}

fn goodbye(rest: &[Frame]) -> u32 {
    let goodbyes: Vec<&Frame> = rest.iter().filter(|frame| frame.kind == GOAWAY).collect();
    let [goodbye] = goodbyes[..] else { panic!("{goodbyes:?}") };
    goodbye.code()
}

#[test]
fn a_rapid_reset_is_ended_and_gives_back_its_places() {
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
        client.send_anyway(&requests.concat());
        assert_eq!(client.expect_goodbye(), ENHANCE_YOUR_CALM);
        other.exchange_pings(session);
    }
    server.wait_for("sessions", 1.0);
    server.wait_for("connections", 1.0);
    assert_eq!(server.refused("too_many_frames"), 2.0);
    // Not even as many as could have come at once.
    let asked = server.metric("sessions_opened_total") + server.refused("not_found");
    assert!(asked <= 130.0, "{asked}");
}

#[test]
fn resets_that_each_wait_for_an_answer_are_ended_as_well() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    let mut rounds = 0;
    let end = loop {
        rounds += 1;
        assert!(rounds < 100, "it goes on");
        let stream = client.ask(CONNECT);
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
fn a_flood_of_small_frames_is_ended_once_and_for_all() {
    let server = server(&["--message-timeout-secs", "0"]);
    let mut other = Http2::connect(server.address);
    let bystander = other.open();
    let floods: [(&str, Flood); 13] = [
        ("empty DATA", |stream| frame(DATA, 0, stream, &[])),
        ("DATA of padding", |stream| {
            frame(DATA, PADDED, stream, &[[255].as_slice(), &[0; 255]].concat())
        }),
        ("a byte and padding", |stream| frame(DATA, PADDED, stream, &[1, 0x82, 0])),
        ("a byte of DATA", |stream| frame(DATA, 0, stream, &[0x82])),
        ("DATA for a stream that is over", |_| frame(DATA, 0, 1, &[0])),
        ("PING", |_| frame(PING, 0, 0, &[0; 8])),
        ("answers to PING", |_| frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", |_| settings(&[(4, 1000)])),
        ("PRIORITY", |_| frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 0])),
        ("PRIORITY over itself", |_| frame(PRIORITY, 0, 7, &[0, 0, 0, 7, 0])),
        ("WINDOW_UPDATE", |_| window_update(0, 1)),
        ("WINDOW_UPDATE of a stream", |stream| window_update(stream, 1)),
        ("what nobody knows", |stream| frame(0x42, 0, stream, &[0])),
    ];
    for (round, (name, flood)) in (1_u32..).zip(floods) {
        let mut client = Http2::connect(server.address);
        let first = client.open();
        client.close(first);
        let session = client.open();
        let rest = drown(&mut client, &flood(session));
        let code = goodbye(&rest);
        assert!([ENHANCE_YOUR_CALM, PROTOCOL_ERROR].contains(&code), "{name}: {code}");
        // What was answered is what was read: the allowance, and what came by with time.
        let answers = rest.iter().filter(|frame| frame.flags & ACK != 0).count();
        assert!(answers <= 2 * AT_ONCE, "{name}: {answers}");
        drop(client);
        server.wait_for("connections", 1.0);
        let refused = server.refused("too_many_frames") + server.refused("malformed");
        assert_eq!(refused, f64::from(round), "{name}");
        other.exchange_pings(bystander);
    }
}

#[test]
fn what_touches_every_stream_is_paid_for_as_often() {
    let server = server(&[]);
    let floods = [("SETTINGS", settings(&[(INITIAL_WINDOW_SIZE, 1000)])), ("GOAWAY", goaway())];
    for (name, flood) in floods {
        let mut client = Http2::connect(server.address);
        client.open();
        let rest = drown(&mut client, &[flood, frame(PING, 0, 0, &[0; 8])].concat());
        assert_eq!(goodbye(&rest), ENHANCE_YOUR_CALM, "{name}");
        let pongs = rest.iter().filter(|frame| frame.kind == PING).count();
        assert!(pongs <= 2 * AT_ONCE / 18, "{name}: {pongs}");
    }
}

#[test]
fn a_client_that_answers_every_frame_of_ours_is_not_ended_for_what_we_say() {
    let newest = Newest::default();
    let server = Server::start_with(newest.handler(), &QUIET);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    let update = |stream: &u32| [window_update(0, 7), window_update(*stream, 7)].concat();
    let answers: Vec<u8> = sessions.iter().flat_map(update).collect();
    // Four times what is allowed at once, in less than the time for as much again.
    for state in 0..4 * AT_ONCE / (2 * sessions.len()) {
        newest.set(format!("{state:05}"));
        let frames = std::iter::from_fn(|| client.frame()).filter(|frame| frame.kind == DATA);
        assert_eq!(frames.take(sessions.len()).count(), sessions.len(), "state {state}");
        client.send(&answers);
    }
}

#[test]
fn answers_that_were_saved_up_come_at_once_only_as_often_as_anything_else() {
    let newest = Newest::default();
    let server = Server::start_with(newest.handler(), &QUIET);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    client.send(&window_update(0, 1 << 20));
    for state in 0..4 * AT_ONCE / (2 * sessions.len()) {
        newest.set(format!("{state:05}"));
        let frames = std::iter::from_fn(|| client.frame()).filter(|frame| frame.kind == DATA);
        assert_eq!(frames.take(sessions.len()).count(), sessions.len(), "state {state}");
    }
    let unit = [window_update(0, 1).repeat(15), frame(PING, 0, 0, &[0; 8])].concat();
    let rest = drown(&mut client, &unit);
    assert_eq!(goodbye(&rest), ENHANCE_YOUR_CALM);
    let pongs = rest.iter().filter(|frame| frame.kind == PING).count();
    // As many answers, then what may come at once, and as much again for what time brings.
    assert!(pongs <= 3 * AT_ONCE / 16, "{pongs}");
}

#[test]
fn a_window_of_a_byte_is_not_paid_for_by_the_frame_that_it_asks_for() {
    let server = Server::start_with(Chatter::default(), &QUIET);
    let mut client = Http2::connect_with(server.address, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.send(&window_update(0, 1 << 20));
    let sessions: Vec<u32> = (0..16).map(|_| client.open()).collect();
    let windows: Vec<u8> = sessions.iter().flat_map(|stream| window_update(*stream, 1)).collect();
    let mut rounds = 0;
    let end = loop {
        rounds += 1;
        assert!(rounds < 4 * AT_ONCE / sessions.len(), "it goes on");
        client.send_anyway(&windows);
        let answers = std::iter::from_fn(|| client.frame());
        let mut answers = answers.filter(|frame| [DATA, GOAWAY].contains(&frame.kind));
        if let Some(end) = answers.by_ref().take(sessions.len()).find(|it| it.kind == GOAWAY) {
            break end;
        }
    };
    assert_eq!(end.code(), ENHANCE_YOUR_CALM);
}

#[test]
fn a_burst_of_a_proxy_and_messages_without_end_are_no_flood() {
    let off = ["--messages-per-second", "0", "--control-frames-per-second", "0"];
    let server = server(&off);
    let mut client = Http2::connect(server.address);
    let sessions: Vec<u32> = (0..16).map(|_| client.ask(CONNECT)).collect();
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
fn what_is_no_message_is_paid_for_by_its_length() {
    let server = server(&[]);
    let mut client = Http2::connect(server.address);
    client.open();
    client.send_anyway(&frame(0x42, 0, 0, &[0; 1 << 14]).repeat(40));
    assert_eq!(client.expect_goodbye(), ENHANCE_YOUR_CALM);
}

#[test]
fn no_flood_is_a_warning_to_the_operator() {
    let process = Process::start(&[]);
    let mut client = Http2::connect(process.address);
    // h2 would warn of each.
    client.send(&frame(PING, ACK, 0, &[0; 8]).repeat(100));
    client.open();
    let lines = std::iter::from_fn(|| Some(process.line()));
    let mut lines = lines.take_while(|line| !line.contains("\"opened\""));
    assert_eq!(lines.find(|line| !line.contains("INFO")), None);
}
