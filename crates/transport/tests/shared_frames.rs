//! Messages that are encoded once for many sessions: where they stand among what a session says itself.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use support::newest::Newest;
use support::{PING, PONG, TEXT, close, frame, open};
use tokio::time::sleep;
use transport::{DrainOptions, Handler, Message, Next, PreparedMessage};

/// A text that a pipe of 1 KB does not hold.
fn large(name: &str) -> String {
    name.repeat(2000 / name.len())
}

#[tokio::test(start_paused = true)]
async fn shared_frames_that_are_ready_together_are_all_sent() {
    struct Several(VecDeque<PreparedMessage>);
    impl Handler for Several {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            self.0.pop_front().map_or(Poll::Pending, |frame| Poll::Ready(Next::SendPrepared(frame)))
        }
        fn receive(&mut self, _: Message) {}
    }
    let texts = [large("one "), "two".to_owned(), large("three ")];
    let frames =
        texts.iter().map(|text| PreparedMessage::from(Message::from(text.as_str()))).collect();
    let mut story = open(Several(frames), 1024);
    for text in texts {
        assert_eq!(story.peer.frame().await, (TEXT, text.into_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_session_itself_has_to_say_comes_in_order_around_a_shared_frame() {
    let newest = Newest::default();
    let mut story = open(newest.subscribe(), 1024);
    story.peer.send(&frame(PING, b"before")).await;
    newest.publish(large("state "));
    sleep(Duration::from_millis(1)).await;
    story.peer.send(&frame(PING, b"behind")).await;
    assert_eq!(story.peer.frame().await, (PONG, b"before".to_vec()));
    assert_eq!(story.peer.frame().await, (TEXT, large("state ").into_bytes()));
    assert_eq!(story.peer.frame().await, (PONG, b"behind".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_close_comes_behind_the_shared_frame_that_has_begun_and_nothing_behind_the_close() {
    let newest = Newest::default();
    let mut story = open(newest.subscribe(), 1024);
    newest.publish(large("begun "));
    sleep(Duration::from_millis(1)).await;
    story.drain.start(DrainOptions::default());
    sleep(Duration::from_millis(1)).await;
    newest.publish("too late");
    assert_eq!(story.peer.frame().await, (TEXT, large("begun ").into_bytes()));
    story.peer.expect_close(1001, "drained").await;
    story.peer.send(&close(1001, "")).await;
    story.peer.expect_end().await;
    assert!(story.end().await.clean);
}
