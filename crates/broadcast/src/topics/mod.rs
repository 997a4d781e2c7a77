//! The newest state of each topic, for the sessions that subscribed to it.

mod handover;
mod measuring;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use transport::{Bytes, Handler, Message, Next, PreparedMessage};

use crate::channel::Channel;
use crate::key_map;
use crate::statistics::Measurements;
use crate::subscription::{Position, Subscription, Update};
use crate::tag::{Have, Tag};

/// A map from keys to states: a topic is what a [`Publisher`](crate::Publisher) is, with a key.
///
/// A topic exists while it has a state or a subscription:
///
/// - [`publish`](Topics::publish) creates it, since the state is kept for sessions that subscribe later.
///   It lasts until [`clear`](Topics::clear), so the code that publishes bounds the number of these.
/// - [`subscribe`](Topics::subscribe) creates it without a state. It is forgotten with its last
///   subscription, so there are never more topics without a state than there are subscriptions, whatever
///   keys the peers choose. Hashing resists keys that are chosen to collide.
///
/// A topic with one session takes at most 300 bytes, and its key; further sessions add what they add to a
/// publisher. A subscription takes 48 bytes and a clone of the key. The application has to limit the
/// length of a key that a peer chooses; an `Arc<str>` shares it. Subscribing, publishing and dropping a
/// subscription lock the map for the time of a lookup, and publishing to a topic with tagged sessions for
/// that of a copy of the state. Sending a state to a session does not.
///
/// A clone is another handle of the same topics.
///
/// ```
/// use broadcast::Topics;
///
/// let scores: Topics<String> = Topics::new();
/// let handler = scores.subscribe("final".to_owned()); // For the session of `?match=final`.
/// scores.publish("final", "1:0"); // To every session of this match.
/// assert_eq!(scores.subscriptions("final"), 1);
///
/// drop(handler);
/// scores.clear("final"); // The match is over.
/// assert!(scores.is_empty());
/// ```
pub struct Topics<K, V = ()>(Arc<Shared<K, V>>);

/// The handler of a session that sends the newest state of a topic and discards the messages of its peer.
///
/// A clone starts anew, as that of a [`Subscription`]. The session outlives all handles of the topics: it
/// stays open, and sends nothing more.
///
/// [`Topics::subscribe`] creates it. [Frozen](Self::freeze), it has no key: an [`Admit`](transport::Admit)
/// finds the topic by the session's identity, or its handlers contain this one and freeze the key as well.
#[derive(Debug)]
pub struct TopicSubscription<K: Eq + Hash, V = ()> {
    states: Subscription<V>,
    key: K,
    topics: Topics<K, V>,
}

struct Shared<K, V> {
    map: Mutex<HashMap<K, Topic<V>>>,
    /// Those of all topics. Set while the map is locked.
    measurements: OnceLock<Arc<Measurements>>,
}

/// Invariant: it has a state or a subscription whenever the map is not locked.
struct Topic<V> {
    channel: Arc<Channel<V>>,
    subscriptions: usize,
}

impl<K: Eq + Hash> Topics<K> {
    /// Creates a map without topics.
    #[must_use]
    pub fn new() -> Self {
        Self::with_values()
    }

    /// Makes `state` the newest state of the topic, and wakes its sessions to send it.
    ///
    /// Creates the topic if it does not exist. Otherwise as
    /// [`Publisher::publish`](crate::Publisher::publish).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish<Q>(&self, key: &Q, state: impl Into<Message>)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.publish_with(key, state, ());
    }

    /// Publishes a state that has a tag of its own to the topic. Otherwise as [`publish`](Topics::publish)
    /// and [`Publisher::publish_tagged`](crate::Publisher::publish_tagged). Tags of other topics do not
    /// matter, unless a client changes the topic under the same URL.
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_tagged<Q>(&self, key: &Q, tag: Tag, state: impl Into<Message>)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.publish_tagged_with(key, tag, state, ());
    }
}

impl<K: Eq + Hash> Default for Topics<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Hash, V> Topics<K, V> {
    /// Creates a map without topics, whose states have a value beside the message. See
    /// [`Publisher::with_values`](crate::Publisher::with_values).
    #[must_use]
    pub fn with_values() -> Self {
        Self(Arc::new(Shared { map: Mutex::default(), measurements: OnceLock::new() }))
    }

    /// Creates a handler for a session that sends the states of the topic as they were published.
    ///
    /// Creates the topic, without a state, if it does not exist.
    #[must_use]
    pub fn subscribe(&self, key: K) -> TopicSubscription<K, V>
    where
        K: Clone,
    {
        self.subscribe_having(key, &Have::Absent)
    }

    /// Creates a handler for the session of a client that has this state of the topic. See
    /// [tags](crate::Publisher#tags).
    ///
    /// Creates the topic, without a state, if it does not exist.
    ///
    /// ```
    /// use broadcast::{Have, Topics};
    ///
    /// let scores: Topics<String> = Topics::new();
    /// // For the session of `?match=final&have=`.
    /// let handler = scores.subscribe_having("final".to_owned(), &Have::Nothing);
    /// # drop(handler);
    /// ```
    #[must_use]
    pub fn subscribe_having(&self, key: K, have: &Have) -> TopicSubscription<K, V>
    where
        K: Clone,
    {
        self.subscribe_at(key, Position::of(have))
    }

