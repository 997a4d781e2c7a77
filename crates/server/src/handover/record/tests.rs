//! Tests of records and messages: what one version has written, another reads with the same meaning, or not
//! at all.

use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use transport::DrainOptions;
use transport::ws_core::{Event, Lifecycle, Limits, SessionConfig, Timing};

use super::super::messages::{DrainRecord, FromPredecessor, FromSuccessor, decode};
use super::*;
use crate::config::ShutdownOptions;
use crate::net::client_addr::TrustedPeer;

/// A record, and messages, as the first version wrote them. They are never changed.
const SESSION: &str = include_str!("../../../tests/records/session-1.hex");
const HELLO: &str = include_str!("../../../tests/records/hello-1.hex");
const SEALED: &str = include_str!("../../../tests/records/sealed-1.hex");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn session() -> FrozenSession {
    SessionRecord::decode(&bytes(SESSION)).unwrap().frozen().unwrap()
}

/// Encodes a record that another version may have written.
fn encode(record: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(record).unwrap()
}

/// A record with no more than it must have.
fn least() -> Value {
    json!({ "version": 1, "id": 7, "path": "/", "age_ns": 3, "frozen_at_ns": 9, "machine": {} })
}

/// The session of a record in which a field has another value.
fn with(field: &str, value: Value) -> Option<FrozenSession> {
    let mut record = least();
    record[field] = value;
    SessionRecord::decode(&encode(&record))?.frozen()
}

#[test]
fn a_record_of_the_first_version_keeps_its_meaning() {
    let record = SessionRecord::decode(&bytes(SESSION)).unwrap();
    let ns = Duration::from_nanos;
    let mut snapshot = Snapshot::default();
    snapshot.ping_due = ns(1);
    snapshot.ping_sent_at = Some(ns(2));
    snapshot.pong_deadline = Some(ns(3));
    snapshot.pong_deadline_is_extended = true;
    let (cause, code) = (Cause::MaxAge, CloseCode::GOING_AWAY);
    snapshot.scheduled_close = Some(ScheduledClose { at: ns(4), cause, code, retry: Some(ns(5)) });
    snapshot.expiry = Some(ns(6));
    snapshot.messages = BucketSnapshot { full_at: ns(7), credit: ns(8) };
    snapshot.control_frames = BucketSnapshot { full_at: ns(9), credit: ns(10) };
    snapshot.stalled_at = Some(ns(11));
    let stats = &mut snapshot.stats;
    (stats.pings, stats.pongs, stats.round_trip) = (12, 13, Some(ns(14)));
    stats.received = Counters { messages: 15, bytes: 16 };
    stats.sent = Counters { messages: 17, bytes: 18 };
    (stats.control_frames_received, stats.control_frames_sent) = (19, 20);
    let expected = FrozenSession {
        id: 21,
        age: ns(22),
        identity: Some(Identity::try_from("alice").unwrap()),
        compression: Some(Compression::Shared),
        snapshot,
        handler: Bytes::from_static(b"\0\xff"),
    };
    assert_eq!(record.frozen(), Some(expected));
    assert_eq!(record.path, "/ws/status");
    assert_eq!(record.address, Some("2001:db8::".parse().unwrap()));
    let row = json!({ "peer": "192.0.2.1:4000", "origin": "https://app.example" });
    assert_eq!(serde_json::to_value(record.row).unwrap(), row);
}

#[test]
fn a_record_that_is_written_is_read_with_the_same_meaning() {
    let before = session();
    let row = SessionRecord::decode(&bytes(SESSION)).unwrap().row;
    let address = Some("192.0.2.1".parse().unwrap());
    let earlier = system_clock();
    let record = SessionRecord::new(before.clone(), "/a".to_owned(), address, row.clone());
    let frozen_at = Duration::from_nanos(record.frozen_at_ns);
    assert!(earlier <= frozen_at && frozen_at <= system_clock());
    let after = SessionRecord::decode(&record.encode()).unwrap();
    assert_eq!((after.frozen(), after.path.as_str()), (Some(before), "/a"));
    assert_eq!((after.address, after.row), (address, row));
}

#[test]
fn fields_that_are_missing_have_their_defaults() {
    let frozen = SessionRecord::decode(&encode(&least())).unwrap().frozen().unwrap();
    let expected = FrozenSession {
        id: 7,
        age: Duration::from_nanos(3),
        identity: None,
        compression: None,
        snapshot: Snapshot::default(),
        handler: Bytes::new(),
    };
    assert_eq!(frozen, expected);
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let mut record = least();
    record["later"] = json!({ "nested": [1, null, { "a": "b" }] });
    record["machine"] =
        json!({ "ping_due": 5, "later": true, "stats": { "pings": 6, "later": 1 } });
    let frozen = SessionRecord::decode(&encode(&record)).unwrap().frozen().unwrap();
    assert_eq!(frozen.snapshot.ping_due, Duration::from_nanos(5));
    assert_eq!(frozen.snapshot.stats.pings, 6);
}

