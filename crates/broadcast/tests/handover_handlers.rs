//! What hands sessions over by itself: admissions, handlers that are cloned, and topics. Mailboxes do not.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod wake_count;

use std::num::NonZeroUsize;
use std::sync::Arc;

use broadcast::{Have, Mailboxes, Publisher, Topics, WhenFull, mailbox};
use transport::{Admit, Handler, Next};
use wake_count::{WakeCount, ready};

/// Returns the payload of the next state as text.
fn next(handler: &mut impl Handler) -> Option<String> {
    let next = ready(|cx| handler.poll_next(cx))?;
    let Next::SendPrepared(message) = next else { panic!("{next:?}") };
    Some(String::from_utf8(message.payload().to_vec()).unwrap())
}

#[test]
fn a_publisher_and_a_subscription_continue_the_sessions_that_they_admit() {
    let (old, new) = (Publisher::new(), Publisher::new());
    old.publish("one");
    let mut session = old.subscribe();
    assert!(next(&mut session).is_some());
    assert!(new.restore(&old.freeze()));
    let frozen = Handler::freeze(&session).unwrap();
    for mut thawed in [
        Admit::thaw(&new, None, frozen.clone()).unwrap(),
        Admit::thaw(&new.subscribe(), None, frozen.clone()).unwrap(),
        // The form is that of the session, and not that of the handler that is cloned.
        Handler::thaw(&new.subscribe_having(&Have::Nothing), frozen).unwrap(),
    ] {
        assert_eq!(next(&mut thawed), None);
        new.republish();
        assert_eq!(next(&mut thawed).as_deref(), Some("one"));
    }
    assert!(Admit::thaw(&new, None, "unknown".into()).is_none());
    assert!(Handler::thaw(&new.subscribe(), "unknown".into()).is_none());
}

#[test]
fn topics_hand_over_the_states_of_all_and_the_sessions_of_each() {
    let (old, new): (Topics<String>, Topics<String>) = (Topics::new(), Topics::new());
    old.publish("a", "state of a");
    old.publish("b", "state of b");
    let mut sessions = ["a", "b", "c"].map(|key| old.subscribe(key.to_owned()));
    assert_eq!(sessions.each_mut().map(|session| next(session).is_some()), [true, true, false]);
    let frozen = old.freeze();
    assert_eq!(frozen.len(), 2, "a topic without a state has nothing to hand over");
    for (key, state) in frozen {
        assert!(new.restore(&*key, &state));
        assert!(!new.restore(&*key, &state));
    }
    let mut thawed = sessions
        .each_ref()
        .map(|session| new.thaw(session.key().clone(), &session.freeze()).unwrap());
    assert_eq!(thawed.each_mut().map(next), [None, None, None]);
    new.publish("c", "state of c");
    assert_eq!(thawed.each_mut().map(next), [None, None, Some("state of c".to_owned())]);
    assert_eq!(next(&mut new.subscribe("a".to_owned())).as_deref(), Some("state of a"));
    let [a, ..] = &thawed;
    let mut again = Handler::thaw(a, Handler::freeze(a).unwrap()).unwrap();
    assert_eq!((next(&mut again), again.key().as_str()), (None, "a"));
}

#[test]
fn what_cannot_be_read_creates_no_topic() {
    let topics: Topics<u8> = Topics::new();
    assert!(topics.thaw(1, b"unknown").is_none());
    assert!(!topics.restore(&1, b"unknown"));
    assert!(topics.is_empty());
    drop(topics.thaw(1, b"\x01\x00").unwrap());
    assert!(topics.is_empty());
}

#[test]
fn a_topic_restores_with_a_value() {
    let (old, new) = (Topics::with_values(), Topics::with_values());
    old.publish_with(&1, "state", 7);
    for (key, state) in old.freeze() {
        assert!(new.restore_with(&key, &state, |message| message.payload_len()));
    }
    let mut session = new.subscribe(1);
    assert_eq!(ready(|cx| session.poll_update(cx)).unwrap().value, 5);
}

#[test]
fn a_state_that_is_restored_wakes_the_sessions_that_wait() {
    let (old, new) = (Publisher::new(), Publisher::new());
    let topics: Topics<u8> = Topics::new();
    old.publish("state");
    let (mut session, mut of_topic) = (new.subscribe(), topics.subscribe(1));
    let wakes = Arc::new(WakeCount::default());
    assert!(wakes.poll(|cx| session.poll_next(cx)).is_pending());
    assert!(wakes.poll(|cx| of_topic.poll_next(cx)).is_pending());
    assert!(new.restore(&old.freeze()));
    assert_eq!(wakes.count(), 1);
    assert!(topics.restore(&1, &old.freeze()));
    assert_eq!(wakes.count(), 2);
}

#[test]
fn a_measurement_ends_with_its_process() {
    let (old, new) = (Publisher::new(), Publisher::new());
    old.measure();
    new.measure();
    let mut session = old.subscribe();
    // A session has a turn in 64 states, and not with its first.
    let is_measured = (0..=64).any(|number| {
        old.publish(number.to_string());
        assert!(next(&mut session).is_some());
        ready(|cx| session.poll_next(cx)) == Some(Next::Ping)
    });
    assert!(is_measured);
    assert!(new.restore(&old.freeze()));
    let mut session = new.thaw(&session.freeze()).unwrap();
    assert_eq!(next(&mut session), None);
    session.pong();
    assert_eq!(new.statistics().delivery_times.count(), 0);
}

#[test]
fn a_session_with_a_mailbox_stays_with_its_process() {
    const CAPACITY: NonZeroUsize = NonZeroUsize::new(4).unwrap();
    let (_sender, events) = mailbox(CAPACITY, WhenFull::DropOldest);
    assert_eq!(events.freeze(), None);
    assert_eq!(Mailboxes::new(CAPACITY, WhenFull::DropOldest).open(1).freeze(), None);
}
