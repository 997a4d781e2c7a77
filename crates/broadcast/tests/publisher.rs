//! The latest state wins: what each session is told, and what nobody keeps.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use broadcast::{Publisher, Subscription};
use support::{CLOSE, PING, PONG, TEXT, close, frame, open, open_with};
use tokio::runtime::Builder;
use tokio::time::sleep;
use transport::ws_core::{Cause, Limits};
use transport::{Handler, Message, Next, PreparedMessage};

/// A state that a pipe of 1 KB does not hold.
fn large(name: &str) -> String {
    name.repeat(2000 / name.len())
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_the_newest_state_when_it_opens_and_each_newer_one_after_that() {
    let publisher = Publisher::new();
    publisher.publish("old");
    publisher.publish("new");
    let mut story = open(publisher.subscribe(), 1024);
    assert_eq!(story.peer.frame().await, (TEXT, b"new".to_vec()));
    for state in ["newer", "newest"] {
        publisher.publish(state);
        assert_eq!(story.peer.frame().await, (TEXT, state.as_bytes().to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_state_waits_for_one() {
    let publisher = Publisher::new();
    let mut story = open(publisher.subscribe(), 1024);
    sleep(Duration::from_secs(1)).await;
    publisher.publish(vec![1, 2, 3]);
    assert_eq!(story.peer.frame().await, (support::BINARY, vec![1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn every_clone_is_told_everything_from_the_newest_state_on() {
    let publisher = Publisher::new();
    publisher.publish("first");
    let handler = publisher.subscribe();
    let mut one = open(handler.clone(), 1024);
    assert_eq!(one.peer.frame().await, (TEXT, b"first".to_vec()));
    let mut other = open(handler, 1024);
    assert_eq!(other.peer.frame().await, (TEXT, b"first".to_vec()));
    publisher.publish("second");
    assert_eq!(one.peer.frame().await, (TEXT, b"second".to_vec()));
    assert_eq!(other.peer.frame().await, (TEXT, b"second".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_skips_to_the_newest_state() {
    let publisher = Publisher::new();
    let mut story = open(publisher.subscribe(), 1024);
    publisher.publish(large("begun "));
    sleep(Duration::from_millis(1)).await;
    for state in ["missed ", "missed as well ", "newest "] {
        publisher.publish(large(state));
        sleep(Duration::from_millis(1)).await;
    }
    // What has begun is finished, since half a frame is none.
    assert_eq!(story.peer.frame().await, (TEXT, large("begun ").into_bytes()));
    assert_eq!(story.peer.frame().await, (TEXT, large("newest ").into_bytes()));
    story.peer.send(&close(1000, "")).await;
    assert_eq!(story.peer.frame().await.0, CLOSE);
    assert_eq!(story.end().await.sent.messages, 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_session_itself_has_to_say_comes_in_order_around_a_shared_frame() {
    let publisher = Publisher::new();
    let mut story = open(publisher.subscribe(), 1024);
    story.peer.send(&frame(PING, b"before")).await;
    publisher.publish(large("state "));
    sleep(Duration::from_millis(1)).await;
    story.peer.send(&frame(PING, b"behind")).await;
    assert_eq!(story.peer.frame().await, (PONG, b"before".to_vec()));
    assert_eq!(story.peer.frame().await, (TEXT, large("state ").into_bytes()));
    assert_eq!(story.peer.frame().await, (PONG, b"behind".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_close_comes_behind_the_state_that_has_begun_and_nothing_behind_the_close() {
    let publisher = Publisher::new();
    let mut story = open(publisher.subscribe(), 1024);
    publisher.publish(large("begun "));
    sleep(Duration::from_millis(1)).await;
    story.drain.start(transport::DrainOptions::default());
    sleep(Duration::from_millis(1)).await;
    publisher.publish("too late");
    assert_eq!(story.peer.frame().await, (TEXT, large("begun ").into_bytes()));
    story.peer.expect_close(1001, "drained").await;
    story.peer.send(&close(1001, "")).await;
    story.peer.expect_end().await;
    assert!(story.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_is_given_up_at_the_write_timeout_whatever_is_published() {
    let publisher = Publisher::new();
    let limits = Limits { write_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let story = open_with(limits, publisher.subscribe(), 1024);
    publisher.publish(large("begun "));
    let publish = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            publisher.publish(large("missed "));
        }
    };
    let record = tokio::select! {
        record = story.end() => record,
        () = publish => panic!("it publishes for ever"),
    };
    assert_eq!((record.cause, record.sent.messages), (Cause::WriteTimeout, 1));
    assert_eq!(record.duration.as_secs(), 5);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(handler: &mut Subscription, bell: &Arc<Bell>) -> Poll<Next> {
    handler.poll_next(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

#[test]
fn every_state_wakes_who_waits_once_and_nobody_who_has_gone() {
    let publisher = Publisher::new();
    const COUNT: usize = 20_000;
    const LEFT: usize = 50;
    let bells: Vec<Arc<Bell>> = (0..COUNT).map(|_| Arc::default()).collect();
    let mut handlers: Vec<Subscription> = bells.iter().map(|_| publisher.subscribe()).collect();
    for (handler, bell) in handlers.iter_mut().zip(&bells) {
        assert_eq!(poll(handler, bell), Poll::Pending);
    }
    publisher.publish("to all");
    handlers.truncate(LEFT);
    publisher.publish("to those who are left");
    for (number, bell) in bells.iter().enumerate() {
        let woken = bell.0.load(Ordering::SeqCst);
        assert_eq!(woken, if number < LEFT { 2 } else { 1 }, "of bell {number}");
    }
    drop(handlers);
    assert!(bells.iter().all(|bell| Arc::strong_count(bell) == 1), "no waker is kept");
}

#[test]
fn a_handler_that_moves_to_another_task_is_woken_there() {
    let publisher = Publisher::new();
    let mut handler = publisher.subscribe();
    let [left, entered] = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    assert_eq!(poll(&mut handler, &left), Poll::Pending);
    assert_eq!(poll(&mut handler, &entered), Poll::Pending);
    assert_eq!(Arc::strong_count(&left), 1);
    publisher.publish("news");
    let woken = [left, entered].map(|bell| bell.0.load(Ordering::SeqCst));
    assert_eq!(woken, [0, 1]);
}

#[test]
fn a_state_of_one_publisher_is_never_taken_for_that_of_another() {
    let publishers = [Publisher::new(), Publisher::new()];
    let mut handlers = publishers.each_ref().map(Publisher::subscribe);
    let bell = Arc::new(Bell::default());
    for round in 0..3 {
        for (name, publisher) in ["this", "that"].into_iter().zip(&publishers) {
            publisher.publish(format!("{name} {round}"));
        }
        for (name, handler) in ["this", "that"].into_iter().zip(&mut handlers) {
            let frame = PreparedMessage::from(Message::from(format!("{name} {round}")));
            assert_eq!(poll(handler, &bell), Poll::Ready(Next::SendPrepared(frame)));
            assert_eq!(poll(handler, &bell), Poll::Pending);
        }
    }
}

/// A handler that is polled as often as it is woken, and says so when it has seen the last state.
struct Reader {
    handler: Subscription,
    seen: usize,
}

const LAST: usize = 20_000;

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Next::SendPrepared(state)) = self.handler.poll_next(cx) {
            // A state is as long as its number.
            assert!(state.payload_len() > self.seen, "{} after {}", state.payload_len(), self.seen);
            self.seen = state.payload_len();
        }
        if self.seen == LAST { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn among_threads_nobody_misses_the_last_state_or_is_told_an_older_one_after_a_newer() {
    let publisher = Publisher::new();
    let runtime = Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let readers: Vec<_> = (0..64)
        .map(|_| runtime.spawn(Reader { handler: publisher.subscribe(), seen: 0 }))
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
