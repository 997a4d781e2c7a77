//! What topics hand over to another process.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use transport::{Bytes, PreparedMessage};

use super::{TopicSubscription, Topics};
use crate::frozen::{decode_state, encode_state};
use crate::subscription::Position;

impl<K: Eq + Hash> Topics<K> {
    /// Makes the state that was [frozen](Topics::freeze) in the process before this one the newest state of
    /// the topic, with its tag. Returns whether it did. Otherwise as
    /// [`Publisher::restore`](crate::Publisher::restore).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn restore<Q>(&self, key: &Q, frozen: &[u8]) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.restore_with(key, frozen, |_| ())
    }
}

impl<K: Eq + Hash, V> Topics<K, V> {
    /// Returns the newest state of each topic that has one, for another process. See
    /// [`Publisher::freeze`](crate::Publisher::freeze).
    #[must_use]
    pub fn freeze(&self) -> Vec<(K, Bytes)>
    where
        K: Clone,
    {
        let map = self.0.map.lock();
        let channels: Vec<_> =
            map.iter().map(|(key, topic)| (key.clone(), Arc::clone(&topic.channel))).collect();
        drop(map); // A state is copied without the lock.
        let frozen = channels.into_iter();
        frozen.filter_map(|(key, channel)| Some((key, encode_state(&channel.freeze()?)))).collect()
    }

    /// Restores a state of the topic, with the value that `value` makes of its message. Otherwise as
    /// [`restore`](Topics::restore).
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn restore_with<Q>(
        &self,
        key: &Q,
        frozen: &[u8],
        value: impl FnOnce(&PreparedMessage) -> V,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let Some(state) = decode_state(frozen) else { return false };
        let value = value(&state.message);
        let (channel, restored) = self.change(key, |channel| channel.restore(state, value));
        let is_restored = restored.is_ok();
        drop(restored);
        if is_restored {
            channel.notify();
        }
        is_restored
    }

    /// Creates the handler that continues a session of the process before this one, from what
    /// [`TopicSubscription::freeze`] returned there. Returns `None` for bytes of a version that this one does
    /// not know, or that are malformed.
    ///
    /// Creates the topic, without a state, if it does not exist.
    #[must_use]
    pub fn thaw(&self, key: K, frozen: &[u8]) -> Option<TopicSubscription<K, V>>
    where
        K: Clone,
    {
        Some(self.subscribe_at(key, Position::from_frozen(frozen)?))
    }
}

impl<K: Eq + Hash, V> TopicSubscription<K, V> {
    /// Returns what another process needs, beside the key, to continue this session with [`Topics::thaw`].
    /// See [`Subscription::freeze`](crate::Subscription::freeze).
    #[must_use]
    pub fn freeze(&self) -> Bytes {
        self.states.freeze()
    }
}
