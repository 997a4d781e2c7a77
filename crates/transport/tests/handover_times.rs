//! The times of a session that another process continues: pings, timeouts, the end of its permission and its
//! greatest age are as they would have been.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/handover.rs"]
mod handover;
#[path = "support/http2_client.rs"]
mod http2_client;
#[path = "support/shared_stream.rs"]
mod shared_stream;
mod support;

use std::time::Duration;

use endpoint::valid_request;
use handover::{Admits, Process, settle};
use support::{CLOSE, PING, PONG, Peer, close, frame};
use tokio::time::{Instant, sleep};
use transport::Discard;
use transport::ws_core::Cause;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A deadline fires up to 50 ms late, and the peer is credited with the lateness.
const SLACK: Duration = Duration::from_millis(101);

/// Returns the time of the next frame, which is a ping, and its payload.
async fn pinged(peer: &mut Peer) -> (Instant, Vec<u8>) {
    let (first, payload) = peer.frame().await;
    assert_eq!(first, PING);
    (Instant::now(), payload)
}

#[tokio::test(start_paused = true)]
async fn pings_keep_their_schedule() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    // Pinged at the same time, as one of the same group.
    let (mut other, _) = old.connect(&valid_request()).await;
    sleep(seconds(7)).await;
    old.freeze().await;
    sleep(seconds(4)).await;
    old.hand_over(&new, &[2]).await;
    for _ in 0..3 {
        let (expected, payload) = pinged(&mut other).await;
        other.send(&frame(PONG, &payload)).await;
        let (at, same_payload) = pinged(&mut peer).await;
        peer.send(&frame(PONG, &payload)).await;
        assert_eq!(same_payload, payload);
        assert!(at - expected <= SLACK, "{:?}", at - expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_to_a_ping_of_the_old_process_measures_the_round_trip() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    let (at, payload) = pinged(&mut peer).await;
    old.freeze().await;
    sleep(seconds(1)).await;
    old.hand_over(&new, &[]).await;
    sleep(seconds(2)).await;
    peer.send(&frame(PONG, &payload)).await;
    settle().await;
    let round_trip = at.elapsed() - Duration::from_millis(1);
    assert_eq!(new.ledger().round_trips, [round_trip]);
    // The pong has ended the timeout.
    sleep(seconds(10)).await;
    peer.send(&close(1000, "")).await;
    assert_eq!(new.end().await.1.round_trip, Some(round_trip));
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_arrives_while_the_session_is_frozen_is_in_time() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    let (_, payload) = pinged(&mut peer).await;
    old.freeze().await;
    peer.send(&frame(PONG, &payload)).await;
    // The pong timeout is ten seconds.
    sleep(seconds(12)).await;
    old.hand_over(&new, &[]).await;
    sleep(seconds(1)).await;
    assert_eq!(new.ledger().closed.len(), 0);
    assert_eq!(new.ledger().round_trips.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_ping_of_the_old_process_is_given_up_at_its_time() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    let (at, _) = pinged(&mut peer).await;
    sleep(seconds(3)).await;
    old.freeze().await;
    sleep(seconds(3)).await;
    old.hand_over(&new, &[]).await;
    peer.expect_end().await;
    let (closed, record) = new.end().await;
    assert_eq!(record.cause, Cause::PongTimeout);
    let late = (closed - at).checked_sub(seconds(10)).expect("not before its time");
    assert!(late <= SLACK, "{late:?}");
}

/// Returns the age at which a session is closed whose permission ends after 40 seconds, or whose greatest age
/// is 100 seconds, and the reason of the Close frame. It is handed over after half a minute, or not.
async fn age_at_the_close(
    expires_in: Option<Duration>,
    is_handed_over: bool,
) -> (Duration, String) {
    let mut old = Process::admitting(Admits { handler: Discard, expires_in });
    old.set_config(|config| config.timing.max_age = Some(seconds(100)));
    let mut new = old.successor();
    // What is scheduled stays scheduled.
    new.set_config(|config| config.timing.max_age = None);
    let opened = Instant::now();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    let (_, payload) = pinged(&mut peer).await;
    peer.send(&frame(PONG, &payload)).await;
    sleep(seconds(5)).await;
    if is_handed_over {
        old.freeze().await;
        sleep(seconds(5)).await;
        old.hand_over(&new, &[]).await;
    }
    loop {
        match peer.frame().await {
            (PING, payload) => peer.send(&frame(PONG, &payload)).await,
            (CLOSE, payload) => {
                return (opened.elapsed(), String::from_utf8(payload[2..].into()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_permission_and_the_greatest_age_keep_their_times() {
    for (expires_in, word) in [(Some(seconds(40)), "expired"), (None, "max_age")] {
        let (expected, reason) = age_at_the_close(expires_in, false).await;
        assert!(reason.starts_with(word), "{reason}");
        let (age, reason) = age_at_the_close(expires_in, true).await;
        assert!(reason.starts_with(word), "{reason}");
        assert!(age.abs_diff(expected) <= SLACK, "{age:?}, {expected:?}");
    }
}
