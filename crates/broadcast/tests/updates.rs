//! What a handler learns about a state: its revision, what was skipped, and its value.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready as ready_or_return};
use std::thread;

use broadcast::{Publisher, Subscription};
use support::{TEXT, open};
use transport::{Handler, Message, Next, PreparedMessage};
use wake_count::{WakeCount, ready};

fn prepared(state: &str) -> PreparedMessage {
    PreparedMessage::from(Message::from(state))
}

/// Returns the state, the revision, and the number of skipped states of the next update.
fn update(subscription: &mut Subscription) -> Option<(PreparedMessage, u64, u64)> {
    let update = ready(|cx| subscription.poll_update(cx))?;
    Some((update.message, update.revision, update.skipped))
}

/// More sessions than one group of wakers holds, so that the channel has copies for threads.
const MANY: usize = 200;

/// Returns subscriptions that wait for a state.
fn waiting<V: Clone>(publisher: &Publisher<V>, count: usize) -> Vec<Subscription<V>> {
    let mut subscriptions: Vec<_> = (0..count).map(|_| publisher.subscribe()).collect();
    assert!(subscriptions.iter_mut().all(|it| ready(|cx| it.poll_update(cx)).is_none()));
    subscriptions
}

#[test]
fn the_first_update_has_skipped_nothing_and_later_ones_count_what_was_replaced() {
    let publisher = Publisher::new();
    let mut early = publisher.subscribe();
    assert_eq!(update(&mut early), None);
    publisher.publish("one");
    assert_eq!(update(&mut early), Some((prepared("one"), 1, 0)));
    assert_eq!(update(&mut early), None);
    for state in ["two", "three", "four"] {
        publisher.publish(state);
    }
    let mut late = publisher.subscribe();
    assert_eq!(update(&mut early), Some((prepared("four"), 4, 2)));
    assert_eq!(update(&mut late), Some((prepared("four"), 4, 0)));
    assert_eq!(update(&mut early.clone()), Some((prepared("four"), 4, 0)));
    publisher.publish("five");
    assert_eq!(update(&mut early), Some((prepared("five"), 5, 0)));
}

#[test]
fn a_cleared_state_is_sent_to_nobody_and_counts_as_skipped() {
    for count in [1, MANY] {
        let publisher = Publisher::new();
        let mut subscriptions = waiting(&publisher, count);
        publisher.publish("one");
        for subscription in &mut subscriptions {
            assert_eq!(update(subscription), Some((prepared("one"), 1, 0)));
        }
        publisher.publish("two");
        let _sent = update(&mut subscriptions.pop().unwrap());
        publisher.clear();
        assert_eq!(update(&mut publisher.subscribe()), None);
        assert!(subscriptions.iter_mut().all(|it| update(it).is_none()));
        publisher.publish("three");
        for subscription in &mut subscriptions {
            assert_eq!(update(subscription), Some((prepared("three"), 3, 1)));
        }
    }
}

#[test]
fn states_of_two_threads_have_increasing_revisions_and_each_state_is_counted() {
    const EACH: u64 = 10_000;
    let publisher = Publisher::with_values();
    let mut subscriptions = waiting(&publisher, MANY);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for number in 1..=EACH {
                        publisher.publish_with(number.to_string(), number);
                    }
                })
            })
            .collect();
        for subscription in subscriptions.iter_mut().take(2) {
            scope.spawn(|| {
                let (mut counted, mut seen) = (0, 0);
                while counted < 2 * EACH {
                    let is_done = is_done.load(Ordering::SeqCst);
                    let Some(update) = ready(|cx| subscription.poll_update(cx)) else {
                        assert!(!is_done, "{counted} states are counted when all are published");
                        continue;
                    };
                    assert!(update.revision > seen);
                    assert_eq!(update.message, prepared(&update.value.to_string()));
                    let before_the_first = if seen == 0 { update.revision - 1 } else { 0 };
                    counted += before_the_first + update.skipped + 1;
                    seen = update.revision;
                    assert_eq!(counted, seen);
                }
            });
        }
        publishers.into_iter().for_each(|thread| thread.join().unwrap());
        is_done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_replaced_state_and_the_state_of_a_dropped_publisher_are_dropped_at_once() {
    let publisher = Publisher::with_values();
    let mut subscriptions = waiting(&publisher, MANY);
    let values = [Arc::new("one"), Arc::new("two"), Arc::new("three")];
    for value in &values {
        publisher.publish_with(**value, Arc::clone(value));
        for group in subscriptions.chunks_mut(MANY / 4) {
            let take = |it: &mut Subscription<_>| ready(|cx| it.poll_update(cx)).unwrap().value;
            thread::scope(|scope| {
                scope.spawn(|| assert!(group.iter_mut().map(take).all(|taken| taken == *value)));
            });
        }
    }
    let users = || values.each_ref().map(Arc::strong_count);
    assert_eq!(users()[..2], [1, 1], "threads keep no state that was replaced");
    publisher.clear();
    assert_eq!(users()[2], 1, "threads keep no state that was cleared");
    publisher.publish_with("three", Arc::clone(&values[2]));
    assert!(subscriptions.iter_mut().all(|it| ready(|cx| it.poll_update(cx)).is_some()));
    drop((publisher, subscriptions));
    assert_eq!(users(), [1; 3], "threads keep no state of a publisher that was dropped");
}

