//! Clients that read late: they receive recent states and stay connected.
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

use support::protocols::{self, Protocol};
use support::publisher::Publisher;
use support::{BINARY, Client, PING, PONG, UPGRADE, frame};

/// A state of 4 KiB that begins with its number.
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
fn a_client_that_reads_late_receives_few_states_before_the_latest() {
    const LATEST: u32 = 200;
    let publisher = Publisher::default();
    let server = protocols::start_with(publisher.subscribe(), &["--write-timeout-secs=0"]);
    let mut late = Client::connect_with_small_buffer(server.address);
    assert_eq!(late.request(UPGRADE).0, 101);
    let mut prompt = Protocol::Http1.open(&server);
    for number in 1..=LATEST {
        publisher.publish(state(number));
        // The client that reads each state sets the pace.
        assert_eq!(next_number(&mut prompt), number);
    }
    let mut received = 1;
    while next_number(&mut late) < LATEST {
        received += 1;
    }
    // The states in the receive buffer, in the send buffer, and one in the session.
    assert!(received <= 6, "{received} states");
}

#[test]
fn a_client_that_reads_everything_late_and_is_idle_stays_connected() {
    const TIMEOUT: &str = "--write-timeout-secs=2";
    let flags = [TIMEOUT, "--control-frames-per-second=0", "--ping-interval-secs=3600"];
    let server = protocols::start(&flags);
    let server = &server;
    let run = |protocol: Protocol, pings: usize| {
        let mut client = protocol.open_with_small_buffer(server);
        client.0.open_windows();
        // At some of these counts, the pongs exceed the socket buffers.
        client.send(&frame(PING, &[7; 125]).repeat(pings));
        for _ in 0..pings {
            assert_eq!(client.frame(), (PONG, vec![7; 125]));
        }
        // The client is idle for longer than the write timeout.
        client.0.socket().set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
        let quiet = client.0.read(&mut [0]).map_err(|error| error.kind());
        let is_quiet = matches!(quiet, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(is_quiet, "{protocol:?}, {pings} pings: {quiet:?}");
        client.0.socket().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send(&frame(PING, b"still there?"));
        assert_eq!(client.frame(), (PONG, b"still there?".to_vec()));
    };
    thread::scope(|scope| {
        for protocol in Protocol::ALL {
            for pings in (20..=180).step_by(40) {
                scope.spawn(move || run(protocol, pings));
            }
        }
    });
}
