//! The publisher, and the subscription of a session.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use transport::{Handler, Message, Next, PreparedMessage};

use crate::channel::{Channel, State};
use crate::wakers::Registration;

/// Sends the newest state to the sessions that subscribed.
///
/// These are the sessions whose handler is a [`Subscription`] of this publisher or contains one. Each
/// sends the newest state when it opens, if there is one, and then each newer state. While a session
/// has unsent output its handler is not polled, so it skips the states that were replaced meanwhile and
/// queues none of them. Sessions outlive their publisher: they stay open and send nothing more.
///
/// A state is encoded once, and all sessions write it from the same bytes. TLS and HTTP/2 copy it, as
/// they copy all output. A publisher keeps one state, the newest. With one session it takes at most 250
/// bytes; each further one takes at most 32, and 2 KB are added once more than 64 have waited at the same
/// time.
///
/// Where sessions compress messages, a state is compressed once for all of them. It
/// [follows](PreparedMessage::following) the state before it, so it is sent as the difference to clients
/// that have that one. The publisher then keeps the compressed frames as well, and the payload of the
/// state before it until the difference is made. Without compression it keeps neither.
///
/// ```
/// use broadcast::Publisher;
///
/// let weather = Publisher::new();
/// weather.publish("sunny");
/// let handler = weather.subscribe(); // For `transport::Endpoint::answer`.
/// weather.publish("rain"); // To every session that is open.
/// # drop(handler);
/// ```
///
/// # Values
///
/// Each state can have a value of type `V` beside its message, for handlers that decide by it: see
/// [`with_values`](Publisher::with_values). The default, `()`, takes no memory.
#[derive(Debug)]
pub struct Publisher<V = ()>(Arc<Channel<V>>);

/// The handler of a session that sends the newest state and discards the messages of its peer.
///
/// A clone starts anew: its session first sends the newest state, also if this one has sent it already.
///
/// Another handler can contain a subscription, and call [`poll_update`](Self::poll_update) in its own
/// [`poll_next`](Handler::poll_next):
///
/// ```
/// # use std::task::{Context, Poll};
/// use broadcast::Subscription;
/// use transport::{Handler, Message, Next};
///
/// #[derive(Clone)]
/// struct Greeter {
///     states: Subscription,
///     has_greeted: bool,
/// }
///
/// impl Handler for Greeter {
///     fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
///         if !self.has_greeted {
///             self.has_greeted = true;
///             return Poll::Ready(Next::Send(Message::from("hello")));
///         }
///         self.states.poll_update(cx).map(|update| Next::SendPrepared(update.message))
///     }
///
///     fn receive(&mut self, _: Message) {}
/// }
/// ```
#[derive(Debug)]
pub struct Subscription<V = ()> {
    channel: Arc<Channel<V>>,
    /// The revision of the state that was returned last; 0 if none was.
    seen: u64,
    registration: Option<Registration>,
}

/// A state, as [`Subscription::poll_update`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update<V = ()> {
    /// The state, for [`Next::SendPrepared`].
    pub message: PreparedMessage,
    /// The number of the state among all states of its publisher, from 1. One that was
    /// [published again](Publisher::republish) counts again.
    pub revision: u64,
    /// The number of states that were published since the previous one that this subscription returned,
    /// and that it never returned. 0 for the first state that it returns. A state that was published again
    /// counts again.
    pub skipped: u64,
    /// What was published beside the state.
    pub value: V,
}

impl Publisher {
    /// Creates a publisher without a state.
    #[must_use]
    pub fn new() -> Self {
        Self::with_values()
    }

