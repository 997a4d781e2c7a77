//! Timeouts of HTTP/2 connections without a session, and their end in a drain.
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

/// Short timeouts: half a second for the handshake, a quarter for the close.
const TIMEOUTS: [&str; 4] = ["--handshake-timeout-secs", "0.5", "--close-timeout-secs", "0.25"];

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], &TIMEOUTS[..], flags].concat())
}

/// An action that a client repeats every 20 ms, with the number of repetitions so far.
type Action = fn(&mut Http2, usize);

/// Repeats an action until the connection ends. Returns the time and the received frames.
fn run_until_end(client: &mut Http2, action: Action) -> (Duration, Vec<Frame>) {
    let begin = Instant::now();
    let mut reader = client.try_clone();
    let reading = thread::spawn(move || reader.rest());
    let mut round = 0;
    while !reading.is_finished() {
        assert!(begin.elapsed() < Duration::from_secs(8), "the connection stays open");
        action(client, round);
        round += 1;
        thread::sleep(Duration::from_millis(20));
    }
    (begin.elapsed(), reading.join().unwrap())
}

#[test]
fn a_connection_without_a_session_ends_at_the_handshake_timeout() {
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
        let mut client = Http2::connect_without_preface(server.address);
        client.send(&beginning);
        thread::spawn(move || (name, run_until_end(&mut client, |_, _| {}).0))
    });
    for client in clients {
        let (name, lasted) = client.join().unwrap();
        assert!((0.4..1.5).contains(&lasted.as_secs_f64()), "{name}: {lasted:?}");
    }
    server.wait_for("connections", 0.0);
}

#[test]
fn pings_and_refused_requests_do_not_extend_the_deadline() {
    let server = server(&[]);
    let actions: [(&str, Action); 4] = [
        ("pings", |client, _| client.send_ignoring_errors(&frame(PING, 0, 0, &[0; 8]))),
        ("requests that are refused", |client, _| {
            let stream = client.stream();
            client.send_ignoring_errors(&headers(stream, GET));
        }),
        ("few requests, without a GOAWAY", |client, round| {
            if round % 8 == 0 {
                let stream = client.stream();
                client.send_ignoring_errors(&headers(stream, GET));
            }
        }),
        ("requests for another protocol", |client, _| {
            let stream = client.stream();
            let fields = [&CONNECT[..1], &[(":protocol", "other")], &CONNECT[2..]].concat();
            client.send_ignoring_errors(&headers(stream, &fields));
        }),
    ];
    let clients = actions.map(|(name, action)| {
        let mut client = Http2::connect(server.address);
        thread::spawn(move || (name, run_until_end(&mut client, action)))
    });
    for client in clients {
        let (name, (lasted, _)) = client.join().unwrap();
        assert!(lasted.as_secs_f64() < 1.5, "{name}: {lasted:?}");
    }
    server.wait_for("connections", 0.0);
}

#[test]
fn a_connection_stays_open_with_a_session_and_for_a_handshake_timeout_after_the_last() {
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
    let (lasted, _) = run_until_end(&mut client, |_, _| {});
    assert!((0.4..1.5).contains(&lasted.as_secs_f64()), "{lasted:?}");
    drop(client);
    server.wait_for("connections", 0.0);
}