#[test]
fn what_has_no_meaning_here_is_refused() {
    for version in [0, 2, u32::MAX] {
        assert_eq!(with("version", version.into()), None);
    }
    for (field, value) in [
        ("id", json!(-1)),
        ("id", json!(0)),
        ("path", json!(null)),
        ("compression", json!("brotli")),
        ("identity", json!("")),
        ("identity", json!("x".repeat(1 << 16))),
        ("address", json!("192.0.2.1")),
        ("machine", json!({ "close": { "at": 1, "cause": "later", "code": 1001 } })),
        ("machine", json!({ "close": { "at": 1, "cause": "max_age", "code": 1005 } })),
        ("machine", json!({ "close": { "at": 1, "cause": "max_age", "code": 0 } })),
        ("machine", json!({ "ping_due": -1 })),
    ] {
        assert_eq!(with(field, value.clone()), None, "{field} = {value}");
    }
    assert!(with("compression", json!("fresh")).is_some());
}

#[test]
fn a_session_counts_for_its_address_or_for_its_client_and_never_for_a_proxy() {
    let proxies = vec![TrustedPeer::Network("10.0.0.0/8".parse().unwrap())];
    let policy = ClientAddrPolicy { proxies, ..ClientAddrPolicy::default() };
    let [client, proxy] =
        ["192.0.2.9:4000", "10.0.0.1:4000"].map(|it| Peer::Address(it.parse().unwrap()));
    let address = |text: &str| Some(text.parse().unwrap());
    let mut record = SessionRecord::decode(&encode(&least())).unwrap();
    assert_eq!(record.client_address(client, &policy), address("192.0.2.9"));
    assert_eq!(record.client_address(proxy, &policy), None);
    record.row = SessionRecord::decode(&bytes(SESSION)).unwrap().row;
    assert_eq!(record.client_address(proxy, &policy), address("192.0.2.1"));
    record.address = address("198.51.100.7");
    assert_eq!(record.client_address(proxy, &policy), record.address);
}

#[test]
fn the_messages_of_the_first_version_keep_their_meaning() {
    let Ok(FromSuccessor::Hello { protocol: 1, pid: 4000, drain }) = decode(&bytes(HELLO)) else {
        panic!("it is a Hello")
    };
    let ShutdownOptions { grace, delay, drain } = drain.into();
    assert_eq!((grace, delay), (Duration::from_secs(10), Duration::ZERO));
    assert_eq!(u16::from(drain.code), 1012);
    assert_eq!(drain.spread, Duration::from_millis(1500));
    assert_eq!(drain.reconnect_spread, Duration::from_secs(60));

    let Ok(FromPredecessor::Sealed(seal)) = decode(&bytes(SEALED)) else { panic!("it is sealed") };
    assert_eq!(seal.states, [("state".to_owned(), Bytes::from_static(b"\0\xff"))]);
}

#[test]
fn the_options_of_a_drain_keep_their_meaning_except_that_it_has_no_delay() {
    let options = ShutdownOptions {
        grace: Duration::from_secs(10),
        delay: Duration::from_secs(5),
        drain: DrainOptions {
            code: CloseCode::SERVICE_RESTART,
            spread: Duration::from_millis(1500),
            reconnect_spread: Duration::from_secs(60),
        },
    };
    let arrived = ShutdownOptions::from(DrainRecord::from(options));
    assert_eq!(arrived, ShutdownOptions { delay: Duration::ZERO, ..options });
}

#[test]
fn a_part_of_a_record_or_of_a_message_is_none() {
    let prefixes = |hex: &str| {
        let bytes = bytes(hex);
        (0..bytes.len()).map(move |length| bytes[..length].to_vec())
    };
    assert!(prefixes(SESSION).all(|part| SessionRecord::decode(&part).is_none()));
    assert!(prefixes(HELLO).all(|part| decode::<FromSuccessor>(&part).is_err()));
    assert!(prefixes(SEALED).all(|part| decode::<FromPredecessor>(&part).is_err()));
}

#[test]
fn corrupted_records_and_messages_are_read_without_a_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut continued = 0;
    for _ in 0..10_000 {
        let record = SessionRecord::decode(&random.corrupt(SESSION));
        if let Some(frozen) = record.and_then(|record| record.frozen()) {
            expect_a_session(&frozen);
            continued += 1;
        }
        try_decode::<FromSuccessor>(&random.corrupt(HELLO));
        try_decode::<FromPredecessor>(&random.corrupt(SEALED));
    }
    // Many corruptions change a value only.
    assert!(continued > 1000, "{continued}");
}

/// Returns the time of the clock that all processes share.
fn system_clock() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap()
}

/// Checks that the state machine goes on from this session's snapshot, whatever times it has.
fn expect_a_session(frozen: &FrozenSession) {
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    let config = SessionConfig { timing, limits: Limits::default() };
    let mut lifecycle = Lifecycle::restore(config.into(), &frozen.snapshot);
    for event in [Event::Pings { count: 1, bytes: 0 }, Event::Tick] {
        let _ = lifecycle.handle(event, frozen.age);
    }
    let _ = (lifecycle.deadline(), lifecycle.snapshot());
}

fn try_decode<T: DeserializeOwned>(bytes: &[u8]) {
    // An error is as good as a message.
    let _ = decode::<T>(bytes);
}

/// A generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Changes up to three bytes, each to any or by one bit, or removes or inserts one.
    fn corrupt(&mut self, hex: &str) -> Vec<u8> {
        let mut bytes = bytes(hex);
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let any = u8::try_from(self.below(256)).unwrap();
            match self.below(4) {
                0 => bytes[at] = any,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, any),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        bytes
    }
}
