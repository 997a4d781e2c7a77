//! A handler that sends prepared messages.

use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use transport::{Handler, Message, Next, PreparedMessage};

/// Sends the latest message that was published through it or through a handler that shares its channel.
#[derive(Default)]
pub(crate) struct LatestMessage {
    channel: Arc<Mutex<Channel>>,
    /// The version that was sent last.
    sent: u64,
}

#[derive(Default)]
struct Channel {
    version: u64,
    message: Option<PreparedMessage>,
    wakers: Vec<Waker>,
}

impl LatestMessage {
    /// Returns another handler of the same channel.
    pub(crate) fn subscribe(&self) -> Self {
        Self { channel: Arc::clone(&self.channel), sent: 0 }
    }

    /// Publishes a message to all handlers of the channel.
    pub(crate) fn publish(&self, message: impl Into<Message>) {
        self.publish_prepared(PreparedMessage::compressible(&message.into()));
    }

    pub(crate) fn publish_prepared(&self, message: PreparedMessage) {
        let wakers = {
            let channel = &mut *self.channel.lock().unwrap();
            channel.version += 1;
            channel.message = Some(message);
            mem::take(&mut channel.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Handler for LatestMessage {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let channel = &mut *self.channel.lock().unwrap();
        match &channel.message {
            Some(message) if channel.version != self.sent => {
                self.sent = channel.version;
                Poll::Ready(Next::SendPrepared(message.clone()))
            }
            Some(_) | None => {
                if !channel.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    channel.wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn receive(&mut self, _: Message) {}
}
