//! Stories of how sessions end, whoever begins.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{CLOSE, PING, PONG, SIZES, Story, TEXT, close, frame, head, in_time, silent};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use transport::ws_core::{Cause, CloseCode, CloseStatus, Initiator, Limits};
use transport::{Discard, Drain, DrainOptions, Phase};

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_gets_its_close_back_and_the_end_of_the_stream() {
    let mut story = silent();
    story.peer.send(&close(1000, "bye")).await;
    story.peer.expect_close(1000, "bye").await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!(record.cause, Cause::PeerClosed);
    assert_eq!(record.code, CloseStatus::Frame(CloseCode::NORMAL));
    assert_eq!(record.reason.as_str(), "bye");
    assert_eq!(record.initiator, Initiator::Peer);
    assert!(record.clean);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_a_body_gets_one_without_a_body() {
    let mut story = silent();
    story.peer.send(&frame(CLOSE, b"")).await;
    assert_eq!(story.peer.frame().await, (CLOSE, vec![]));
    story.peer.expect_end().await;
    assert_eq!(story.end().await.code, CloseStatus::NoStatus);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_and_hangs_up_in_one_breath_has_closed_clean() {
    let mut story = silent();
    story.peer.send(&[frame(PING, b"x"), close(1001, ""), frame(TEXT, b"late")].concat()).await;
    story.peer.0.shutdown().await.unwrap();
    assert_eq!(story.peer.frame().await, (PONG, b"x".to_vec()));
    story.peer.expect_close(1001, "").await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert!(record.clean);
    assert_eq!(record.received.messages, 2, "what comes after a close frame is not read");
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_must_not_be_sent_is_answered_with_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut story = silent();
        story.peer.send(&close(code, "")).await;
        let (first, payload) = story.peer.frame().await;
        assert_eq!((first, &payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]), "{code}");
        story.peer.expect_end().await;
        story.peer.0.shutdown().await.unwrap();
        let record = story.end().await;
        assert_eq!((record.cause, u16::from(record.code)), (Cause::ProtocolError, 1002), "{code}");
        assert_eq!((record.initiator, record.clean), (Initiator::Local, false), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_session_says_1001_and_waits_for_the_answer() {
    let mut story = silent();
    story.drain.start(DrainOptions::default());
    story.peer.expect_close(1001, "drained").await;
    sleep(Duration::from_secs(2)).await;
    story.peer.send(&close(1001, "")).await;
    story.peer.expect_end().await;
    in_time(story.drain.closed()).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, true));
    assert_eq!(record.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_during_a_drain_is_closed_as_well() {
    let (near, far) = tokio::io::duplex(1024);
    let drain = support::kept_drain();
    let token = drain.token();
    drain.start(DrainOptions::default());
    let socket = transport::WebSocket::new(near, SIZES);
    let config = support::config(Limits::default());
    let session = tokio::spawn(transport::run(socket, config, Discard, token));
    let mut peer = support::Peer(far);
    peer.expect_close(1001, "drained").await;
    drop(peer);
    assert_eq!(session.await.unwrap().cause, Cause::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_our_close_is_let_go_after_the_close_timeout() {
    let mut story = silent();
    story.drain.start(DrainOptions::default());
    story.peer.expect_close(1001, "drained").await;
    let told = Instant::now();
    // It goes on talking, which does not prolong its time, and gets no answer any more.
    while story.peer.0.write_all(&frame(PING, b"still here")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!((3.0..3.2).contains(&told.elapsed().as_secs_f64()), "{:?}", told.elapsed());
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert_eq!(u16::from(record.code), 1001);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_session_ends_at_once_and_is_still_told() {
    let mut story = silent();
    let start = Instant::now();
    story.drain.abort();
    story.peer.expect_close(1001, "drained").await;
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_drain_is_an_abort() {
    let Story { mut peer, drain, .. } = silent();
    drop(drain);
    peer.expect_close(1001, "drained").await;
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_is_reported_as_disconnected() {
    let mut story = silent();
    story.peer.send(&frame(TEXT, b"hello")).await;
    story.peer.send(&head(TEXT, 100)).await;
    story.peer.0.shutdown().await.unwrap();
    story.peer.expect_end().await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Disconnected, false));
    assert_eq!(u16::from(record.code), 1006);
    assert_eq!(record.initiator, Initiator::None);
    assert_eq!(record.received.messages, 1);
}

#[tokio::test(start_paused = true)]
async fn a_mute_peer_is_pinged_and_let_go() {
    let mut story = silent();
    let start = Instant::now();
    let (first, payload) = story.peer.frame().await;
    assert_eq!((first, payload.len()), (PING, 4));
    let pinged = start.elapsed();
    assert!((22.5..25.01).contains(&pinged.as_secs_f64()), "{pinged:?}");

    story.peer.expect_end().await;
    let waited = (start.elapsed() - pinged).as_millis();
    assert!((10_000..10_100).contains(&waited), "{waited}");
    assert_eq!(story.end().await.cause, Cause::PongTimeout);
}

#[test]
fn a_shutdown_does_not_go_back() {
    let (drain, _) = Drain::new();
    let token = drain.token();
    let first = DrainOptions { code: CloseCode::SERVICE_RESTART, ..DrainOptions::default() };
    drain.start(first);
    drain.start(DrainOptions::default());
    assert_eq!((token.phase(), token.options()), (Phase::Draining, first));
    drain.abort();
    drain.start(DrainOptions::default());
    assert_eq!((token.phase(), token.options()), (Phase::Aborting, first));
}
