//! Prepared messages, which are encoded once for many sessions: their order among the other frames.
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

use support::latest_message::LatestMessage;
use support::{BINARY, PING, PONG, TEXT, close, frame, open};
use tokio::time::sleep;
use transport::{DrainOptions, Handler, Message, Next, PreparedMessage};

/// A text that a pipe of 1 KB does not hold.
fn large(name: &str) -> String {
    name.repeat(2000 / name.len())
}

#[tokio::test(start_paused = true)]
async fn prepared_messages_that_are_ready_together_are_all_sent() {
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
    let mut session = open(Several(frames), 1024);
    for text in texts {
        assert_eq!(session.peer.frame().await, (TEXT, text.into_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_prefix_is_one_frame_of_the_same_kind() {
    let latest = LatestMessage::default();
    let mut session = open(latest.subscribe(), 1024);
    for (message, kind, payload) in [
        (Message::from("text"), TEXT, &b"before: text"[..]),
        (Message::from(vec![0xff]), BINARY, b"before: \xff"),
    ] {
        latest.publish_prepared(PreparedMessage::from(message).with_prefix("before: "));
        assert_eq!(session.peer.frame().await, (kind, payload.to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_stay_in_order_around_a_prepared_message() {
    let latest = LatestMessage::default();
    let mut session = open(latest.subscribe(), 1024);
    session.peer.send(&frame(PING, b"before")).await;
    latest.publish(large("state "));
    sleep(Duration::from_millis(1)).await;
    session.peer.send(&frame(PING, b"behind")).await;
    assert_eq!(session.peer.frame().await, (PONG, b"before".to_vec()));
    assert_eq!(session.peer.frame().await, (TEXT, large("state ").into_bytes()));
    assert_eq!(session.peer.frame().await, (PONG, b"behind".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_follows_the_prepared_message_that_has_begun_and_is_the_last_frame() {
    let latest = LatestMessage::default();
    let mut session = open(latest.subscribe(), 1024);
    latest.publish(large("begun "));
    sleep(Duration::from_millis(1)).await;
    session.drain.start(DrainOptions::default());
    sleep(Duration::from_millis(1)).await;
    latest.publish("too late");
    assert_eq!(session.peer.frame().await, (TEXT, large("begun ").into_bytes()));
    session.peer.expect_close(1001, "drained").await;
    session.peer.send(&close(1001, "")).await;
    session.peer.expect_end().await;
    assert!(session.end().await.clean);
}
