//! A custom handler that wraps a subscription, and two ways to test a handler.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broadcast::{Publisher, Subscription};
use server::transport::ws_core::{Limits, SessionConfig, Timing};
use server::transport::{
    Bytes, Drain, Handler, Message, Next, PreparedMessage, SizeLimits, WebSocket, run,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Sends the latest state, and answers each "ping?" with "pong!".
#[derive(Clone)]
struct StateAndAnswers {
    latest: Subscription,
    pending_answers: usize,
}

impl Handler for StateAndAnswers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.pending_answers > 0 {
            self.pending_answers -= 1;
            return Poll::Ready(Next::Send("pong!".into()));
        }
        self.latest.poll_next(cx)
    }

    fn receive(&mut self, message: Message) {
        if message == "ping?".into() {
            self.pending_answers += 1;
        }
    }

    fn pong(&mut self) {
        self.latest.pong();
    }

    fn freeze(&self) -> Option<Bytes> {
        // While an answer is pending, the session stays with this process.
        (self.pending_answers == 0).then(|| self.latest.freeze())
    }

    fn thaw(&self, frozen: Bytes) -> Option<Self> {
        let latest = self.latest.thaw(frozen)?;
        Some(Self { latest, pending_answers: 0 })
    }
}

#[test]
fn the_handler_sends_the_state_and_then_answers() {
    let publisher = Publisher::new();
    publisher.publish("all is well");
    let mut handler = StateAndAnswers { latest: publisher.subscribe(), pending_answers: 0 };
    let mut cx = Context::from_waker(Waker::noop());

    let state = PreparedMessage::from(Message::from("all is well"));
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::SendPrepared(state)));
    handler.receive("something else".into());
    handler.receive("ping?".into());
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::Send("pong!".into())));
    assert_eq!(handler.poll_next(&mut cx), Poll::Pending);
}

#[test]
fn the_handler_passes_on_the_pong_that_measures_a_state() {
    let publisher = Publisher::new();
    publisher.measure();
    let mut handler = StateAndAnswers { latest: publisher.subscribe(), pending_answers: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    // A session has a turn in 64 states, and not with its first.
    let asks_for_ping = (0..=64).any(|number| {
        publisher.publish(number.to_string());
        let _state = handler.poll_next(&mut cx);
        handler.poll_next(&mut cx) == Poll::Ready(Next::Ping)
    });
    assert!(asks_for_ping);
    handler.pong();
    assert_eq!(publisher.statistics().delivery_times.count(), 1);
}

#[test]
fn the_handler_continues_in_another_process_unless_an_answer_is_pending() {
    let [old, new] = [(); 2].map(|()| Publisher::new());
    old.publish("all is well");
    let mut handler = StateAndAnswers { latest: old.subscribe(), pending_answers: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(handler.poll_next(&mut cx).is_ready());
    handler.receive("ping?".into());
    assert_eq!(handler.freeze(), None);
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::Send("pong!".into())));

    assert!(new.restore(&old.freeze()));
    let admitting = StateAndAnswers { latest: new.subscribe(), pending_answers: 0 };
    let mut handler = admitting.thaw(handler.freeze().unwrap()).unwrap();
    assert_eq!(handler.poll_next(&mut cx), Poll::Pending);
    new.publish("all is better");
    let state = PreparedMessage::from(Message::from("all is better"));
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::SendPrepared(state)));
}

#[tokio::test(start_paused = true)]
async fn a_client_receives_the_state_and_then_an_answer() {
    let publisher = Publisher::new();
    publisher.publish("all is well");
    let (mut client, _drain) =
        open(StateAndAnswers { latest: publisher.subscribe(), pending_answers: 0 });

    let mut frame = [0; 13];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x0ball is well");
    client.write_all(b"\x81\x85\0\0\0\0ping?").await.unwrap();
    let mut frame = [0; 7];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x05pong!");
}

/// Opens a session over an in-memory pipe, and returns the client's end and the drain. Dropping the drain
/// ends the session.
fn open(handler: impl Handler) -> (DuplexStream, Drain) {
    let (near, client) = duplex(1024);
    let (drain, timer_service) = Drain::new();
    tokio::spawn(timer_service);
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    let socket =
        WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
    tokio::spawn(run(socket, config, handler, drain.token()));
    (client, drain)
}
