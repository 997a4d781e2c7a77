//! Pings that a handler asks for, and what it learns from their pongs.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use support::{CLOSE, PING, PONG, TEXT, TIMING, close, close_payload, frame, open, open_with};
use tokio::time::{Instant, advance, sleep};
use transport::ws_core::{Cause, Limits};
use transport::{Handler, Message, Next};

/// Does these things, and then counts pongs, or panics at the first.
struct Scripted {
    script: VecDeque<Next>,
    pongs: Arc<AtomicUsize>,
    panics: bool,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Next>) -> (Self, Arc<AtomicUsize>) {
        let pongs = Arc::<AtomicUsize>::default();
        let script = script.into_iter().collect();
        (Self { script, pongs: Arc::clone(&pongs), panics: false }, pongs)
    }
}

impl Handler for Scripted {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.script.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn receive(&mut self, _: Message) {}

    fn pong(&mut self) {
        assert!(!self.panics, "the handler panics");
        self.pongs.fetch_add(1, Ordering::SeqCst);
    }
}

async fn count(pongs: &AtomicUsize) -> usize {
    sleep(Duration::from_millis(1)).await; // The session reads what was sent.
    pongs.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_requested_ping_follows_what_was_sent_before_and_its_pong_is_reported_once() {
    let (handler, pongs) = Scripted::new([Next::Send("state".into()), Next::Ping]);
    let mut session = open(handler, 1024);
    assert_eq!(session.peer.frame().await, (TEXT, b"state".to_vec()));
    let (kind, payload) = session.peer.frame().await;
    assert_eq!((kind, count(&pongs).await), (PING, 0));
    session.peer.send(&frame(PONG, b"unsolicited")).await;
    assert_eq!(count(&pongs).await, 0);
    session.peer.send(&frame(PONG, &payload)).await;
    assert_eq!(count(&pongs).await, 1);
    session.peer.send(&frame(PONG, &payload)).await;
    assert_eq!(count(&pongs).await, 1);

    let (kind, payload) = session.peer.frame().await;
    assert_eq!(kind, PING, "the regular ping");
    session.peer.send(&frame(PONG, &payload)).await;
    assert_eq!(count(&pongs).await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_pong_to_an_earlier_ping_is_not_reported() {
    let (handler, pongs) = Scripted::new([Next::Ping, Next::Send("state".into()), Next::Ping]);
    let mut session = open(handler, 1024);
    let (_, earlier) = session.peer.frame().await;
    assert_eq!(session.peer.frame().await.0, TEXT);
    let (_, latest) = session.peer.frame().await;
    session.peer.send(&frame(PONG, &earlier)).await;
    assert_eq!(count(&pongs).await, 0);
    session.peer.send(&frame(PONG, &latest)).await;
    assert_eq!(count(&pongs).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_requested_ping_reaches_the_pong_timeout() {
    let opened = Instant::now();
    let (handler, _pongs) = Scripted::new([Next::Ping]);
    let record = open(handler, 1024).end().await;
    assert_eq!(record.cause, Cause::PongTimeout);
    assert!(opened.elapsed() < TIMING.pong_timeout + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_a_pong_ends_the_session_with_1011() {
    let (handler, _pongs) = Scripted::new([Next::Ping]);
    let mut session = open(Scripted { panics: true, ..handler }, 1024);
    let (_, payload) = session.peer.frame().await;
    session.peer.send(&frame(PONG, &payload)).await;
    assert_eq!(session.peer.frame().await, (CLOSE, close_payload(1011, "panicked")));
    session.peer.send(&close(1011, "")).await;
    assert!(session.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_closing_session_reports_no_pong() {
    let (handler, pongs) = Scripted::new([
        Next::Ping,
        Next::Close(transport::ws_core::CloseCode::NORMAL, "done".into()),
    ]);
    let mut session = open(handler, 1024);
    let (_, payload) = session.peer.frame().await;
    assert_eq!(session.peer.frame().await.0, CLOSE);
    session.peer.send(&frame(PONG, &payload)).await;
    assert_eq!(count(&pongs).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pong_with_which_the_session_closes_is_not_reported() {
    let (handler, pongs) = Scripted::new([Next::Ping]);
    let limits = Limits { message_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let mut session = open_with(limits, handler, 1024);
    let (_, payload) = session.peer.frame().await;
    // The first fragment of a message that has no end.
    session.peer.send(&frame(0x01, b"a")).await;
    assert_eq!(count(&pongs).await, 0);
    session.peer.send(&frame(PONG, &payload)).await;
    // The pong is read when the time of the message is over.
    advance(Duration::from_millis(4999)).await;
    session.peer.expect_close(1008, "message_timeout").await;
    assert_eq!(count(&pongs).await, 0);
}
