//! What a successor makes of its predecessor's messages, and of its silence, end and death.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use support::Client;
use support::handover::{Generation, Generations};
use support::process::server;
use support::raw_handover::{Channel, Sessions};

/// A record as the first version wrote it.
const SESSION: &str = include_str!("records/session-1.hex");

/// A listener in the place of a predecessor, and a successor that connects to it.
struct Wire {
    _generations: Generations,
    listener: UnixListener,
    successor: Generation,
}

impl Wire {
    fn new(name: &str) -> Self {
        let generations = Generations::new(name, &[]);
        let path = generations.path("raw");
        let listener = UnixListener::bind(&path).unwrap();
        let mut command = server();
        command.args(generations.flags()).arg(format!("--take-over=unix:{}", path.display()));
        let successor = Generation::run(command);
        Self { _generations: generations, listener, successor }
    }

    /// Expects that the successor ends, with this problem after the path.
    fn expect_failure(mut self, problem: &str) {
        assert_eq!(self.successor.process.exit_code(), 1);
        let lines: Vec<String> = self.successor.process.log.iter().collect();
        // The log has a thread of its own, so the sentence may be anywhere in it.
        let is_sentence = |line: &String| {
            line.starts_with("server: cannot take over from unix:/")
                && line.ends_with(&format!("/raw: {problem}"))
        };
        assert!(lines.iter().any(is_sentence), "{lines:?}");
    }
}

/// The connection of a session: the client, and the server's side.
fn connection() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(listener.local_addr().unwrap());
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    (client, stream)
}

/// A record with this field instead of the usual one.
fn record(field: &str, value: Value) -> Bytes {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap();
    let now = u64::try_from(now.as_nanos()).unwrap();
    let mut record = json!({
        "version": 1, "id": 7, "path": "/ws/status", "age_ns": 0, "frozen_at_ns": now,
        "machine": { "ping_due": 3_600_000_000_000_u64 },
    });
    record[field] = value;
    rmp_serde::to_vec_named(&record).unwrap().into()
}

