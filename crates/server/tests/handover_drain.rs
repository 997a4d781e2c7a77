//! Sessions that cannot be handed over at once, or not at all.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::admin::wait_until;
use support::auth_service::{ADMIT, AuthService};
use support::handover::{Generation, Generations, ends};
use support::raw_http2::{DATA, Http2};
use support::tls::{self, Files};
use support::{CLOSE, Client, PING, PONG, TEXT, UPGRADE, close, frame};

/// The addresses that a process listens on, in the order of the setting.
fn addresses(generation: &Generation) -> Vec<SocketAddr> {
    let addresses = generation.event("starting")["listen"].as_str().unwrap().to_owned();
    let parts = addresses.split(',').map(|it| it.trim().trim_start_matches("tls:").to_owned());
    parts.map(|address| address.parse().unwrap()).collect()
}

/// Checks the payload of a Close frame as the successor's settings have it.
fn expect_successors_settings(payload: &[u8]) {
    assert_eq!(payload[..2], 1012_u16.to_be_bytes());
    let reason = str::from_utf8(&payload[2..]).unwrap();
    let retry: u64 = reason.strip_prefix("drained retry=").expect(reason).parse().unwrap();
    assert!(retry <= 30_000, "{retry}");
}

#[test]
fn what_cannot_be_handed_over_is_drained_by_the_settings_of_the_successor() {
    let files = Files::new("handover");
    let certificate = files.flags();
    let flags = [
        "--listen=tls:127.0.0.1:0,127.0.0.1:0",
        &certificate[1],
        &certificate[2],
        "--takeover-wait-secs=0.4",
        "--drain-delay-secs=60",
        "--drain-close-code=1001",
    ];
    let generations = Generations::new("drained", &flags);
    let first = generations.start();
    let mut rest = first.open();
    let mut encrypted = tls::open(addresses(&first)[0], &files.cert);
    let mut http2 = Http2::connect(first.process.address);
    let stream = http2.open();
    let mut incomplete = first.open();
    incomplete.exchange_ping();
    incomplete.send(&frame(PING, b"never completed")[..4]);
    rest.exchange_ping();

    let drain = [
        "--drain-close-code=1012",
        "--reconnect-spread-secs=30",
        "--drain-spread-secs=0.2",
        "--shutdown-grace-secs=9",
    ];
    let second = Generation::start(generations.successor(&drain));
    let committed = Instant::now();
    rest.exchange_ping();
    // They are served as long as the predecessor waits.
    tls::exchange_ping(&mut encrypted);
    http2.exchange_pings(stream);

    let stopping = first.event("stopping");
    let waited = committed.elapsed();
    assert!((250..1500).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!((&stopping["open"], &stopping["code"]), (&3.into(), &1012.into()));
    assert_eq!((&stopping["delay_ms"], &stopping["spread_ms"]), (&0.0.into(), &200.0.into()));
    assert_eq!(stopping["reconnect_spread_ms"], 30_000.0);
    assert_eq!(stopping["grace_ms"], 9000.0);
    let line = second.event("taken_over");
    assert_eq!((&line["sessions"], &line["left"]), (&1.into(), &3.into()));
    assert_eq!(generations.get_json("/drain")["handover"]["predecessor_open"], 3);

    let head = tls::bytes(&mut encrypted, 2);
    assert_eq!(head[0], CLOSE);
    expect_successors_settings(&tls::bytes(&mut encrypted, head[1].into()));
    encrypted.write_all(&close(1012, "")).unwrap();
    let data = http2.expect(DATA, stream).payload;
    assert_eq!(data[0], CLOSE);
    expect_successors_settings(&data[2..]);
    http2.send_data(stream, &close(1012, ""));
    let (CLOSE, payload) = incomplete.frame() else { panic!("it is a Close") };
    expect_successors_settings(&payload);
    drop((incomplete, encrypted, http2));

    let first = first.end();
    wait_until("the predecessor has ended", || {
        generations.get_json("/drain")["handover"]["predecessor_open"] == 0
    });
    rest.exchange_ping();
    rest.close();
    second.event("closed");
    second.process.signal(Signal::KILL); // Its own drain would have its delay.
    let ends = ends(&[first, second.rest()]);
    assert_eq!(ends.len(), 4);
    assert_eq!(ends.values().filter(|end| end["cause"] == "drained").count(), 3);
}

#[test]
fn a_request_that_is_being_decided_is_completed_and_its_session_follows() {
    let (decide, decided) = mpsc::channel();
    let decided = Mutex::new(decided);
    let service = AuthService::behaving(move |_, connection| {
        decided.lock().unwrap().recv().unwrap();
        connection.write_all(ADMIT.as_bytes()).is_ok()
    });
    let generations = Generations::new("decided", &[&*service.flag()]);
    let first = generations.start();
    decide.send(()).unwrap();
    let mut before = first.open();
    before.exchange_ping();
    let mut client = Client::connect(first.process.address);
    client.send(UPGRADE.as_bytes());
    wait_until("the service is asked", || service.requests().len() == 2);

    let second = generations.take_over();
    before.exchange_ping();
    decide.send(()).unwrap();
    assert_eq!(client.head().0, 101);
    client.exchange_ping();
    let line = second.event("taken_over");
    assert_eq!((&line["sessions"], &line["left"]), (&2.into(), &0.into()));
    let first = first.end();
    assert_eq!(first.iter().filter(|line| line["event"] == "opened").count(), 2);
    for mut session in [before, client] {
        session.exchange_ping();
        session.close();
    }
    assert_eq!(ends(&[first, second.stop()]).len(), 2);
}

#[test]
fn input_that_is_completed_after_the_first_batch_is_processed_once() {
    let generations = Generations::new("completed", &["--takeover-wait-secs=5"]);
    let first = generations.start();
    let (mut of_frame, mut of_message) = (first.open(), first.open());
    let ping = frame(PING, b"half before and half after");
    let (half, other_half) = ping.split_at(10);
    of_frame.send(half);
    // The first fragment of a message (RFC 6455, section 5.4).
    of_message.send(&frame(TEXT & 0x7f, b"one"));
    of_message.exchange_ping();

    let second = generations.take_over();
    of_frame.send(other_half);
    assert_eq!(of_frame.frame(), (PONG, b"half before and half after".to_vec()));
    of_message.send(&frame(0x80, b"two"));
    let line = second.event("taken_over");
    assert_eq!((&line["sessions"], &line["left"]), (&2.into(), &0.into()));
    let first = first.end();
    of_frame.exchange_ping();
    of_message.exchange_ping();
    of_frame.close();
    of_message.close();
    let ends = ends(&[first, second.stop()]);
    let payloads = u64::try_from("one".len() + "two".len() + 2 * "a payload".len() + 2).unwrap();
    assert_eq!((&ends[&2]["messages_in"], &ends[&2]["bytes_in"]), (&1.into(), &payloads.into()));
}

#[test]
fn bursts_of_pings_during_a_handover_are_answered_once_and_in_order() {
    let generations = Generations::new("bursts", &["--control-frames-per-second=0"]);
    let first = generations.start();
    let mut client = first.open();
    let is_over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&is_over);
    let (answer, answered) = mpsc::channel();
    // A client that never waits may never be at rest; this one waits for the answers of each burst.
    let bursts = thread::spawn(move || {
        for burst in 0_u32.. {
            let payloads = (0..50_u32).map(|number| [burst, number].map(u32::to_be_bytes).concat());
            let payloads: Vec<Vec<u8>> = payloads.collect();
            let pings: Vec<u8> = payloads.iter().flat_map(|it| frame(PING, it)).collect();
            client.send(&pings);
            for payload in payloads {
                assert_eq!(client.frame(), (PONG, payload));
            }
            let _ = answer.send(());
            if until.load(Ordering::Relaxed) {
                break;
            }
        }
        client.close();
    });
    answered.recv_timeout(Duration::from_secs(10)).unwrap();
    let second = generations.take_over();
    let line = second.event("taken_over");
    is_over.store(true, Ordering::Relaxed);
    bursts.join().unwrap();
    assert_eq!((&line["sessions"], &line["left"]), (&1.into(), &0.into()));
    assert_eq!(ends(&[first.end(), second.stop()]).len(), 1);
}
