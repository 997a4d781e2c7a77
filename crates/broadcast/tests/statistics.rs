//! How current the states of clients are: delivery times, sessions that are behind, and skipped states.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use broadcast::{Have, Publisher, Statistics, Subscription, Topics};
use support::{PING, PONG, TEXT, TestSession, frame, open};
use tokio::time::{advance, sleep};
use transport::{Handler, Next};
use wake_count::ready;

/// The number of states in which each session has a turn.
const ROUND: usize = 64;

fn measured() -> Publisher {
    let publisher = Publisher::new();
    publisher.measure();
    publisher
}

/// Takes the next state, and the ping behind it if there is one. Returns whether there is.
fn takes_ping(handler: &mut impl Handler) -> bool {
    let mut next = || ready(|cx| handler.poll_next(cx));
    assert!(matches!(next(), Some(Next::SendPrepared(_))));
    match next() {
        None => false,
        Some(Next::Ping) => {
            assert_eq!(next(), None);
            true
        }
        Some(other) => panic!("{other:?}"),
    }
}

/// Returns the numbers of the times in the buckets that have any.
fn times(statistics: &Statistics) -> HashMap<Duration, u64> {
    statistics.delivery_times.buckets().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn the_turn_goes_around_over_all_sessions() {
    for sessions in [1, 10, 64, 200, 1000] {
        let publisher = measured();
        publisher.publish("before");
        let mut sessions: Vec<_> = (0..sessions).map(|_| publisher.subscribe()).collect();
        for session in &mut sessions {
            assert!(!takes_ping(session), "the first state is older than the session");
        }
        let mut pings = vec![0; sessions.len()];
        for _ in 0..3 * ROUND {
            publisher.publish("state");
            let mut in_turn = 0;
            for (session, pings) in sessions.iter_mut().zip(&mut pings) {
                if takes_ping(session) {
                    session.pong();
                    *pings += 1;
                    in_turn += 1;
                }
            }
            assert!(in_turn <= sessions.len().div_ceil(ROUND) + 16, "{in_turn} in a turn");
        }
        assert!(pings.iter().all(|pings| *pings == 3), "{pings:?}");
        let measured = publisher.statistics().delivery_times.count();
        assert_eq!(measured, 3 * u64::try_from(sessions.len()).unwrap());
    }
}

#[test]
fn without_measuring_no_session_pings() {
    let publisher = Publisher::new();
    let mut session = publisher.subscribe();
    for _ in 0..2 * ROUND {
        publisher.publish("state");
        assert!(!takes_ping(&mut session));
    }
    let statistics = publisher.statistics();
    assert_eq!((statistics.delivery_times.count(), statistics.state_age), (0, None));
    assert_eq!((statistics.subscriptions, statistics.behind), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_skips_the_state_of_its_turn_is_measured_with_the_next() {
    let publisher = measured();
    let mut session = publisher.subscribe();
    publisher.publish("first");
    assert!(!takes_ping(&mut session));
    (0..ROUND).for_each(|_| publisher.publish("skipped"));
    assert!(takes_ping(&mut session));
}

/// Opens a session that was sent a state, and publishes until it is pinged. Returns it, and the payload of
/// the ping.
async fn pinged(publisher: &Publisher) -> (TestSession, Vec<u8>) {
    let mut session = open(publisher.subscribe(), 1024);
    for _ in 0..=ROUND + 1 {
        publisher.publish("state");
        let (kind, payload) = session.peer.frame().await;
        if kind == PING {
            return (session, payload);
        }
        assert_eq!(kind, TEXT);
    }
    panic!("it is never pinged");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_late_is_measured_as_late() {
    let publisher = measured();
    let (mut session, ping) = pinged(&publisher).await;
    sleep(Duration::from_millis(3700)).await;
    assert_eq!(publisher.statistics().delivery_times.count(), 0);
    session.peer.send(&frame(PONG, &ping)).await;
    sleep(Duration::from_millis(1)).await;
    let statistics = publisher.statistics();
    assert_eq!(times(&statistics), HashMap::from([(Duration::from_secs(5), 1)]));
    assert_eq!(statistics.delivery_times.sum().as_millis() / 10, 370);
    session.peer.send(&frame(PONG, &ping)).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(publisher.statistics().delivery_times.count(), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn the_pong_to_a_regular_ping_before_the_own_one_ends_no_measurement() {
    let publisher = measured();
    publisher.publish("first");
    let mut session = publisher.subscribe();
    assert!(!takes_ping(&mut session));
    (0..ROUND).for_each(|_| publisher.publish("state"));
    assert!(matches!(ready(|cx| session.poll_next(cx)), Some(Next::SendPrepared(_))));
    session.pong();
    assert_eq!(publisher.statistics().delivery_times.count(), 0);
    assert_eq!(ready(|cx| session.poll_next(cx)), Some(Next::Ping));
    session.pong();
    assert_eq!(publisher.statistics().delivery_times.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_with_an_open_measurement_leaves_nothing_behind() {
    let publisher = measured();
    for _ in 0..3 {
        let mut session = publisher.subscribe();
        publisher.publish("first");
        assert!(!takes_ping(&mut session));
        (0..ROUND).for_each(|_| publisher.publish("state"));
        assert!(takes_ping(&mut session));
        drop(session);
        // This one has the place of the other, and has sent no ping.
        let mut next = publisher.subscribe();
        assert!(!takes_ping(&mut next));
        next.pong();
        let statistics = publisher.statistics();
        assert_eq!((statistics.delivery_times.count(), statistics.subscriptions), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_behind_and_skips() {
    let publisher = measured();
    let large = |name: &str| name.repeat(2000 / name.len());
    let mut slow = open(publisher.subscribe(), 1024);
    let _fast = open(publisher.subscribe(), 65_536);
    let settled = async || {
        sleep(Duration::from_millis(1)).await;
        let Statistics { subscriptions, behind, skipped, .. } = publisher.statistics();
        (subscriptions, behind, skipped)
    };
    assert_eq!(settled().await, (2, 0, 0), "there is no state");
    publisher.publish(large("started "));
    assert_eq!(settled().await, (2, 0, 0));
    for count in 0..3 {
        publisher.publish(large("missed "));
        assert_eq!(settled().await, (2, 1, 0), "{count}");
    }
    assert_eq!(slow.peer.frame().await.0, TEXT);
    assert_eq!(settled().await, (2, 0, 2), "it has taken the third");
    publisher.clear();
    assert_eq!(settled().await, (2, 0, 2));
    drop(slow);
    assert_eq!(settled().await, (1, 0, 2));
}

/// Returns the numbers of sessions, and of those that are behind.
fn counts(publisher: &Publisher) -> (usize, usize) {
    let Statistics { subscriptions, behind, .. } = publisher.statistics();
    (subscriptions, behind)
}

fn take(sessions: &mut [Subscription]) {
    for session in sessions {
        assert!(ready(|cx| session.poll_update(cx)).is_some());
    }
}

#[test]
fn sessions_that_are_behind_are_counted_on_all_threads_and_when_sessions_end() {
    let publisher = Publisher::new();
    let mut sessions: Vec<_> = (0..300).map(|_| publisher.subscribe()).collect();
    for session in &mut sessions {
        assert_eq!(ready(|cx| session.poll_update(cx)), None);
    }
    for publish in [
        |it: &Publisher| it.publish("state"),
        Publisher::republish,
        |it: &Publisher| it.publish(""),
    ] {
        publish(&publisher);
        assert_eq!(counts(&publisher), (300, 300));
        let (here, there) = sessions.split_at_mut(100);
        take(here);
        assert_eq!(counts(&publisher), (300, 200));
        thread::scope(|scope| {
            for part in there.chunks_mut(50) {
                scope.spawn(|| take(part));
            }
        });
        assert_eq!(counts(&publisher), (300, 0));
    }
    // Of those that end, only the ones that had the newest state were counted.
    publisher.publish("newest");
    take(&mut sessions[..100]);
    drop(sessions.drain(50..150));
    assert_eq!(counts(&publisher), (200, 150));
    // A client that has the newest state is not behind.
    let message = ready(|cx| publisher.subscribe_having(&Have::Nothing).poll_update(cx)).unwrap();
    let text = String::from_utf8(message.message.payload().to_vec()).unwrap();
    let query = text.split('\n').next().unwrap();
    let mut resumed = publisher.subscribe_having(&Have::from_query(Some(query)));
    assert_eq!(ready(|cx| resumed.poll_update(cx)), None);
    assert_eq!(counts(&publisher), (201, 150));
}

#[tokio::test(start_paused = true)]
async fn the_age_is_the_time_since_a_state_was_published_or_published_again() {
    let publisher = measured();
    assert_eq!(publisher.statistics().state_age, None);
    publisher.republish();
    assert_eq!(publisher.statistics().state_age, None, "there is no state");
    for publish in [|it: &Publisher| it.publish("state"), Publisher::republish] {
        publish(&publisher);
        advance(Duration::from_secs(7)).await;
        assert_eq!(publisher.statistics().state_age.unwrap().as_secs(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn topics_are_measured_together() {
    let topics: Topics<u8> = Topics::new();
    let mut sessions = vec![topics.subscribe(0)];
    topics.measure();
    sessions.push(topics.subscribe(1));
    let mut pings = 0;
    for _ in 0..=ROUND {
        for (topic, session) in (0..).zip(&mut sessions) {
            topics.publish(&topic, "state");
            if takes_ping(session) {
                advance(Duration::from_millis(200)).await;
                session.pong();
                pings += 1;
            }
        }
    }
    assert_eq!(pings, 2);
    topics.publish(&1, "newest");
    topics.publish(&2, "without sessions");
    let statistics = topics.statistics();
    assert_eq!(times(&statistics), HashMap::from([(Duration::from_millis(250), 2)]));
    assert_eq!((statistics.subscriptions, statistics.behind, statistics.skipped), (2, 1, 0));
    assert_eq!(statistics.state_age, Some(Duration::ZERO));
}

#[test]
fn the_buckets_hold_every_time() {
    let times = Statistics::default().delivery_times;
    let bounds: Vec<Duration> = times.buckets().map(|(bound, _)| bound).collect();
    assert!(bounds.is_sorted() && bounds.last() == Some(&Duration::MAX));
    assert!(bounds.contains(&Duration::from_secs(2)), "for the alert");
    assert_eq!((times.count(), times.sum()), (0, Duration::ZERO));
}
