//! A handler of one's own around the newest state, and the two ways to test one.
#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broadcast::{Publisher, Subscription};
use server::transport::ws_core::{Limits, SessionConfig, Timing};
use server::transport::{
    Drain, Handler, Message, Next, PreparedMessage, SizeLimits, WebSocket, run,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Tells the newest state, and answers each "ping?" by "pong!".
#[derive(Clone)]
struct Answering {
    latest: Subscription,
    owed: usize,
}

impl Handler for Answering {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.owed > 0 {
            self.owed -= 1;
            return Poll::Ready(Next::Send("pong!".into()));
        }
        self.latest.poll_next(cx)
    }

    fn receive(&mut self, message: Message) {
        if message == "ping?".into() {
            self.owed += 1;
        }
    }
}

#[test]
fn it_tells_the_state_and_then_answers() {
    let publisher = Publisher::new();
    publisher.publish("all is well");
    let mut handler = Answering { latest: publisher.subscribe(), owed: 0 };
    let mut cx = Context::from_waker(Waker::noop());

    let state = PreparedMessage::from(Message::from("all is well"));
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::SendPrepared(state)));
    handler.receive("something else".into());
    handler.receive("ping?".into());
    assert_eq!(handler.poll_next(&mut cx), Poll::Ready(Next::Send("pong!".into())));
    assert_eq!(handler.poll_next(&mut cx), Poll::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_the_state_and_then_answered() {
    let publisher = Publisher::new();
    publisher.publish("all is well");
    let (mut client, _drain) = open(Answering { latest: publisher.subscribe(), owed: 0 });

    let mut frame = [0; 13];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x0ball is well");
    client.write_all(b"\x81\x85\0\0\0\0ping?").await.unwrap();
    let mut frame = [0; 7];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x05pong!");
}

/// Opens a session over a pipe, and gives the client's end and the drain, without which it ends.
fn open(handler: impl Handler) -> (DuplexStream, Drain) {
    let (near, client) = duplex(1024);
    let (drain, keeper) = Drain::new();
    tokio::spawn(keeper);
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
    };
    let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    let socket =
        WebSocket::new(near, SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 });
    tokio::spawn(run(socket, config, handler, drain.token()));
    (client, drain)
}
