//! How long HTTP/2 connections last that have no session, and how they end with the server.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::raw_http2::{
    ACK, CONNECT, DATA, END_STREAM, Frame, GET, GOAWAY, HEADERS, Http2, NO_ERROR, PING, PREFACE,
    frame, headers, settings,
};
use support::server::Server;
use support::{CLOSE, close, close_payload};

/// Short times: half a second to ask, and a quarter to close.
const TIMES: [&str; 4] = ["--handshake-timeout-secs", "0.5", "--close-timeout-secs", "0.25"];

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], &TIMES[..], flags].concat())
}

/// What a client does every 20 ms, given how often it has done so.
type Doing = fn(&mut Http2, usize);

/// Waits for the end of a connection, however it comes, while its client does something.
fn end(client: &mut Http2, doing: Doing) -> (Duration, Vec<Frame>) {
    let begin = Instant::now();
    let mut reader = client.again();
    let reading = thread::spawn(move || reader.rest());
    let mut round = 0;
    while !reading.is_finished() {
        assert!(begin.elapsed() < Duration::from_secs(8), "it stays");
        doing(client, round);
        round += 1;
        thread::sleep(Duration::from_millis(20));
    }
    (begin.elapsed(), reading.join().unwrap())
}

#[test]
fn a_client_without_a_session_has_as_long_as_a_handshake() {
    let server = server(&[]);
    let ping = frame(PING, 0, 0, &[0; 8]);
    let half = &headers(1, CONNECT)[..20];
    let beginnings: [(&str, Vec<u8>); 7] = [
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("settings", [PREFACE, &settings(&[])].concat()),
        ("half a frame", [PREFACE, &settings(&[]), half].concat()),
        ("half a head", [PREFACE, &settings(&[]), &frame(HEADERS, 0, 1, &[])].concat()),
        ("a ping", [PREFACE, &settings(&[]), &ping].concat()),
        ("a request", [PREFACE, &settings(&[]), &headers(1, GET)].concat()),
    ];
    let clients = beginnings.map(|(name, beginning)| {
        let mut client = Http2::connect_silently(server.address);
        client.send(&beginning);
        thread::spawn(move || (name, end(&mut client, |_, _| {}).0))
    });
    for client in clients {
        let (name, lasted) = client.join().unwrap();
        assert!((0.4..1.5).contains(&lasted.as_secs_f64()), "{name}: {lasted:?}");
    }
    server.wait_for("connections", 0.0);
}

#[test]
fn pings_and_requests_that_are_refused_prolong_nothing() {
    let server = server(&[]);
    let doings: [(&str, Doing); 4] = [
        ("pings", |client, _| client.send_anyway(&frame(PING, 0, 0, &[0; 8]))),
        ("requests that are refused", |client, _| {
            let stream = client.stream();
            client.send_anyway(&headers(stream, GET));
        }),
        ("so few that no GOAWAY follows", |client, round| {
            if round % 8 == 0 {
                let stream = client.stream();
                client.send_anyway(&headers(stream, GET));
            }
        }),
        ("requests for another protocol", |client, _| {
            let stream = client.stream();
            let fields = [&CONNECT[..1], &[(":protocol", "other")], &CONNECT[2..]].concat();
            client.send_anyway(&headers(stream, &fields));
        }),
    ];
    let clients = doings.map(|(name, doing)| {
        let mut client = Http2::connect(server.address);
        thread::spawn(move || (name, end(&mut client, doing)))
    });
    for client in clients {
        let (name, (lasted, _)) = client.join().unwrap();
        assert!(lasted.as_secs_f64() < 1.5, "{name}: {lasted:?}");
    }
    server.wait_for("connections", 0.0);
}

#[test]
fn a_session_keeps_its_connection_and_the_last_one_leaves_it_as_long_as_a_handshake() {
    let server = server(&["--control-frames-per-second", "0"]);
    let mut client = Http2::connect(server.address);
    let (first, second) = (client.open(), client.open());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(700) {
        client.exchange_pings(first);
    }
    client.close(second);
    while begin.elapsed() < Duration::from_millis(1400) {
        client.exchange_pings(first);
    }
    client.close(first);
    let (lasted, _) = end(&mut client, |_, _| {});
    assert!((0.4..1.5).contains(&lasted.as_secs_f64()), "{lasted:?}");
    drop(client);
    server.wait_for("connections", 0.0);
}