fn send(channel: &mut Channel, records: Vec<Bytes>, descriptors: &[BorrowedFd<'_>]) {
    channel.send_with(&Sessions::Sessions { records }, descriptors);
}

/// The end of a batch. The second field is that of an earlier version.
fn sealed() -> Value {
    json!({ "Sealed": { "states": [], "next_id": 1000 } })
}

fn expect_untouched(client: &Client) {
    client.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = (&client.0).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_successor_says_why_it_was_refused() {
    let wire = Wire::new("wire-refused");
    let mut channel = Channel::over(wire.listener.accept().unwrap().0);
    channel.receive_value().unwrap();
    channel.send(&json!({ "Refused": { "reason": "for this reason" } }));
    wire.expect_failure("for this reason");
}

#[test]
fn a_signal_stops_a_successor_that_has_taken_nothing() {
    let wire = Wire::new("wire-signal");
    let (mut channel, _pipe) = Channel::welcome(&wire.listener);
    let (client, stream) = connection();
    send(&mut channel, vec![record("id", 7.into())], &[stream.as_fd()]);
    wire.successor.process.signal(Signal::TERM);
    assert!(channel.receive_value().is_none());
    wire.expect_failure("a signal has stopped it");
    expect_untouched(&client);
}

#[test]
fn what_is_revoked_is_not_served() {
    let wire = Wire::new("wire-revoked");
    let (mut channel, mut pipe) = Channel::welcome(&wire.listener);
    let (client, stream) = connection();
    send(&mut channel, vec![record("id", 7.into())], &[stream.as_fd()]);
    pipe.write_all(b"r").unwrap();
    drop((channel, pipe));
    wire.expect_failure("the predecessor has closed the connection");
    expect_untouched(&client);
}

#[test]
fn what_a_predecessor_that_has_died_had_sent_is_served() {
    let wire = Wire::new("wire-died");
    let (mut channel, pipe) = Channel::welcome(&wire.listener);
    let (mut client, stream) = connection();
    send(&mut channel, vec![record("id", 7.into())], &[stream.as_fd()]);
    drop((channel, pipe, stream));
    client.exchange_ping();
    let line = wire.successor.event("taken_over");
    assert_eq!(line["sessions"], 1);
    assert_eq!(line["problem"], "the predecessor has closed the connection");
    client.close();
    assert_eq!(wire.successor.event("closed")["id"], 7);
    wire.successor.stop();
}

#[test]
fn what_a_predecessor_that_is_stopped_had_sent_is_not_served() {
    let wire = Wire::new("wire-stopped");
    let (mut channel, _pipe) = Channel::welcome(&wire.listener);
    let (client, stream) = connection();
    send(&mut channel, vec![record("id", 7.into())], &[stream.as_fd()]);
    wire.expect_failure("the predecessor sends nothing");
    expect_untouched(&client);
}

#[test]
fn sessions_that_cannot_be_continued_are_refused_by_their_index() {
    let mut wire = Wire::new("wire-refusing");
    let (mut channel, _pipe) = Channel::welcome(&wire.listener);
    let records = [
        record("version", 2.into()),
        record("id", 7.into()),
        record("path", "/other".into()),
        Bytes::from_static(b"\xff"),
        record("id", 8.into()),
    ];
    let mut connections: Vec<(Client, TcpStream)> = records.iter().map(|_| connection()).collect();
    let streams: Vec<BorrowedFd<'_>> = connections.iter().map(|it| it.1.as_fd()).collect();
    send(&mut channel, records[..2].to_vec(), &streams[..2]);
    send(&mut channel, records[2..].to_vec(), &streams[2..]);
    channel.send(&sealed());
    let refusing = channel.receive_value().unwrap();
    assert_eq!(refusing["Refusing"]["indices"], json!([0, 2, 3]));
    assert_eq!(channel.receive_value().unwrap(), "Taken");
    assert_eq!(channel.receive_value().unwrap(), "Serving");
    for index in [1, 4] {
        connections[index].0.exchange_ping();
    }
    for index in [0, 2, 3] {
        expect_untouched(&connections[index].0);
    }
    channel.send(&json!({ "Finished": { "open": 3 } }));
    let line = wire.successor.event("taken_over");
    assert_eq!((&line["sessions"], &line["refused"]), (&2.into(), &3.into()));
    assert_eq!(line["left"], 3);
    wire.successor.wait_until_it_listens();
    wire.successor.open().close();
    assert_eq!(wire.successor.event("opened")["id"], 1000);
}

#[test]
fn corrupted_records_do_the_successor_no_harm() {
    let mut wire = Wire::new("wire-corrupted");
    let (mut channel, _pipe) = Channel::welcome(&wire.listener);
    let digits: Vec<u32> = SESSION.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let valid: Vec<u8> =
        digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect();
    let mut connections = Vec::new();
    // Each bit of the record once.
    let corrupted = (0..valid.len() * 8).map(|bit| {
        let mut record = valid.clone();
        record[bit / 8] ^= 1 << (bit % 8);
        Bytes::from(record)
    });
    let corrupted: Vec<Bytes> = corrupted.collect();
    for records in corrupted.chunks(16) {
        let (client, stream) = connection();
        let descriptors = vec![stream.as_fd(); records.len()];
        send(&mut channel, records.to_vec(), &descriptors);
        connections.push((client, stream));
    }
    let (mut client, stream) = connection();
    send(&mut channel, vec![record("id", 70_000.into())], &[stream.as_fd()]);
    channel.send(&sealed());
    let refusing = channel.receive_value().unwrap();
    let refused = refusing["Refusing"]["indices"].as_array().unwrap().len();
    assert!((1000..corrupted.len()).contains(&refused), "{refused} of {}", corrupted.len());
    assert_eq!(channel.receive_value().unwrap(), "Taken");
    client.exchange_ping();
    client.close();
    wire.successor.wait_until_it_listens();
    wire.successor.open().close();
    drop((channel, connections));
    wire.successor.process.signal(Signal::TERM);
    let log = wire.successor.end();
    assert!(!log.iter().any(|line| line["level"] == "ERROR"), "{log:#?}");
}