#[test]
fn a_drain_closes_sessions_and_then_their_connection() {
    let mut server = Server::start(&[]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    server.begin_shutdown();
    let (mut closed, mut goaways) = (false, 0);
    while let Some(it) = client.frame() {
        match it.kind {
            PING => client.send(&frame(PING, ACK, 0, &it.payload)),
            GOAWAY => {
                assert_eq!(it.code(), NO_ERROR);
                goaways += 1;
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
    assert!(closed && goaways >= 2, "{goaways}");
    let summary = server.join();
    assert_eq!((summary.clean, summary.timed_out, summary.aborted), (1, 0, 0));
    assert!(summary.duration < Duration::from_secs(2), "{:?}", summary.duration);
}

#[test]
fn a_drain_does_not_wait_for_unresponsive_clients() {
    let mut server = server(&["--handshake-timeout-secs", "10"]);
    let mut idle = Http2::connect(server.address);
    let mut active = Http2::connect(server.address);
    let mut silent = Http2::connect_without_preface(server.address);
    silent.send(PREFACE);
    assert_eq!(idle.request(GET), 404);
    server.begin_shutdown();
    active.expect(GOAWAY, 0);
    // Neither pings nor refused requests extend the drain.
    let (_, rest) = run_until_end(&mut active, |client, _| {
        let stream = client.stream();
        client.send_ignoring_errors(&frame(PING, 0, 0, &[0; 8]));
        client.send_ignoring_errors(&headers(stream, CONNECT));
    });
    let refused = rest.iter().filter(|it| it.kind == HEADERS).map(Frame::status);
    assert!(refused.clone().count() > 2 && refused.clone().all(|status| status == 503));
    let summary = server.join();
    assert!((0.2..1.0).contains(&summary.duration.as_secs_f64()), "{:?}", summary.duration);
}

#[test]
fn a_drain_accepts_no_requests_after_its_last_goaway() {
    let mut server = server(&["--close-timeout-secs", "2"]);
    let mut client = Http2::connect(server.address);
    let session = client.open();
    server.begin_shutdown();
    let goaway = std::iter::from_fn(|| client.frame()).find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goaway.code(), NO_ERROR);
    let stream = client.start_request(CONNECT);
    let mut answers = Vec::new();
    while !answers.iter().any(|it: &Frame| it.is(HEADERS, stream)) {
        answers.push(client.frame().unwrap());
    }
    assert_eq!(answers.last().unwrap().status(), 503);
    let ping = answers.iter().find(|it| it.kind == PING).unwrap();
    client.send(&frame(PING, ACK, 0, &ping.payload));
    while client.frame().unwrap().kind != GOAWAY {}
    let ignored = client.start_request(CONNECT);
    client.send_data(session, &close(1001, ""));
    client.send(&frame(DATA, END_STREAM, session, &[]));
    assert!(client.rest().iter().all(|it| it.stream != ignored));
    drop(client);
    assert_eq!(server.join().clean, 1);
}

#[test]
fn a_drain_with_a_spread_closes_the_sessions_of_one_connection_over_it() {
    let mut server = server(&["--drain-spread-secs", "0.5", "--close-timeout-secs", "2"]);
    let mut client = Http2::connect(server.address);
    for _ in 0..8 {
        client.open();
    }
    server.begin_shutdown();
    let begin = Instant::now();
    let mut closed = Vec::new();
    while let Some(it) = client.frame() {
        if it.kind == PING {
            client.send(&frame(PING, ACK, 0, &it.payload));
        } else if it.payload.first() == Some(&CLOSE) {
            closed.push(begin.elapsed());
            client.send(&frame(DATA, END_STREAM, it.stream, &close(1001, "")));
        }
    }
    drop(client);
    let [first, .., last] = closed[..] else { panic!() };
    // Offsets by the golden ratio spread eight sessions over at least this time.
    assert!(last - first > Duration::from_millis(250), "{closed:?}");
    assert_eq!((closed.len(), server.join().clean), (8, 8));
}

#[test]
fn a_connection_that_outlasts_the_grace_is_aborted() {
    let mut server = server(&["--close-timeout-secs", "5", "--shutdown-grace-secs", "0.3"]);
    let mut client = Http2::connect(server.address);
    client.open();
    let mut flood = Http2::connect(server.address);
    flood.send_ignoring_errors(&frame(PING, 0, 0, &[0; 8]).repeat(40_000));
    server.begin_shutdown();
    let summary = server.join();
    assert_eq!((summary.clean, summary.timed_out, summary.aborted), (0, 0, 1));
    // A task that does not end would take another second.
    assert!(summary.duration < Duration::from_secs(1), "{:?}", summary.duration);
    client.rest();
}
