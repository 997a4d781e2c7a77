//! Clients that read late: what they are told then, and that they are not cut for it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::{ErrorKind, Read};
use std::thread;
use std::time::Duration;

use support::newest::Newest;
use support::ways::{self, Way};
use support::{BINARY, Client, PING, PONG, UPGRADE, frame};

/// A state of 4 KiB that says its number.
fn state(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[0; 4092]].concat()
}

fn next_number<S: Read + std::io::Write>(client: &mut Client<S>) -> u32 {
    let (first, payload) = client.frame();
    assert_eq!(first, BINARY);
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_reads_late_is_told_few_states_before_the_newest() {
    const NEWEST: u32 = 200;
    let newest = Newest::default();
    let server = ways::start_with(newest.handler(), &["--write-timeout-secs=0"]);
    let mut late = Client::connect_narrow(server.address);
    assert_eq!(late.request(UPGRADE).0, 101);
    let mut prompt = Way::Http1.open(&server);
    for number in 1..=NEWEST {
        newest.set(state(number));
        // Whoever is told states as they come sets the pace.
        assert_eq!(next_number(&mut prompt), number);
    }
    let mut told = 1;
    while next_number(&mut late) < NEWEST {
        told += 1;
    }
    // What its own system holds, what ours holds, and one that waits.
    assert!(told <= 6, "{told} states");
}

#[test]
fn who_reads_everything_after_a_while_and_is_quiet_is_not_cut() {
    const TIMEOUT: &str = "--write-timeout-secs=2";
    let flags = [TIMEOUT, "--control-frames-per-second=0", "--ping-interval-secs=3600"];
    let server = ways::start(&flags);
    let server = &server;
    let play = |way: Way, pings: usize| {
        let mut client = way.open_narrow(server);
        client.0.welcome_all();
        // More than the systems keep of the answers, at some of these amounts.
        client.send(&frame(PING, &[7; 125]).repeat(pings));
        for _ in 0..pings {
            assert_eq!(client.frame(), (PONG, vec![7; 125]));
        }
        // It is quiet for longer than the write timeout.
        client.0.socket().set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
        let quiet = client.0.read(&mut [0]).map_err(|error| error.kind());
        let is_quiet = matches!(quiet, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(is_quiet, "{way:?}, {pings} pings: {quiet:?}");
        client.0.socket().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send(&frame(PING, b"still there?"));
        assert_eq!(client.frame(), (PONG, b"still there?".to_vec()));
    };
    thread::scope(|scope| {
        for way in Way::ALL {
            for pings in (20..=180).step_by(40) {
                scope.spawn(move || play(way, pings));
            }
        }
    });
}