#[test]
fn a_drain_closes_sessions_and_then_their_connection() {
    let mut server = Server::start(&[]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    server.begin_stop();
    let (mut closed, mut goodbyes) = (false, 0);
    while let Some(it) = client.frame() {
        match it.kind {
            PING => client.send(&frame(PING, ACK, 0, &it.payload)),
            GOAWAY => {
                assert_eq!(it.code(), NO_ERROR);
                goodbyes += 1;
            }
            DATA if !it.payload.is_empty() => {
                let expected = [&[CLOSE, 9][..], &close_payload(1001, "drained")].concat();
                assert_eq!(it.payload, expected);
                closed = true;
                client.send(&frame(DATA, END_STREAM, session, &close(1001, "")));
            }
            _ => {}
        }
    }
    drop(client);
    assert!(closed && goodbyes >= 2, "{goodbyes}");
    let stopped = server.stopped();
    assert_eq!((stopped.clean, stopped.timed_out, stopped.aborted), (1, 0, 0));
    assert!(stopped.duration < Duration::from_secs(2), "{:?}", stopped.duration);
}

#[test]
fn a_drain_waits_for_no_client_that_does_not_answer() {
    let mut server = server(&["--handshake-timeout-secs", "10"]);
    let mut idle = Http2::connect(server.address);
    let mut talkative = Http2::connect(server.address);
    let mut silent = Http2::connect_silently(server.address);
    silent.send(PREFACE);
    assert_eq!(idle.request(GET), 404);
    server.begin_stop();
    talkative.expect(GOAWAY, 0);
    // Neither pings nor requests that are refused prolong it.
    let (_, rest) = end(&mut talkative, |client, _| {
        let stream = client.stream();
        client.send_anyway(&frame(PING, 0, 0, &[0; 8]));
        client.send_anyway(&headers(stream, CONNECT));
    });
    let refused = rest.iter().filter(|it| it.kind == HEADERS).map(Frame::status);
    assert!(refused.clone().count() > 2 && refused.clone().all(|status| status == 503));
    let stopped = server.stopped();
    assert!((0.2..1.0).contains(&stopped.duration.as_secs_f64()), "{:?}", stopped.duration);
}

#[test]
fn a_drain_takes_no_requests_after_its_last_goaway() {
    let mut server = server(&["--close-timeout-secs", "2"]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    server.begin_stop();
    let goodbye = std::iter::from_fn(|| client.frame()).find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goodbye.code(), NO_ERROR);
    let stream = client.ask(CONNECT);
    let mut answers = Vec::new();
    while !answers.iter().any(|it: &Frame| it.is(HEADERS, stream)) {
        answers.push(client.frame().unwrap());
    }
    assert_eq!(answers.last().unwrap().status(), 503);
    let ping = answers.iter().find(|it| it.kind == PING).unwrap();
    client.send(&frame(PING, ACK, 0, &ping.payload));
    while client.frame().unwrap().kind != GOAWAY {}
    let ignored = client.ask(CONNECT);
    client.say(session, &close(1001, ""));
    client.send(&frame(DATA, END_STREAM, session, &[]));
    assert!(client.rest().iter().all(|it| it.stream != ignored));
    drop(client);
    assert_eq!(server.stopped().clean, 1);
}

#[test]
fn sessions_of_one_connection_leave_over_the_spread() {
    let mut server = server(&["--drain-spread-secs", "0.5", "--close-timeout-secs", "2"]);
    let mut client = Http2::connect(server.address);
    for _ in 0..8 {
        client.open();
    }
    server.begin_stop();
    let begin = Instant::now();
    let mut left = Vec::new();
    while let Some(it) = client.frame() {
        if it.kind == PING {
            client.send(&frame(PING, ACK, 0, &it.payload));
        } else if it.payload.first() == Some(&CLOSE) {
            left.push(begin.elapsed());
            client.send(&frame(DATA, END_STREAM, it.stream, &close(1001, "")));
        }
    }
    drop(client);
    let [first, .., last] = left[..] else { panic!() };
    // The golden ratio puts eight of them into no less.
    assert!(last - first > Duration::from_millis(250), "{left:?}");
    assert_eq!((left.len(), server.stopped().clean), (8, 8));
}

#[test]
fn what_is_left_when_the_grace_is_over_is_cut() {
    let mut server = server(&["--close-timeout-secs", "5", "--shutdown-grace-secs", "0.3"]);
    let mut client = Http2::connect(server.address);
    client.open();
    let mut flood = Http2::connect(server.address);
    flood.send_anyway(&frame(PING, 0, 0, &[0; 8]).repeat(40_000));
    server.begin_stop();
    let stopped = server.stopped();
    assert_eq!((stopped.clean, stopped.timed_out, stopped.aborted), (0, 0, 1));
    // Something that does not end would be waited for another second.
    assert!(stopped.duration < Duration::from_secs(1), "{:?}", stopped.duration);
    client.rest();
}
