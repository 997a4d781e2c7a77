//! A publisher whose sessions send the latest state, as an application would have one.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use transport::{Handler, Message, Next, PreparedMessage};

/// Publishes states to its subscriptions. Clones share the channel.
#[derive(Clone, Default)]
pub(crate) struct Publisher(Arc<Mutex<Channel>>);

#[derive(Default)]
struct Channel {
    version: u32,
    message: Option<PreparedMessage>,
    wakers: Vec<Waker>,
}

/// The handler of a session: sends the latest state.
#[derive(Clone)]
pub(crate) struct Subscription {
    publisher: Publisher,
    /// The version that was sent last.
    sent: u32,
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription { publisher: self.clone(), sent: 0 }
    }

    pub(crate) fn publish(&self, state: impl Into<Message>) {
        let wakers = self.with(|channel| {
            channel.version += 1;
            channel.message = Some(PreparedMessage::from(state.into()));
            std::mem::take(&mut channel.wakers)
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Channel) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Handler for Subscription {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let latest = self.publisher.with(|channel| {
            if channel.version == self.sent {
                channel.wakers.push(cx.waker().clone());
                return None;
            }
            Some((channel.version, channel.message.clone()?))
        });
        match latest {
            Some((version, message)) => {
                self.sent = version;
                Poll::Ready(Next::SendPrepared(message))
            }
            None => Poll::Pending,
        }
    }

    fn receive(&mut self, _: Message) {}
}
