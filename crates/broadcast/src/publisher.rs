//! The publisher.

use std::future::{Future, ready};
use std::sync::Arc;

use transport::{Admission, Admit, Bytes, Denial, Handshake, Identity, Message, PreparedMessage};

use crate::channel::Channel;
use crate::frozen::{decode_state, encode_state};
use crate::statistics::{Measurements, Statistics};
use crate::subscription::{Position, Subscription};
use crate::tag::{Have, Tag};

/// Sends the newest state to the sessions that subscribed.
///
/// These are the sessions whose handler is a [`Subscription`] of this publisher or contains one. Each
/// sends the newest state when it opens, if there is one, and then each newer state. While a session
/// has unsent output its handler is not polled, so it skips the states that were replaced meanwhile and
/// queues none of them. Sessions outlive their publisher: they stay open and send nothing more.
///
/// A state is encoded once, and all sessions write it from the same bytes. TLS and HTTP/2 copy it, as
/// they copy all output. A publisher keeps one state, the newest. With one session it takes at most 260
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
/// A publisher is an [`Admit`] that opens a session for every client, with
/// [what that client has](Have::from_query). A clone is another handle of the same publisher.
///
/// # Tags
///
/// A client that connects again often has the newest state already. If it says in its handshake which
/// state it [has](Have), its session starts with the state that is newer than that: it is sent nothing
/// until there is one. Each of its messages begins with the line `have=TAG`, whose end is a line feed, and
/// the state follows. `docs/api/endpoint.md` in the repository has the protocol for authors of clients.
///
/// By default the tag is a random number of the publisher, and the number of the state; it tells nothing
/// of the content. A state whose identity outlives the process, or is the same in several, is published
/// with [`publish_tagged`](Publisher::publish_tagged). Tagged messages are encoded once for all sessions
/// that send them, and are made from the first subscription on that needs them; the publisher then keeps
/// the newest state in both forms, and a `publish` copies it with a lock of the publisher held.
///
/// ```
/// use broadcast::{Have, Publisher};
///
/// let weather = Publisher::new();
/// weather.publish("sunny");
/// // For the session of `?have=5f2c0a9be3d14c77-1`, in an `Admit` of the application:
/// let have = Have::from_query(Some("have=5f2c0a9be3d14c77-1"));
/// let handler = weather.subscribe_having(&have);
/// # drop(handler);
/// ```
///
/// # Handover
///
/// A process can hand over its sessions to the one that takes its place. Each client is then sent the newest
/// state if it does not have it, and nothing if it has:
///
/// 1. [`Subscription::freeze`] returns which state the client of a session has.
/// 2. [`freeze`](Self::freeze) returns the newest state with its tag, after the sessions were frozen: a state
///    that is published in between may have been sent to some of them.
/// 3. In the other process, [`restore`](Publisher::restore) makes that state the newest one. A publisher whose
///    states come from elsewhere, such as a database, does not need it if both processes publish the states
///    with [the same tags](Self::publish_tagged).
/// 4. [`thaw`](Self::thaw) returns the handler that continues a session. Steps 3 and 4 may change places.
///
/// If the publisher is the [`Admit`] of an endpoint, the sessions call the methods of steps 1 and 4.
///
/// ```
/// use broadcast::Publisher;
///
/// let weather = Publisher::new();
/// weather.publish("sunny");
/// let handler = weather.subscribe();
/// let (session, state) = (handler.freeze(), weather.freeze());
///
/// // In the other process:
/// let weather = Publisher::new();
/// assert!(weather.restore(&state));
/// let handler = weather.thaw(&session).expect("the version is the same");
/// # drop(handler);
/// ```
///
/// Later states have other tags in the other process, because this one may go on publishing to sessions that
/// it could not hand over.
///
/// # Measuring
///
/// [`measure`](Publisher::measure) finds out how long states take until clients have received them, and
/// [`statistics`](Publisher::statistics) says that and how many sessions are behind. With the feature
/// `prometheus`, `register` makes metrics of it.
///
/// # Values
///
/// Each state can have a value of type `V` beside its message, for handlers that decide by it: see
/// [`with_values`](Publisher::with_values). The default, `()`, takes no memory.
#[derive(Debug)]
pub struct Publisher<V = ()>(Arc<Channel<V>>);

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

    /// Publishes a state that has a tag of its own, such as its version in a database: clients may have it
    /// from another process, or from before a restart. Otherwise as [`publish`](Publisher::publish).
    ///
    /// The application ensures that states with the same tag are the same, in all processes that the
    /// client may reach under one URL.
    ///
    /// ```
    /// use broadcast::{Publisher, Tag};
    ///
    /// let prices = Publisher::new();
    /// prices.publish_tagged("v1207".parse::<Tag>()?, r#"{"tea":3}"#);
    /// # Ok::<(), broadcast::InvalidTag>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_tagged(&self, tag: Tag, state: impl Into<Message>) {
        self.publish_tagged_with(tag, state, ());
    }

    /// Makes the state that was [frozen](Publisher::freeze) in the process before this one the newest state,
    /// with its tag. Returns whether it did.
    ///
    /// Does nothing if this publisher has published or removed a state, and if `frozen` is empty or malformed,
    /// or of a version that this one does not know. Until then it may be called again, with the state that
    /// belongs to sessions that are handed over later.
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn restore(&self, frozen: &[u8]) -> bool {
        self.restore_with(frozen, |_| ())
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

    /// Creates a handler for sessions that send the states of this publisher as they were published.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<V> {
        self.subscribe_having(&Have::Absent)
    }

    /// Creates a handler for the session of a client that has this. See [tags](Self#tags).
    #[must_use]
    pub fn subscribe_having(&self, have: &Have) -> Subscription<V> {
        Subscription::new(Arc::clone(&self.0), Position::of(have))
    }

    /// Makes `state` the newest state, with `value` beside it, and wakes all sessions to send it.
    ///
    /// Does not wait for the sessions, as [`publish`](Publisher::publish).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_with(&self, state: impl Into<Message>, value: V) {
        self.store(None, &state.into(), value);
    }

    /// Publishes a state with a tag of its own, and with `value` beside it. Otherwise as
    /// [`publish_tagged`](Publisher::publish_tagged).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_tagged_with(&self, tag: Tag, state: impl Into<Message>, value: V) {
        self.store(Some(tag), &state.into(), value);
    }

    /// Returns the newest state for another process: its payload, its tag and its revision, and not its
    /// value. It is empty if there is no state, and has at most 75 bytes more than the payload.
    ///
    /// If the newest state has no tag, it and all later ones get tags, as for a client that knows of tags. See
    /// [handover](Self#handover).
    #[must_use]
    pub fn freeze(&self) -> Bytes {
        self.0.freeze().map(|state| encode_state(&state)).unwrap_or_default()
    }

    /// Restores a state, with what `value` makes of its message beside it: a value can be of any type, so it
    /// has no bytes. Otherwise as [`restore`](Publisher::restore).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn restore_with(&self, frozen: &[u8], value: impl FnOnce(&PreparedMessage) -> V) -> bool {
        let Some(state) = decode_state(frozen) else { return false };
        let value = value(&state.message);
        let restored = self.0.restore(state, value);
        let is_restored = restored.is_ok();
        drop(restored);
        if is_restored {
            self.0.notify();
        }
        is_restored
    }

    /// Creates the handler that continues a session of the process before this one, from what
    /// [`Subscription::freeze`] returned there. Returns `None` for bytes of a version that this one does not
    /// know, or that are malformed. See [handover](Self#handover).
    ///
    /// The first [`Update`](crate::Update) says that nothing was skipped, also if the client has an older
    /// state. So a handler that sends differences begins with a whole state again.
    #[must_use]
    pub fn thaw(&self, frozen: &[u8]) -> Option<Subscription<V>> {
        Some(Subscription::new(Arc::clone(&self.0), Position::from_frozen(frozen)?))
    }

    fn store(&self, tag: Option<Tag>, state: &Message, value: V) {
        drop(self.0.store(PreparedMessage::compressible(state), tag, value));
        self.0.notify();
    }

    /// Publishes the newest state again, with its value and its tag: it gets a revision of its own, and
    /// each session sends it once more. Does nothing if there is no state.
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

    /// Measures from now on how long each state takes until clients have received it.
    ///
    /// After each state, one session in 64 pings its client: another one for each state, in turn. Its pong
    /// says that the client's WebSocket implementation has received the state, because TCP and HTTP/2 keep
    /// the order. So the time has in it what the publisher, the session, the network and a slow reader took.
    /// A session is not measured with the state that it opens with.
    ///
    /// A ping and its pong take sixteen bytes on the wire, and each may wake a phone: a client that is sent a
    /// state each second gets one in about a minute. Without this, there are none.
    ///
    /// ```
    /// use broadcast::Publisher;
    ///
    /// let weather = Publisher::new();
    /// weather.measure();
    /// weather.publish("sunny");
    /// let statistics = weather.statistics();
    /// assert!(statistics.state_age.is_some());
    /// assert_eq!(statistics.delivery_times.count(), 0, "no session is open");
    /// ```
    pub fn measure(&self) {
        self.0.measure(|| Arc::new(Measurements::new()));
    }

    /// Returns what was [measured](Self::measure), and counts the sessions. Costs a lock of each list of
    /// sessions and of each thread's copy of the state, and nothing for each session.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let measured = self.0.measurements().map(|measurements| measurements.snapshot());
        let (subscriptions, behind) = self.0.count_sessions();
        Statistics { subscriptions, behind, ..measured.unwrap_or_default() }
    }

    /// Measures from now on, and registers these metrics, whose values are the
    /// [`statistics`](Self::statistics) at each scrape: `delivery_seconds`, `state_age_seconds` (left out
    /// before the first state), `states_skipped_total`, `subscriptions` and `subscriptions_behind`. A
    /// sub-registry gives them a prefix or labels.
    ///
    /// ```
    /// use broadcast::Publisher;
    /// use prometheus_client::registry::Registry;
    ///
    /// let weather = Publisher::new();
    /// let mut registry = Registry::default();
    /// weather.register(registry.sub_registry_with_prefix("weather"));
    /// ```
    #[cfg(feature = "prometheus")]
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry)
    where
        V: Send + 'static,
    {
        self.measure();
        let publisher = self.clone();
        crate::prometheus::register(registry, move || publisher.statistics());
    }

    /// Removes the state: sessions that have not sent it skip it, and sessions that open wait for the
    /// next one.
    pub fn clear(&self) {
        drop(self.0.take());
        self.0.drop_copies();
    }
}

impl<V> Clone for Publisher<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Clone + Send + 'static> Admit for Publisher<V> {
    type Handler = Subscription<V>;

    fn admit(
        &self,
        handshake: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<Subscription<V>>, Denial>> + Send {
        let have = Have::from_query(handshake.query());
        ready(Ok(Admission::new(self.subscribe_having(&have))))
    }

    fn thaw(&self, _: Option<&Identity>, frozen: Bytes) -> Option<Subscription<V>> {
        self.thaw(&frozen)
    }
}