#[test]
fn a_state_published_while_sessions_register_reaches_each_of_them() {
    for _ in 0..300 {
        let (publisher, start) = (Publisher::new(), Barrier::new(3));
        let subscribe = || {
            start.wait();
            let open = |_| {
                let (mut subscription, count) =
                    (publisher.subscribe(), Arc::<WakeCount>::default());
                let has_state = count.poll(|cx| subscription.poll_update(cx)).is_ready();
                (subscription, count, has_state)
            };
            (0..MANY / 2).map(open).collect::<Vec<_>>()
        };
        let opened = thread::scope(|scope| {
            let subscribers = [scope.spawn(subscribe), scope.spawn(subscribe)];
            start.wait();
            publisher.publish("news");
            subscribers.map(|thread| thread.join().unwrap())
        });
        for (_subscription, count, has_state) in opened.iter().flatten() {
            assert!(*has_state || count.count() > 0, "a session sleeps and has no state");
        }
    }
}

#[test]
fn a_session_that_waits_outlives_its_publisher() {
    let publisher = Publisher::new();
    let (mut subscription, count) = (publisher.subscribe(), Arc::<WakeCount>::default());
    publisher.publish("last");
    drop(publisher);
    assert!(count.poll(|cx| subscription.poll_update(cx)).is_ready());
    assert!(count.poll(|cx| subscription.poll_update(cx)).is_pending());
    drop(subscription);
    assert_eq!((Arc::strong_count(&count), count.count()), (1, 0));
}

/// Sends the states whose value is even. It has no `Clone`: each session gets one of its own.
struct EvenStates(Subscription<u64>);

impl Handler for EvenStates {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let update = ready_or_return!(self.0.poll_update(cx));
            if update.value % 2 == 0 {
                return Poll::Ready(Next::SendPrepared(update.message));
            }
        }
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_handler_filters_the_states_by_their_values() {
    let publisher = Publisher::with_values();
    let mut session = open(EvenStates(publisher.subscribe()), 1024);
    for number in 1..=6 {
        publisher.publish_with(format!("state {number}"), number);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    for expected in ["state 2", "state 4", "state 6"] {
        assert_eq!(session.peer.frame().await, (TEXT, expected.as_bytes().to_vec()));
    }
}

#[test]
fn a_state_that_is_published_again_is_a_new_revision_of_the_same_bytes() {
    for count in [1, MANY] {
        let publisher = Publisher::with_values();
        let mut subscriptions = waiting(&publisher, count);
        publisher.republish();
        assert!(subscriptions.iter_mut().all(|it| ready(|cx| it.poll_update(cx)).is_none()));
        publisher.publish_with("state", "value");
        let [first, again, last] = [1, 2, 4].map(|revision| {
            let update = |it: &mut Subscription<&'static str>| {
                let update = ready(|cx| it.poll_update(cx)).unwrap();
                assert_eq!((update.revision, update.value), (revision, "value"));
                assert_eq!(update.skipped, u64::from(revision == 4));
                update.message
            };
            let messages: Vec<PreparedMessage> = subscriptions.iter_mut().map(update).collect();
            publisher.republish();
            if revision == 2 {
                publisher.republish();
            }
            messages[0].payload().as_ptr()
        });
        assert!(first == again && first == last);
        publisher.clear();
        publisher.republish();
        assert!(subscriptions.iter_mut().all(|it| ready(|cx| it.poll_update(cx)).is_none()));
    }
}
