//! The topics: what their sessions send, when they are forgotten, and what keys can make grow.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::hash::{Hash, Hasher};
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use allocation_counter::measure;
use broadcast::{TopicSubscription, Topics};
use support::{TEXT, open};
use transport::{Message, PreparedMessage};
use wake_count::{WakeCount, ready};

/// Returns the payload of the next update, its revision, and the number of skipped states.
fn update<K: Eq + Hash>(
    subscription: &mut TopicSubscription<K>,
) -> Option<(PreparedMessage, u64, u64)> {
    let update = ready(|cx| subscription.poll_update(cx))?;
    Some((update.message, update.revision, update.skipped))
}

fn prepared(state: &str) -> PreparedMessage {
    PreparedMessage::from(Message::from(state))
}

#[tokio::test(start_paused = true)]
async fn a_session_sends_the_states_of_its_topic_only() {
    let topics: Topics<String> = Topics::new();
    topics.publish("red", "red 1");
    let mut red = open(topics.subscribe("red".to_owned()), 1024);
    let mut blue = open(topics.subscribe("blue".to_owned()), 1024);
    topics.publish("blue", "blue 1");
    assert_eq!(red.peer.frame().await, (TEXT, b"red 1".to_vec()));
    assert_eq!(blue.peer.frame().await, (TEXT, b"blue 1".to_vec()));
    topics.publish("red", "red 2");
    topics.publish("blue", "blue 2");
    assert_eq!(red.peer.frame().await, (TEXT, b"red 2".to_vec()));
    assert_eq!(blue.peer.frame().await, (TEXT, b"blue 2".to_vec()));
}

#[test]
fn a_state_is_kept_for_sessions_that_subscribe_later_until_it_is_cleared() {
    let topics = Topics::new();
    topics.publish(&7_u64, "kept");
    drop(topics.subscribe(7));
    assert_eq!(topics.len(), 1);
    assert_eq!(update(&mut topics.subscribe(7)), Some((prepared("kept"), 1, 0)));
    topics.clear(&7);
    assert!(topics.is_empty());
    assert_eq!(update(&mut topics.subscribe(7)), None);
}

#[test]
fn a_topic_without_a_state_is_forgotten_with_its_last_subscription() {
    let topics: Topics<&str> = Topics::new();
    let first = topics.subscribe("key");
    let second = first.clone();
    assert_eq!((topics.len(), topics.subscriptions("key"), *second.key()), (1, 2, "key"));
    drop(first);
    assert_eq!((topics.len(), topics.subscriptions("key")), (1, 1));
    drop(second);
    assert_eq!((topics.len(), topics.subscriptions("key")), (0, 0));
    topics.clear("key"); // A topic that does not exist.
}

#[test]
fn a_cleared_topic_keeps_its_subscriptions_and_goes_on_counting() {
    let topics: Topics<&str> = Topics::new();
    let (mut subscription, count) = (topics.subscribe("key"), Arc::<WakeCount>::default());
    topics.publish(&"key", "one");
    topics.clear("key");
    assert!(count.poll(|cx| subscription.poll_update(cx)).is_pending());
    topics.publish(&"key", "two");
    assert_eq!(count.count(), 1);
    assert_eq!(update(&mut subscription), Some((prepared("two"), 2, 0)));
}

#[test]
fn a_topic_with_values_returns_them() {
    let topics = Topics::with_values();
    topics.publish_with(&1_u8, "text", 42);
    let mut subscription = topics.subscribe(1);
    assert_eq!(ready(|cx| subscription.poll_update(cx)).unwrap().value, 42);
}

#[test]
fn a_session_that_waits_outlives_the_handles_of_its_topics() {
    let topics = Topics::new();
    let (mut subscription, count) = (topics.subscribe(1_u8), Arc::<WakeCount>::default());
    assert!(count.poll(|cx| subscription.poll_update(cx)).is_pending());
    drop(topics);
    assert!(count.poll(|cx| subscription.poll_update(cx)).is_pending());
    drop(subscription);
    assert_eq!((Arc::strong_count(&count), count.count()), (1, 0));
}

