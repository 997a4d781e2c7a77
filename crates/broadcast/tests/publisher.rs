//! The states that sessions send, and the wakers that a publisher keeps.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use broadcast::{Publisher, Subscription};
use support::{CLOSE, PING, PONG, TEXT, close, frame, open, open_with};
use tokio::runtime::Builder;
use tokio::time::sleep;
use transport::ws_core::{Cause, Limits};
use transport::{Handler, Message, Next, PreparedMessage};
use wake_count::WakeCount;

/// Returns a state that does not fit into a pipe of 1 KB.
fn large(name: &str) -> String {
    name.repeat(2000 / name.len())
}

#[tokio::test(start_paused = true)]
async fn a_session_sends_the_newest_state_when_it_opens_and_then_each_newer_one() {
    let publisher = Publisher::new();
    publisher.publish("old");
    publisher.publish("new");
    let mut session = open(publisher.subscribe(), 1024);
    assert_eq!(session.peer.frame().await, (TEXT, b"new".to_vec()));
    for state in ["newer", "newest"] {
        publisher.publish(state);
        assert_eq!(session.peer.frame().await, (TEXT, state.as_bytes().to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_state_waits_for_one() {
    let publisher = Publisher::new();
    let mut session = open(publisher.subscribe(), 1024);
    sleep(Duration::from_secs(1)).await;
    publisher.publish(vec![1, 2, 3]);
    assert_eq!(session.peer.frame().await, (support::BINARY, vec![1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_session_sends_a_state_once_more_when_it_is_published_again() {
    let publisher = Publisher::new();
    publisher.publish("state");
    let mut session = open(publisher.subscribe(), 1024);
    for _ in 0..3 {
        assert_eq!(session.peer.frame().await, (TEXT, b"state".to_vec()));
        publisher.republish();
    }
}

#[tokio::test(start_paused = true)]
async fn each_clone_starts_with_the_newest_state() {
    let publisher = Publisher::new();
    publisher.publish("first");
    let subscription = publisher.subscribe();
    let mut one = open(subscription.clone(), 1024);
    assert_eq!(one.peer.frame().await, (TEXT, b"first".to_vec()));
    let mut other = open(subscription, 1024);
    assert_eq!(other.peer.frame().await, (TEXT, b"first".to_vec()));
    publisher.publish("second");
    assert_eq!(one.peer.frame().await, (TEXT, b"second".to_vec()));
    assert_eq!(other.peer.frame().await, (TEXT, b"second".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_slow_reader_skips_to_the_newest_state() {
    let publisher = Publisher::new();
    let mut session = open(publisher.subscribe(), 1024);
    publisher.publish(large("started "));
    sleep(Duration::from_millis(1)).await;
    for state in ["missed ", "missed as well ", "newest "] {
        publisher.publish(large(state));
        sleep(Duration::from_millis(1)).await;
    }
    // A frame in progress is completed.
    assert_eq!(session.peer.frame().await, (TEXT, large("started ").into_bytes()));
    assert_eq!(session.peer.frame().await, (TEXT, large("newest ").into_bytes()));
    session.peer.send(&close(1000, "")).await;
    assert_eq!(session.peer.frame().await.0, CLOSE);
    assert_eq!(session.end().await.sent.messages, 2);
}

#[tokio::test(start_paused = true)]
async fn pongs_and_a_prepared_message_are_sent_in_order() {
    let publisher = Publisher::new();
    let mut session = open(publisher.subscribe(), 1024);
    session.peer.send(&frame(PING, b"before")).await;
    publisher.publish(large("state "));
    sleep(Duration::from_millis(1)).await;
    session.peer.send(&frame(PING, b"after")).await;
    assert_eq!(session.peer.frame().await, (PONG, b"before".to_vec()));
    assert_eq!(session.peer.frame().await, (TEXT, large("state ").into_bytes()));
    assert_eq!(session.peer.frame().await, (PONG, b"after".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_follows_the_state_in_progress_and_is_the_last_frame() {
    let publisher = Publisher::new();
    let mut session = open(publisher.subscribe(), 1024);
    publisher.publish(large("started "));
    sleep(Duration::from_millis(1)).await;
    session.drain.start(transport::DrainOptions::default());
    sleep(Duration::from_millis(1)).await;
    publisher.publish("too late");
    assert_eq!(session.peer.frame().await, (TEXT, large("started ").into_bytes()));
    session.peer.expect_close(1001, "drained").await;
    session.peer.send(&close(1001, "")).await;
    session.peer.expect_end().await;
    assert!(session.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_reaches_the_write_timeout_while_states_are_published() {
    let publisher = Publisher::new();
    let limits = Limits { write_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let session = open_with(limits, publisher.subscribe(), 1024);
    publisher.publish(large("started "));
    let publish = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            publisher.publish(large("missed "));
        }
    };
    let record = tokio::select! {
        record = session.end() => record,
        () = publish => panic!("the publisher never stops"),
    };
    assert_eq!((record.cause, record.sent.messages), (Cause::WriteTimeout, 1));
    assert_eq!(record.duration.as_secs(), 5);
}

fn poll(subscription: &mut Subscription, count: &Arc<WakeCount>) -> Poll<Next> {
    count.poll(|cx| subscription.poll_next(cx))
}

#[test]
fn each_state_wakes_each_waiting_subscription_once_and_no_dropped_one() {
    let publisher = Publisher::new();
    const TOTAL: usize = 20_000;
    const REMAINING: usize = 50;
    let counts: Vec<Arc<WakeCount>> = (0..TOTAL).map(|_| Arc::default()).collect();
    let mut subscriptions: Vec<Subscription> =
        counts.iter().map(|_| publisher.subscribe()).collect();
    for (subscription, count) in subscriptions.iter_mut().zip(&counts) {
        assert_eq!(poll(subscription, count), Poll::Pending);
    }
    publisher.publish("to all");
    subscriptions.truncate(REMAINING);
    publisher.publish("to the remaining ones");
    for (number, count) in counts.iter().enumerate() {
        assert_eq!(count.count(), if number < REMAINING { 2 } else { 1 }, "subscription {number}");
    }
    drop(subscriptions);
    assert!(counts.iter().all(|count| Arc::strong_count(count) == 1), "no waker is kept");
}

#[test]
fn a_subscription_that_moves_to_another_task_is_woken_there() {
    let publisher = Publisher::new();
    let mut subscription = publisher.subscribe();
    let [old, new] = [Arc::new(WakeCount::default()), Arc::new(WakeCount::default())];
    assert_eq!(poll(&mut subscription, &old), Poll::Pending);
    assert_eq!(poll(&mut subscription, &new), Poll::Pending);
    assert_eq!(Arc::strong_count(&old), 1);
    publisher.publish("news");
    let woken = [old, new].map(|count| count.count());
    assert_eq!(woken, [0, 1]);
}

#[test]
fn the_states_of_two_publishers_on_one_thread_are_not_confused() {
    let publishers = [Publisher::new(), Publisher::new()];
    let mut subscriptions = publishers.each_ref().map(Publisher::subscribe);
    let count = Arc::new(WakeCount::default());
    for round in 0..3 {
        for (name, publisher) in ["this", "that"].into_iter().zip(&publishers) {
            publisher.publish(format!("{name} {round}"));
        }
        for (name, subscription) in ["this", "that"].into_iter().zip(&mut subscriptions) {
            let frame = PreparedMessage::from(Message::from(format!("{name} {round}")));
            assert_eq!(poll(subscription, &count), Poll::Ready(Next::SendPrepared(frame)));
            assert_eq!(poll(subscription, &count), Poll::Pending);
        }
    }
}

/// A task that takes all states of a subscription and completes after the last one.
struct Reader {
    subscription: Subscription,
    seen: usize,
}

const LAST: usize = 20_000;

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Next::SendPrepared(state)) = self.subscription.poll_next(cx) {
            // The length of a state is its number.
            assert!(state.payload_len() > self.seen, "{} after {}", state.payload_len(), self.seen);
            self.seen = state.payload_len();
        }
        if self.seen == LAST { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn across_threads_each_subscription_gets_the_last_state_and_none_out_of_order() {
    let publisher = Publisher::new();
    let runtime = Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let readers: Vec<_> = (0..64)
        .map(|_| runtime.spawn(Reader { subscription: publisher.subscribe(), seen: 0 }))
        .collect();
    let states = "x".repeat(LAST);
    thread::spawn(move || (1..=LAST).for_each(|number| publisher.publish(&states[..number])))
        .join()
        .unwrap();
    runtime.block_on(async {
        for reader in readers {
            reader.await.unwrap();
        }
    });
}
