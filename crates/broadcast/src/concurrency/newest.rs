//! The newest state reaches every session, whichever way it takes.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use loom::thread::{self, JoinHandle};
use transport::{Message, PreparedMessage};

use super::executor::{block_on, explore, search};
use crate::channel::Channel;
use crate::subscription::{Position, Subscription};
use crate::tag::Have;

/// The value of a state, whose drop shows.
type Value = Arc<()>;
type States = Channel<Value>;

/// The sessions that are in the first shard. When there are more, sessions take states from copies.
const GROUP: usize = 64;

/// Returns a channel for which this many sessions wait that never take a state.
fn channel_with(sessions: usize) -> Arc<States> {
    let channel = Arc::new(Channel::new());
    for _ in 0..sessions {
        channel.wakers.register(&mut None, Waker::noop());
    }
    channel
}

/// Publishes a state. Its value is dropped with the last copy of it.
fn publish(channel: &States) -> Weak<()> {
    let value = Arc::new(());
    let weak = Arc::downgrade(&value);
    let message = PreparedMessage::from(Message::from("state"));
    drop(channel.store(message, None, value));
    channel.notify();
    weak
}

/// Spawns a session that ends when it has the state with this revision, or a later one.
fn subscribe_until(channel: &Arc<States>, last: u64, have: Have) -> JoinHandle<()> {
    let channel = Arc::clone(channel);
    thread::spawn(move || {
        let mut states = Subscription::new(channel, Position::of(&have));
        let mut latest = 0;
        block_on(poll_fn(|cx| {
            while let Poll::Ready(update) = states.poll_update(cx) {
                assert!(latest < update.revision, "an older state after a newer one");
                latest = update.revision;
            }
            if latest < last { Poll::Pending } else { Poll::Ready(()) }
        }));
    })
}

/// One session, while two states are published for it and for `others`.
fn one_session_and(others: usize, have: &Have) {
    let channel = channel_with(others);
    let session = subscribe_until(&channel, 2, have.clone());
    let first = publish(&channel);
    let second = publish(&channel);
    session.join().unwrap();
    check(&channel, others, &first, &second);
}

/// Two sessions, while two states are published for them and for `others`.
fn two_sessions_and(others: usize, haves: [Have; 2]) {
    let channel = channel_with(others);
    let sessions = haves.map(|have| subscribe_until(&channel, 2, have));
    let first = publish(&channel);
    let second = publish(&channel);
    sessions.into_iter().for_each(|session| session.join().unwrap());
    check(&channel, others, &first, &second);
}

/// Only the second state is kept, and only the sessions that never take a state have not taken it.
fn check(channel: &States, others: usize, first: &Weak<()>, second: &Weak<()>) {
    assert_eq!(first.strong_count(), 0, "a state that was replaced is kept");
    assert!(second.strong_count() > 0, "the newest state is lost");
    assert_eq!(channel.count_sessions(), (others, others));
}

#[test]
fn a_session_that_begins_to_wait_while_states_are_published_gets_the_last() {
    explore(|| one_session_and(0, &Have::Absent));
}

#[test]
fn the_last_session_of_the_first_shard_gets_the_last_state() {
    explore(|| one_session_and(GROUP - 1, &Have::Absent));
}

#[test]
fn the_first_session_of_the_other_shards_gets_the_last_state() {
    explore(|| one_session_and(GROUP, &Have::Absent));
}

/// With a second state the first would show its revision to the session, by the lock of the first shard.
#[test]
fn the_first_session_of_the_other_shards_gets_the_only_state() {
    explore(|| {
        let channel = channel_with(GROUP);
        let session = subscribe_until(&channel, 1, Have::Absent);
        publish(&channel);
        session.join().unwrap();
        assert_eq!(channel.count_sessions(), (GROUP, GROUP));
    });
}

#[test]
fn a_session_that_takes_states_from_copies_gets_the_last_and_keeps_no_other() {
    explore(|| one_session_and(GROUP + 1, &Have::Absent));
}

#[test]
fn the_first_session_that_is_sent_tags_gets_the_last_state() {
    explore(|| one_session_and(GROUP + 1, &Have::Nothing));
}

#[test]
fn two_sessions_of_which_one_is_the_first_of_the_other_shards_get_the_last_state() {
    search(2, || two_sessions_and(GROUP - 1, [Have::Absent, Have::Absent]));
}

#[test]
fn two_sessions_that_take_states_from_one_copy_get_the_last_and_keep_no_other() {
    search(2, || two_sessions_and(GROUP + 1, [Have::Absent, Have::Absent]));
}

#[test]
fn a_copy_without_tags_does_not_keep_a_state_from_a_session_that_is_sent_tags() {
    search(2, || two_sessions_and(GROUP + 1, [Have::Absent, Have::Nothing]));
}

#[test]
fn of_two_states_that_are_published_at_once_each_session_gets_the_last() {
    search(2, || {
        let channel = channel_with(GROUP + 1);
        let session = subscribe_until(&channel, 2, Have::Absent);
        let other = Arc::clone(&channel);
        let publisher = thread::spawn(move || publish(&other));
        let states = [publish(&channel), publisher.join().unwrap()];
        session.join().unwrap();
        let kept = states.iter().filter(|state| state.strong_count() > 0);
        assert_eq!(kept.count(), 1, "a channel keeps one state");
    });
}
