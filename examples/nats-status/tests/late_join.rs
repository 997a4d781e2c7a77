//! When a session that joins is sent the latest state.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broadcast::{Have, Publisher, Tag};
use nats_status::{LateJoin, LateJoins, PendingJoin};
use server::transport::{Admit, Handler, Next};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

const MAX_WAIT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_session_that_joins_receives_nothing_before_the_read() {
    let (publisher, mut session, mut joins) = session_with_late_join();
    publisher.publish("old");
    assert!(poll(&mut session).is_pending());

    let pending = joins.recv().await.expect("the join is announced");
    publisher.publish("new");
    assert!(poll(&mut session).is_pending());
    drop(pending);
    assert!(matches!(poll(&mut session), Poll::Ready(Next::SendPrepared(_))));
    assert!(poll(&mut session).is_pending(), "the old state was skipped");
}

#[tokio::test(start_paused = true)]
async fn the_read_wakes_a_session_that_joins() {
    let (publisher, mut session, mut joins) = session_with_late_join();
    publisher.publish("well");
    let began = Instant::now();
    let mut next = pin!(poll_fn(|cx| session.poll_next(cx)));
    tokio::select! {
        biased;
        _ = &mut next => panic!("the session was not released"),
        pending = joins.recv() => drop(pending),
    }
    next.await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn after_the_longest_wait_a_session_receives_the_state_of_the_node() {
    let (publisher, mut session, mut joins) = session_with_late_join();
    publisher.publish("old");
    let began = Instant::now();
    poll_fn(|cx| session.poll_next(cx)).await;
    assert_eq!(began.elapsed(), MAX_WAIT);
    assert!(joins.recv().await.is_some_and(|pending| pending.is_abandoned()));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_does_not_wait() {
    let (_, mut session, mut joins) = session_with_late_join();
    assert!(poll(&mut session).is_pending());
    let pending = joins.recv().await.expect("the join is announced");
    assert!(!pending.is_abandoned());
    drop(session);
    assert!(pending.is_abandoned());
}

#[tokio::test(start_paused = true)]
async fn after_the_first_state_each_newer_state_is_sent_at_once() {
    let (publisher, mut session, joins) = session_with_late_join();
    publisher.publish("one");
    drop(joins);
    poll_fn(|cx| session.poll_next(cx)).await;

    publisher.publish("two");
    assert!(poll(&mut session).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_handed_over_waits_for_a_read_and_is_not_sent_the_state_that_it_has() {
    let tag = |text: &str| text.parse::<Tag>().expect("it is a tag");
    let (old, mut session, joins) = session_with_late_join();
    old.publish_tagged(tag("v2"), "two");
    assert_eq!(session.freeze(), None, "it has not joined yet");
    drop(joins);
    assert!(poll(&mut session).is_ready());
    let frozen = session.freeze().expect("it has joined");

    let (new, sessions, mut joins) = late_joins();
    let mut session = sessions.thaw(None, frozen).expect("the version is the same");
    new.publish_tagged(tag("v1"), "of before");
    assert!(poll(&mut session).is_pending());
    let pending = joins.recv().await.expect("the join is announced");
    new.publish_tagged(tag("v2"), "two");
    drop(pending);
    assert!(poll(&mut session).is_pending());
    new.publish_tagged(tag("v3"), "three");
    assert!(poll(&mut session).is_ready());
}

#[tokio::test(start_paused = true)]
async fn each_session_waits_for_its_own_read() {
    let (publisher, sessions, mut joins) = late_joins();
    publisher.publish("well");
    let mut first = sessions.open(&Have::Absent);
    assert!(poll(&mut first).is_pending());
    drop(joins.recv().await);
    assert!(poll(&mut first).is_ready());

    let mut second = sessions.open(&Have::Absent);
    assert!(poll(&mut second).is_pending());
    assert!(joins.recv().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_sent_the_state_that_it_has_from_a_node_that_was_ahead() {
    let (publisher, sessions, mut joins) = late_joins();
    let tag = |text: &str| text.parse::<Tag>().expect("it is a tag");
    publisher.publish_tagged(tag("1-a"), "old");
    let mut session = sessions.open(&Have::State(tag("2-b")));
    assert!(poll(&mut session).is_pending());

    let pending = joins.recv().await.expect("the join is announced");
    publisher.publish_tagged(tag("2-b"), "new");
    drop(pending);
    assert!(poll(&mut session).is_pending(), "the client has it");
    publisher.publish_tagged(tag("3-c"), "newest");
    let Poll::Ready(Next::SendPrepared(state)) = poll(&mut session) else {
        panic!("the client does not have it")
    };
    assert_eq!(state.payload(), b"have=3-c\nnewest");
}

fn late_joins() -> (Publisher, LateJoins, UnboundedReceiver<PendingJoin>) {
    let publisher = Publisher::new();
    let (joins, pending_joins) = mpsc::unbounded_channel();
    (publisher.clone(), LateJoins::new(publisher, joins, MAX_WAIT), pending_joins)
}

fn session_with_late_join() -> (Publisher, LateJoin, UnboundedReceiver<PendingJoin>) {
    let (publisher, sessions, joins) = late_joins();
    (publisher, sessions.open(&Have::Absent), joins)
}

fn poll(session: &mut LateJoin) -> Poll<Next> {
    session.poll_next(&mut Context::from_waker(Waker::noop()))
}