    /// Makes `state` the newest state, and wakes all sessions to send it.
    ///
    /// Does not wait for the sessions: each sends this state or a newer one later, unless it ends first.
    /// If two threads publish at the same time, either state may become the newest.
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish(&self, state: impl Into<Message>) {
        self.publish_with(state, ());
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Publisher<V> {
    /// Creates a publisher without a state, whose states have a value beside the message.
    ///
    /// A value is what a handler decides by, such as the typed form of the state, its payload, or its
    /// difference from the state before it. It is not sent by itself. It is cloned for each session with
    /// a lock of the publisher held, so a large value belongs in an [`Arc`], and its `clone` must not use
    /// the publisher.
    ///
    /// A handler that sends the difference where it suffices, and the whole state otherwise:
    ///
    /// ```
    /// # use std::task::{Context, Poll};
    /// use broadcast::{Publisher, Subscription};
    /// use transport::{Handler, Message, Next, PreparedMessage};
    ///
    /// struct Differences {
    ///     states: Subscription<PreparedMessage>,
    ///     has_sent: bool,
    /// }
    ///
    /// impl Handler for Differences {
    ///     fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
    ///         self.states.poll_update(cx).map(|update| {
    ///             let follows = self.has_sent && update.skipped == 0;
    ///             self.has_sent = true;
    ///             Next::SendPrepared(if follows { update.value } else { update.message })
    ///         })
    ///     }
    ///
    ///     fn receive(&mut self, _: Message) {}
    /// }
    ///
    /// let scores = Publisher::with_values();
    /// let handler = Differences { states: scores.subscribe(), has_sent: false };
    /// let difference = PreparedMessage::from(Message::from(r#"{"home":2}"#));
    /// scores.publish_with(r#"{"home":2,"away":1}"#, difference);
    /// # drop(handler);
    /// ```
    #[must_use]
    pub fn with_values() -> Self {
        Self(Arc::new(Channel::new()))
    }

    /// Creates a handler for sessions that send the states of this publisher.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<V> {
        Subscription::new(Arc::clone(&self.0))
    }

    /// Makes `state` the newest state, with `value` beside it, and wakes all sessions to send it.
    ///
    /// Does not wait for the sessions, as [`publish`](Publisher::publish).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_with(&self, state: impl Into<Message>, value: V) {
        drop(self.0.store(PreparedMessage::compressible(&state.into()), value));
        self.0.notify();
    }

    /// Publishes the newest state again, with its value: it gets a revision of its own, and each session
    /// sends it once more. Does nothing if there is no state.
    ///
    /// A client then knows that its state is current. With shared compression, a state of 9 KB that a
    /// client has already takes about 80 bytes; without compression it is sent whole.
    ///
    /// ```
    /// use broadcast::Publisher;
    ///
    /// let weather = Publisher::new();
    /// weather.publish("sunny");
    /// weather.republish(); // An hour later: still sunny.
    /// ```
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn republish(&self) {
        if self.0.renew() {
            self.0.notify();
        }
    }

    /// Removes the state: sessions that have not sent it skip it, and sessions that open wait for the
    /// next one.
    pub fn clear(&self) {
        drop(self.0.take());
        self.0.drop_copies();
    }
}

impl<V> Subscription<V> {
    pub(crate) fn new(channel: Arc<Channel<V>>) -> Self {
        Self { channel, seen: 0, registration: None }
    }
}

impl<V: Clone> Subscription<V> {
    /// Returns the newest state, unless this subscription has returned it already.
    ///
    /// `Pending` means that there is no newer state; the waker in `cx` is woken when there is one. Only
    /// the waker of the latest call is woken. A subscription whose publisher was dropped stays pending.
    pub fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Update<V>> {
        // Register before looking for a state: a `publish` that the look misses finds the waker.
        self.channel.wakers.register(&mut self.registration, cx.waker());
        let Some(State { revision, message, value }) = self.channel.newer_than(self.seen) else {
            return Poll::Pending;
        };
        let skipped = if self.seen == 0 { 0 } else { revision - self.seen - 1 };
        self.seen = revision;
        Poll::Ready(Update { message, revision, skipped, value })
    }
}

impl<V: Clone + Send + 'static> Handler for Subscription<V> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let update = ready!(self.poll_update(cx));
        Poll::Ready(Next::SendPrepared(update.message))
    }

    fn receive(&mut self, _: Message) {}
}

impl<V> Clone for Subscription<V> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.channel))
    }
}

impl<V> Drop for Subscription<V> {
    fn drop(&mut self) {
        if let Some(registration) = self.registration.take() {
            self.channel.wakers.deregister(&registration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_subscription_takes_40_bytes() {
        assert_eq!(size_of::<Subscription>(), 40);
        assert_eq!(size_of::<Subscription<String>>(), 40);
    }
}