    fn subscribe_at(&self, key: K, position: Position) -> TopicSubscription<K, V>
    where
        K: Clone,
    {
        let mut map = self.0.map.lock();
        // Not `entry` alone, which drops a key that the map has already, with the lock.
        let topic = match map.get_mut(&key) {
            Some(topic) => topic,
            None => map.entry(key.clone()).or_insert_with(|| self.0.new_topic()),
        };
        topic.subscriptions += 1;
        let channel = Arc::clone(&topic.channel);
        drop(map);
        let states = Subscription::new(channel, position);
        TopicSubscription { states, key, topics: self.clone() }
    }

    /// Makes `state` the newest state of the topic, with `value` beside it, and wakes its sessions to send
    /// it. Otherwise as [`publish`](Topics::publish).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_with<Q>(&self, key: &Q, state: impl Into<Message>, value: V)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.store(key, None, &state.into(), value);
    }

    /// Publishes a state with a tag of its own to the topic, and with `value` beside it. Otherwise as
    /// [`publish_tagged`](Topics::publish_tagged).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn publish_tagged_with<Q>(&self, key: &Q, tag: Tag, state: impl Into<Message>, value: V)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.store(key, Some(tag), &state.into(), value);
    }

    fn store<Q>(&self, key: &Q, tag: Option<Tag>, state: &Message, value: V)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let message = PreparedMessage::compressible(state);
        let (channel, replaced) = self.change(key, |channel| channel.store(message, tag, value));
        drop(replaced);
        channel.notify();
    }

    /// Changes the state of a topic. What is returned is to be dropped without a lock.
    fn change<Q, T>(&self, key: &Q, change: impl FnOnce(&Channel<V>) -> T) -> (Arc<Channel<V>>, T)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut map = self.0.map.lock();
        let channel = match map.get(key) {
            Some(topic) => Arc::clone(&topic.channel),
            None => {
                Arc::clone(&map.entry(key.to_owned()).or_insert_with(|| self.0.new_topic()).channel)
            }
        };
        // While the map is locked: otherwise the topic might be forgotten before it has the state.
        let changed = change(&channel);
        drop(map);
        (channel, changed)
    }

    /// Publishes the newest state of the topic again, as
    /// [`Publisher::republish`](crate::Publisher::republish). Does nothing if the topic has no state.
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn republish<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(channel) = self.0.map.lock().get(key).map(|topic| Arc::clone(&topic.channel))
        else {
            return;
        };
        if channel.renew() {
            channel.notify();
        }
    }

    /// Removes the state of the topic, and the topic unless a session subscribes to it.
    ///
    /// Sessions that have not sent the state skip it, and sessions that open wait for the next one.
    pub fn clear<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut map = self.0.map.lock();
        let Some(topic) = map.get(key) else { return };
        let channel = Arc::clone(&topic.channel);
        let state = channel.take();
        let forgotten =
            if topic.subscriptions == 0 { key_map::remove(&mut map, key) } else { None };
        drop(map);
        drop((state, forgotten)); // Without the lock: the drop of a value or a key may run any code.
        channel.drop_copies();
    }

    /// Returns the number of subscriptions to the topic. A state that is costly to make can be left out
    /// if there is none.
    #[must_use]
    pub fn subscriptions<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.map.lock().get(key).map_or(0, |topic| topic.subscriptions)
    }

    /// Returns the number of topics that have a state or a subscription.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.map.lock().len()
    }

    /// Whether no topic has a state or a subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> Clone for Topics<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Topics<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("len", &self.0.map.lock().len()).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> TopicSubscription<K, V> {
    /// Returns the newest state of the topic, unless this subscription has returned it already, or its
    /// client has it. See
    /// [`Subscription::poll_update`].
    ///
    /// Revisions count the states since the topic was created.
    pub fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Update<V>> {
        self.states.poll_update(cx)
    }
}

impl<K: Eq + Hash, V> TopicSubscription<K, V> {
    /// Returns the key of the topic.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K, V> Handler for TopicSubscription<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.states.poll_next(cx)
    }

    fn receive(&mut self, _: Message) {}

    fn pong(&mut self) {
        self.states.pong();
    }

    fn freeze(&self) -> Option<Bytes> {
        Some(self.states.freeze())
    }

    fn thaw(&self, frozen: Bytes) -> Option<Self> {
        self.topics.thaw(self.key.clone(), &frozen)
    }
}

impl<K: Clone + Eq + Hash, V> Clone for TopicSubscription<K, V> {
    fn clone(&self) -> Self {
        let Self { states, key, topics } = self;
        topics.subscribe_having(key.clone(), &states.have_anew())
    }
}

impl<K: Eq + Hash, V> Drop for TopicSubscription<K, V> {
    fn drop(&mut self) {
        // The count changes while the map is locked, so nobody subscribes to a topic that is forgotten
        // here, or publishes to it.
        let mut map = self.topics.0.map.lock();
        let topic = map.get_mut(&self.key).expect("a topic with a subscription is in the map");
        topic.subscriptions -= 1;
        let is_needed = topic.subscriptions > 0 || topic.channel.has_state();
        let forgotten = if is_needed { None } else { key_map::remove(&mut map, &self.key) };
        drop(map);
        drop(forgotten); // Without the lock: the drop of a key may run any code.
    }
}

impl<K, V> Shared<K, V> {
    fn new_topic(&self) -> Topic<V> {
        let channel = Channel::new();
        if let Some(measurements) = self.measurements.get() {
            channel.measure(|| Arc::clone(measurements));
        }
        Topic { channel: Arc::new(channel), subscriptions: 0 }
    }
}
