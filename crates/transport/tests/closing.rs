//! How sessions end: closing handshakes of either side, drains, aborts and disconnects.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{
    CLOSE, PING, PONG, SIZES, TEXT, TestSession, close, frame, head, in_time, open_discarding,
};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use transport::ws_core::{Cause, CloseCode, CloseStatus, Initiator, Limits};
use transport::{Discard, Drain, DrainOptions, Phase};

//= rfc6455#5.5.1-3 rfc6455#7.1.1-2 rfc6455#7.1.4-1 test
#[tokio::test(start_paused = true)]
async fn a_close_of_the_peer_is_echoed_and_the_stream_ends() {
    let mut session = open_discarding();
    session.peer.send(&close(1000, "bye")).await;
    session.peer.expect_close(1000, "bye").await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!(record.cause, Cause::PeerClosed);
    assert_eq!(record.code, CloseStatus::Frame(CloseCode::NORMAL));
    assert_eq!(record.reason.as_str(), "bye");
    assert_eq!(record.initiator, Initiator::Peer);
    assert!(record.clean);
}

//= rfc6455#5.5.1-3 test
#[tokio::test(start_paused = true)]
async fn a_close_frame_without_a_body_is_echoed_without_a_body() {
    let mut session = open_discarding();
    session.peer.send(&frame(CLOSE, b"")).await;
    assert_eq!(session.peer.frame().await, (CLOSE, vec![]));
    session.peer.expect_end().await;
    assert_eq!(session.end().await.code, CloseStatus::NoStatus);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_and_shuts_down_at_once_closes_clean() {
    let mut session = open_discarding();
    session.peer.send(&[frame(PING, b"x"), close(1001, ""), frame(TEXT, b"late")].concat()).await;
    session.peer.0.shutdown().await.unwrap();
    assert_eq!(session.peer.frame().await, (PONG, b"x".to_vec()));
    session.peer.expect_close(1001, "").await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert!(record.clean);
    assert_eq!(record.received.messages, 0, "input after a Close frame is not read");
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_must_not_be_sent_is_answered_with_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut session = open_discarding();
        session.peer.send(&close(code, "")).await;
        let (first, payload) = session.peer.frame().await;
        assert_eq!((first, &payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]), "{code}");
        session.peer.expect_end().await;
        session.peer.0.shutdown().await.unwrap();
        let record = session.end().await;
        assert_eq!((record.cause, u16::from(record.code)), (Cause::ProtocolError, 1002), "{code}");
        assert_eq!((record.initiator, record.clean), (Initiator::Local, false), "{code}");
    }
}

//= rfc6455#7.1.2-1 test
#[tokio::test(start_paused = true)]
async fn a_drained_session_sends_1001_and_waits_for_the_answer() {
    let mut session = open_discarding();
    session.drain.start(DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
    sleep(Duration::from_secs(2)).await;
    session.peer.send(&close(1001, "")).await;
    session.peer.expect_end().await;
    in_time(session.drain.closed()).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, true));
    assert_eq!(record.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_during_a_drain_is_closed_as_well() {
    let (near, far) = tokio::io::duplex(1024);
    let drain = support::spawned_drain();
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
async fn a_peer_that_ignores_the_close_frame_is_disconnected_after_the_close_timeout() {
    let mut session = open_discarding();
    session.drain.start(DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
    let closed = Instant::now();
    // Further input neither extends the deadline nor gets an answer.
    while session.peer.0.write_all(&frame(PING, b"still here")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!((3.0..3.2).contains(&closed.elapsed().as_secs_f64()), "{:?}", closed.elapsed());
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert_eq!(u16::from(record.code), 1001);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_session_sends_a_close_frame_and_ends_at_once() {
    let mut session = open_discarding();
    let start = Instant::now();
    session.drain.abort();
    session.peer.expect_close(1001, "drained").await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_drain_is_an_abort() {
    let TestSession { mut peer, drain, .. } = open_discarding();
    drop(drain);
    peer.expect_close(1001, "drained").await;
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ends_the_stream_without_a_close_frame_is_disconnected() {
    let mut session = open_discarding();
    session.peer.send(&frame(TEXT, b"hello")).await;
    session.peer.send(&head(TEXT, 100)).await;
    session.peer.0.shutdown().await.unwrap();
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Disconnected, false));
    assert_eq!(u16::from(record.code), 1006);
    assert_eq!(record.initiator, Initiator::None);
    assert_eq!(record.received.messages, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_disconnected() {
    let mut session = open_discarding();
    let start = Instant::now();
    let (first, payload) = session.peer.frame().await;
    assert_eq!((first, payload.len()), (PING, 4));
    let pinged = start.elapsed();
    assert!((22.5..25.01).contains(&pinged.as_secs_f64()), "{pinged:?}");

    session.peer.expect_end().await;
    let waited = (start.elapsed() - pinged).as_millis();
    assert!((10_000..10_100).contains(&waited), "{waited}");
    assert_eq!(session.end().await.cause, Cause::PongTimeout);
}

#[test]
fn the_phase_of_a_drain_never_goes_back() {
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
