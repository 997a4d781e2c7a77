//! The bytes that are handed over: those of today, which later versions have to read or to refuse, and those
//! that no process has written.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod wake_count;

use broadcast::{Have, Publisher, Subscription, Tag};
use transport::{Handler, Message, Next, PreparedMessage};
use wake_count::ready;

fn next(session: &mut Subscription) -> Option<PreparedMessage> {
    let next = ready(|cx| session.poll_next(cx))?;
    let Next::SendPrepared(message) = next else { panic!("{next:?}") };
    Some(message)
}

fn publisher(tag: &str, state: impl Into<Message>) -> Publisher {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag.parse().unwrap(), state);
    publisher
}

/// Each kind of subscription, and its bytes.
const SUBSCRIPTIONS: [(Have, bool, &[u8]); 4] = [
    (Have::Absent, false, b"\x01\x00"),
    (Have::Nothing, false, b"\x01\x01"),
    (Have::Absent, true, b"\x01\x00v1"),
    (Have::Nothing, true, b"\x01\x01v1"),
];

const TEXT: &[u8] = b"\x01\x01\0\0\0\0\0\0\0\x01\x02v1text";
const BINARY: &[u8] = b"\x01\x02\0\0\0\0\0\0\0\x01\x02v1\xff\0";

#[test]
fn a_subscription_is_a_version_its_form_and_the_tag_of_its_state() {
    for (have, has_sent, bytes) in SUBSCRIPTIONS {
        let publisher = publisher("v1", "one");
        let mut session = publisher.subscribe_having(&have);
        if has_sent {
            assert!(next(&mut session).is_some());
        }
        assert_eq!(session.freeze(), bytes);
        let mut thawed = publisher.thaw(bytes).unwrap();
        assert_eq!(thawed.freeze(), bytes);
        assert_eq!(next(&mut thawed), next(&mut session));
        assert_eq!(thawed.freeze(), session.freeze());
    }
}

#[test]
fn a_state_is_a_version_its_opcode_its_revision_its_tag_and_its_payload() {
    let states = [(Message::from("text"), TEXT), (Message::from(vec![0xff, 0]), BINARY)];
    for (state, bytes) in states {
        assert_eq!(publisher("v1", state.clone()).freeze(), bytes);
        let restored = Publisher::new();
        assert!(restored.restore(bytes));
        assert_eq!(restored.freeze(), bytes);
        assert_eq!(next(&mut restored.subscribe()), Some(state.into()));
    }
}

#[test]
fn a_publisher_without_a_state_is_frozen_to_nothing_and_nothing_is_restored() {
    assert!(Publisher::new().freeze().is_empty());
    let cleared = publisher("v1", "one");
    cleared.clear();
    assert!(cleared.freeze().is_empty());
    assert!(!Publisher::new().restore(b""));
}

#[test]
fn a_state_may_be_large_and_a_tag_as_long_as_any() {
    let (tag, state) = ("x".repeat(Tag::MAX_LEN), vec![0x55; 20 << 20]);
    let old = publisher(&tag, state.clone());
    let frozen = old.freeze();
    assert_eq!(frozen.len(), 75 + state.len());
    let new = Publisher::new();
    assert!(new.restore(&frozen));
    assert_eq!(next(&mut new.subscribe()).unwrap().payload(), state);

    let mut session = old.subscribe();
    assert!(next(&mut session).is_some());
    let frozen = session.freeze();
    assert_eq!(frozen.len(), 66);
    assert_eq!(next(&mut new.thaw(&frozen).unwrap()), None);
}

#[test]
fn malformed_bytes_are_refused() {
    let publisher = Publisher::new();
    let long = [&b"\x01\x00"[..], &[b'x'; 65]].concat();
    let subscriptions: [&[u8]; 9] = [
        b"",
        b"\x01",
        b"\x00\x00v1", // Other versions.
        b"\x02\x00v1",
        b"\xff\x01",
        b"\x01\x02v1",
        b"\x01\x00v 1",
        b"\x01\x00\xff",
        &long,
    ];
    for bytes in subscriptions {
        assert!(publisher.thaw(bytes).is_none(), "{bytes:?}");
    }
    let states: [&[u8]; 9] = [
        b"\x00\x01\0\0\0\0\0\0\0\x01\x02v1text",
        b"\x02\x01\0\0\0\0\0\0\0\x01\x02v1text",
        b"\x01\x00\0\0\0\0\0\0\0\x01\x02v1text",
        b"\x01\x03\0\0\0\0\0\0\0\x01\x02v1text",
        b"\x01\x01\xff\0\0\0\0\0\0\x01\x02v1text", // A revision that none can follow.
        b"\x01\x01\0\0\0\0\0\0\0\x01\x00text",
        b"\x01\x01\0\0\0\0\0\0\0\x01\x02v/text",
        b"\x01\x01\0\0\0\0\0\0\0\x01\x07v1text",
        b"\x01\x01\0\0\0\0\0\0\0\x01\x02v1\xff",
    ];
    for bytes in states {
        assert!(!publisher.restore(bytes), "{bytes:?}");
    }
    assert!(publisher.freeze().is_empty());
}

#[test]
fn no_bytes_of_any_length_make_a_process_panic() {
    let bytes = SUBSCRIPTIONS.map(|(_, _, bytes)| bytes.to_vec());
    for valid in bytes.into_iter().chain([TEXT.to_vec(), BINARY.to_vec()]) {
        for length in 0..valid.len() {
            for position in 0..=length {
                for byte in 0..=u8::MAX {
                    let mut bytes = valid[..length].to_vec();
                    bytes.splice(position..(position + 1).min(length), [byte]);
                    let publisher = Publisher::new();
                    let _is_restored = publisher.restore(&bytes);
                    let _session = publisher.thaw(&bytes).map(|mut it| next(&mut it));
                    publisher.publish("a state after it");
                    assert!(next(&mut publisher.subscribe()).is_some());
                }
            }
        }
    }
}
