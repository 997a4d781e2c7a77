//! Stalls of the process: peers get credit for the time in which the process did not run.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{
    FloodingHandler, PING, PONG, Peer, SIZES, close, config, frame, in_time, open_with,
    spawned_drain,
};
use tokio::io::duplex;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::advance;
use transport::ws_core::{Cause, CloseRecord, Limits, Rate};
use transport::{Discard, Drain, DrainOptions, WebSocket, run};

/// Opens a session with a limit of ten pings a second and a burst of twenty.
fn open(drain: &Drain) -> (Peer, JoinHandle<CloseRecord>) {
    let (near, far) = duplex(64 * 1024);
    let limits = Limits { control_frames: Rate::new(10, 20), ..Limits::default() };
    let session = run(WebSocket::new(near, SIZES), config(limits), Discard, drain.token());
    (Peer(far), tokio::spawn(session))
}

/// Makes the session run once, so that it has slept no longer than the stall.
async fn wake(peer: &mut Peer) {
    peer.send(&frame(PING, b"")).await;
    assert_eq!(peer.frame().await, (PONG, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_within_its_rate_survives_a_stall_of_the_process() {
    let drain = spawned_drain();
    let (mut peer, session) = open(&drain);
    wake(&mut peer).await;
    for _ in 0..50 {
        peer.send(&frame(PING, b"x")).await;
    }
    advance(Duration::from_secs(5)).await;
    for _ in 0..50 {
        assert_eq!(peer.frame().await.0, PONG);
    }
    drop(peer);
    in_time(session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_read_during_a_stall_does_not_reach_the_write_timeout() {
    let limits = Limits { write_timeout: Some(Duration::from_secs(7)), ..Limits::default() };
    let mut session = open_with(limits, FloodingHandler::default(), 64);
    yield_now().await;
    // The session waits for the peer. Its next poll is exactly at its deadline, long after the peer
    // read.
    session.peer.bytes(64).await;
    advance(Duration::from_secs(7)).await;
    session.peer.bytes(1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_pong_is_buffered_when_a_drain_starts_is_closed_clean() {
    let mut session = open_with(Limits::default(), Discard, 1024);
    let (first, payload) = session.peer.frame().await;
    assert_eq!(first, PING);
    // The next poll is exactly at the pong deadline, and the session sees the drain first.
    session.peer.send(&frame(PONG, &payload)).await;
    session.drain.start(DrainOptions::default());
    advance(Duration::from_secs(10)).await;
    session.peer.expect_close(1001, "drained").await;
    session.peer.send(&close(1001, "")).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, true));
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_a_stall_and_credits_no_more_than_a_burst() {
    let drain = spawned_drain();
    let (mut peer, _session) = open(&drain);
    wake(&mut peer).await;
    // Time advances in small steps, and the process runs at each.
    for _ in 0..100 {
        advance(Duration::from_millis(50)).await;
        yield_now().await;
    }
    peer.send(&frame(PING, b"x").repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(peer.frame().await.0, PONG);
    }
    peer.send(&frame(PING, b"x")).await;
    // The codec answers the ping that exceeds the limit, too.
    assert_eq!(peer.frame().await.0, PONG);
    peer.expect_close(1008, "rate_limited").await;
}

#[tokio::test(start_paused = true)]
async fn all_stalls_are_credited_to_a_session_that_slept_through_them() {
    let drain = spawned_drain();
    let (mut peer, session) = open(&drain);
    wake(&mut peer).await;
    // The stall detector ticks between the two stalls, and the session is not polled.
    advance(Duration::from_secs(3)).await;
    yield_now().await;
    advance(Duration::from_secs(2)).await;
    for _ in 0..60 {
        peer.send(&frame(PING, b"x")).await;
    }
    for _ in 0..60 {
        assert_eq!(peer.frame().await.0, PONG);
    }
    drop(peer);
    in_time(session).await.unwrap();
}