#[test]
fn keys_that_peers_choose_leave_nothing_behind() {
    const KEYS: usize = 100_000;
    let topics: Topics<String> = Topics::new();
    let wait = |key: usize| {
        let mut subscription = topics.subscribe(key.to_string());
        assert_eq!(update(&mut subscription), None);
        subscription
    };
    let one_by_one = measure(|| {
        for key in 0..KEYS {
            let subscription = wait(key);
            assert_eq!(topics.len(), 1);
            drop(subscription);
        }
    });
    let at_once = measure(|| {
        let subscriptions: Vec<_> = (0..KEYS).map(wait).collect();
        assert_eq!(topics.len(), KEYS);
        drop(subscriptions);
    });
    assert!(topics.is_empty());
    for left in [one_by_one.bytes_current, at_once.bytes_current] {
        assert!(left < 10_000, "{left} bytes are left of {KEYS} topics");
    }
}

/// Waits until the other thread has reached this step.
fn wait_for(step: &AtomicUsize, expected: usize) {
    let mut spins = 0;
    while step.load(Ordering::Acquire) < expected {
        spins += 1;
        // At first without giving up the processor, so that the threads go on at the same instant.
        if spins > 10_000 { thread::yield_now() } else { spin_loop() }
    }
}

#[test]
fn a_state_published_while_the_last_subscription_is_dropped_is_kept() {
    const ROUNDS: usize = 5_000;
    let topics = Topics::new();
    let [subscribed, published, dropped, checked] = [0; 4].map(AtomicUsize::new);
    let lost = thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                let subscription = topics.subscribe(1_u8);
                subscribed.store(round, Ordering::Release);
                wait_for(&published, round);
                drop(subscription);
                dropped.store(round, Ordering::Release);
                wait_for(&checked, round);
            }
        });
        let mut lost = 0;
        for round in 1..=ROUNDS {
            wait_for(&subscribed, round);
            published.store(round, Ordering::Release);
            topics.publish(&1, "kept");
            wait_for(&dropped, round);
            lost += usize::from(update(&mut topics.subscribe(1)).is_none());
            topics.clear(&1);
            checked.store(round, Ordering::Release);
        }
        lost
    });
    assert_eq!(lost, 0);
    assert!(topics.is_empty());
}

/// Ends a loop also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_session_that_subscribes_while_the_last_subscription_is_dropped_gets_the_next_state() {
    let topics = Topics::new();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    drop(topics.subscribe(1_u8));
                }
            });
        }
        let _stop = StopOnDrop(&is_done);
        for _ in 0..20_000 {
            let (mut subscription, count) = (topics.subscribe(1), Arc::<WakeCount>::default());
            assert!(count.poll(|cx| subscription.poll_update(cx)).is_pending());
            topics.publish(&1, "news");
            assert_eq!(count.count(), 1);
            assert_eq!(update(&mut subscription).map(|it| it.0), Some(prepared("news")));
            topics.clear(&1);
        }
    });
    assert!(topics.is_empty());
}

/// A value that drops a subscription to its own topics.
#[derive(Clone)]
struct Owning(#[expect(dead_code, reason = "it is dropped")] Arc<TopicSubscription<u8, Owning>>);

#[test]
fn a_value_that_drops_a_subscription_is_dropped_without_a_lock() {
    let topics = Topics::with_values();
    let publish = || topics.publish_with(&1, "state", Owning(Arc::new(topics.subscribe(2))));
    publish();
    publish();
    assert_eq!(topics.subscriptions(&2), 1, "the replaced value is dropped");
    topics.clear(&1);
    assert!(topics.is_empty());
}

/// A key that locks its own topics when it is dropped.
#[derive(Clone)]
struct Locking(Topics<Locking>);

impl PartialEq for Locking {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Locking {}

impl Hash for Locking {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Drop for Locking {
    fn drop(&mut self) {
        _ = self.0.len();
    }
}

#[test]
fn a_key_that_locks_its_topics_is_dropped_without_a_lock() {
    let topics = Topics::new();
    let key = Locking(topics.clone());
    let first = topics.subscribe(key.clone());
    drop(first.clone());
    drop(first);
    topics.publish(&key, "state");
    topics.clear(&key);
    assert!(topics.is_empty());
}

#[test]
fn a_topic_publishes_its_state_again() {
    let topics: Topics<u8> = Topics::new();
    let mut subscription = topics.subscribe(1);
    topics.republish(&1); // It has no state.
    topics.republish(&2);
    assert_eq!((update(&mut subscription), topics.len()), (None, 1));
    topics.publish(&1, "state");
    assert_eq!(update(&mut subscription), Some((prepared("state"), 1, 0)));
    topics.republish(&1);
    assert_eq!(update(&mut subscription), Some((prepared("state"), 2, 0)));
}
