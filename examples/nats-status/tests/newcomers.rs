//! When a session that has just opened is told the newest state.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broadcast::Publisher;
use nats_status::{Newcomer, Waiting};
use server::transport::{Handler, Next};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_told_nothing_before_the_word_of_the_broker() {
    let (publisher, mut session, mut door) = newcomer();
    publisher.publish("old");
    assert!(poll(&mut session).is_pending());

    let waiting = door.recv().await.expect("it has come by the door");
    publisher.publish("new");
    assert!(poll(&mut session).is_pending());
    drop(waiting);
    assert!(matches!(poll(&mut session), Poll::Ready(Next::SendPrepared(_))));
    assert!(poll(&mut session).is_pending(), "the old state was skipped");
}

#[tokio::test(start_paused = true)]
async fn the_word_of_the_broker_wakes_a_newcomer() {
    let (publisher, mut session, mut door) = newcomer();
    publisher.publish("well");
    let began = Instant::now();
    let mut told = pin!(poll_fn(|cx| session.poll_next(cx)));
    tokio::select! {
        biased;
        _ = &mut told => panic!("nobody has given the word"),
        waiting = door.recv() => drop(waiting),
    }
    told.await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_has_lost_its_patience_is_told_what_the_node_has() {
    let (publisher, mut session, mut door) = newcomer();
    publisher.publish("old");
    let began = Instant::now();
    poll_fn(|cx| session.poll_next(cx)).await;
    assert_eq!(began.elapsed(), PATIENCE);
    assert!(door.recv().await.is_some_and(|waiting| waiting.is_over()));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_has_ended_waits_no_more() {
    let (_, mut session, mut door) = newcomer();
    assert!(poll(&mut session).is_pending());
    let waiting = door.recv().await.expect("it has come by the door");
    assert!(!waiting.is_over());
    drop(session);
    assert!(waiting.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_told_once_is_told_each_newer_state_at_once() {
    let (publisher, mut session, door) = newcomer();
    publisher.publish("one");
    drop(door);
    poll_fn(|cx| session.poll_next(cx)).await;

    publisher.publish("two");
    assert!(poll(&mut session).is_ready());
}

#[tokio::test(start_paused = true)]
async fn each_session_waits_for_itself() {
    let (publisher, mut first, mut door) = newcomer();
    publisher.publish("well");
    assert!(poll(&mut first).is_pending());
    drop(door.recv().await);
    assert!(poll(&mut first).is_ready());

    let mut second = first.clone();
    assert!(poll(&mut second).is_pending());
    assert!(door.recv().await.is_some());
}

fn newcomer() -> (Publisher, Newcomer, UnboundedReceiver<Waiting>) {
    let publisher = Publisher::new();
    let (door, newcomers) = mpsc::unbounded_channel();
    let session = Newcomer::new(publisher.subscribe(), door, PATIENCE);
    (publisher, session, newcomers)
}

fn poll(session: &mut Newcomer) -> Poll<Next> {
    session.poll_next(&mut Context::from_waker(Waker::noop()))
}
