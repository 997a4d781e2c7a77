//! Stories of a process that stands still: what its peers said meanwhile is not held against them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{
    CLOSE, Chatter, PING, PONG, Peer, SIZES, close, close_payload, config, frame, in_time,
    kept_drain, open_with,
};
use tokio::io::duplex;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::advance;
use transport::ws_core::{Cause, CloseRecord, Limits, Rate};
use transport::{Discard, Drain, DrainOptions, WebSocket, run};

/// A session that may be sent ten pings a second and twenty at once.
fn open(drain: &Drain) -> (Peer, JoinHandle<CloseRecord>) {
    let (near, far) = duplex(64 * 1024);
    let limits = Limits { control_frames: Rate::new(10, 20), ..Limits::default() };
    let session = run(WebSocket::new(near, SIZES), config(limits), Discard, drain.token());
    (Peer(far), tokio::spawn(session))
}

/// Makes the session look around once, so that it has slept for no longer than the stall.
async fn wake(peer: &mut Peer) {
    peer.send(&frame(PING, b"")).await;
    assert_eq!(peer.frame().await, (PONG, vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_kept_to_the_rate_while_the_process_stood_still_is_not_cut() {
    let drain = kept_drain();
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
async fn who_read_while_the_process_stood_still_is_not_cut_for_reading_nothing() {
    let limits = Limits { write_timeout: Some(Duration::from_secs(7)), ..Limits::default() };
    let mut story = open_with(limits, Chatter::default(), 64);
    yield_now().await;
    // The session waits for the peer now. It looks again at the very moment of its deadline, and the
    // peer has read long before.
    story.peer.bytes(64).await;
    advance(Duration::from_secs(7)).await;
    story.peer.bytes(1000).await;
}

#[tokio::test(start_paused = true)]
async fn whose_pong_is_in_the_socket_when_a_drain_is_told_is_not_cut() {
    let mut story = open_with(Limits::default(), Discard, 1024);
    let (first, payload) = story.peer.frame().await;
    assert_eq!(first, PING);
    // The session looks again at the very moment of the pong's deadline: the drain is told first.
    story.peer.send(&frame(PONG, &payload)).await;
    story.drain.start(DrainOptions::default());
    advance(Duration::from_secs(10)).await;
    story.peer.expect_close(1001, "drained").await;
    story.peer.send(&close(1001, "")).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, true));
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_stall_and_earns_no_more_than_a_burst() {
    let drain = kept_drain();
    let (mut peer, _session) = open(&drain);
    wake(&mut peer).await;
    // Time passes in small steps, and the process is there at each.
    for _ in 0..100 {
        advance(Duration::from_millis(50)).await;
        yield_now().await;
    }
    for _ in 0..50 {
        peer.send(&frame(PING, b"x")).await;
    }
    let mut pongs = 0;
    let last = loop {
        match peer.frame().await {
            (PONG, _) => pongs += 1,
            other => break other,
        }
    };
    // The codec answers the one that was too many as well.
    assert_eq!((last, pongs), ((CLOSE, close_payload(1008, "rate_limited")), 21));
}

#[tokio::test(start_paused = true)]
async fn all_stalls_count_for_who_slept_through_them() {
    let drain = kept_drain();
    let (mut peer, session) = open(&drain);
    wake(&mut peer).await;
    // The heart wakes up between the two, and the session does not.
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
