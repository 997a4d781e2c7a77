//! Stories of peers that do not read, and of what does not grow meanwhile.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{CLOSE, Chatter, PING, PONG, TEXT, close, frame, open};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};
use transport::Silent;
use transport::ws_core::Cause;

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_let_go_although_the_handler_never_stops() {
    let handler = Chatter::default();
    let story = open(handler.clone(), 1024);
    let start = Instant::now();
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::PongTimeout);
    assert!(start.elapsed() < Duration::from_secs(36), "{:?}", start.elapsed());
    let asked = handler.0.load(Ordering::Relaxed);
    assert!(asked < 10_000, "the handler is not asked while output is stuck: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_a_session_whose_output_is_stuck() {
    let story = open(Chatter::default(), 1024);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    story.drain.start();
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, false));
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything_in_order_and_then_the_close() {
    let mut story = open(Chatter::default(), 64);
    for _ in 0..1000 {
        assert_eq!(story.peer.frame().await, (TEXT, b"chatter".to_vec()));
    }
    story.drain.start();
    loop {
        match story.peer.frame().await {
            (TEXT, payload) => assert_eq!(payload, b"chatter"),
            last => break assert_eq!(last, (CLOSE, b"\x03\xe9drained".to_vec())),
        }
    }
    story.peer.send(&close(1001, "")).await;
    assert!(story.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_with_pings_and_reads_nothing_is_not_read_either() {
    let mut story = open(Silent, 1024);
    let ping = frame(PING, &[7; 125]);
    let mut taken = 0;
    while timeout(Duration::from_secs(1), story.peer.0.write_all(&ping)).await.is_ok() {
        taken += 1;
        assert!(taken < 10_000, "the session takes in what it cannot answer");
    }
    // Once it reads, it gets every pong it is due, and the session goes on.
    for _ in 0..taken {
        assert_eq!(story.peer.frame().await, (PONG, vec![7; 125]));
    }
}
