//! The mailboxes of all sessions of a key.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use slab::Slab;
use transport::{Handler, Message, Next, PreparedMessage};

use crate::key_map;
use crate::mailbox::{Event, Mailbox, Overflow, SendError, Sender, Sent, WhenFull, mailbox};
use crate::wakers::wake_each;

/// Sends events to all sessions of a key, such as the sessions of a user. Each has its own [`mailbox`].
///
/// A key exists while it has a session: there are never more keys than sessions, and an event for a key
/// without sessions is sent to nobody and kept for nobody. Hashing resists keys that are chosen to
/// collide.
///
/// A key with one idle session takes at most 300 bytes, and itself. A handler takes 24 bytes and a clone of
/// the key. The application has to limit the length of a key that a peer chooses. Opening and dropping a
/// mailbox, and collecting the senders of a key, lock the map for a short time. Queueing an event locks
/// the queue of one session at a time, and a session locks only its own.
///
/// A clone is another handle of the same mailboxes.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use broadcast::{Mailboxes, WhenFull};
/// use transport::ws_core::CloseCode;
///
/// const CAPACITY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
///
/// let policy = CloseCode::try_from(1008)?;
/// let users = Mailboxes::new(CAPACITY, WhenFull::Close(policy, "too slow".into()));
/// let laptop = users.open("ada"); // The handlers of two sessions.
/// let phone = users.open("ada");
/// assert_eq!(users.send("ada", "you have mail").queued, 2);
/// assert_eq!(users.send("bob", "you have mail").queued, 0);
/// # drop((laptop, phone));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mailboxes<K>(Arc<Shared<K>>);

/// The handler of a session that sends the events for a key and discards the messages of its peer.
///
/// [`Mailboxes::open`] creates it. Another handler can contain it, as it can contain a [`Mailbox`]. The
/// session outlives all handles of the mailboxes: it stays open, and sends nothing more. As that of a
/// [`Mailbox`], it cannot be handed over to another process.
#[derive(Debug)]
pub struct KeyedMailbox<K: Eq + Hash> {
    mailbox: Mailbox,
    key: K,
    /// The index of the sender among those of the key.
    index: usize,
    mailboxes: Mailboxes<K>,
}

/// To how many sessions of a key an event was sent. Sessions that have ended are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCounts {
    /// Sessions that have it in their queue.
    pub queued: usize,
    /// Those of them that dropped their oldest event for it, by [`WhenFull::DropOldest`].
    pub replaced_oldest: usize,
    /// Sessions whose queue is full and that did not queue it, by [`WhenFull::Refuse`].
    pub refused: usize,
    /// Sessions that close because their queue is or was full, by [`WhenFull::Close`].
    pub closing: usize,
}

struct Shared<K> {
    capacity: NonZeroUsize,
    when_full: WhenFull,
    /// Invariant: each key has a sender whenever the map is not locked.
    senders: Mutex<HashMap<K, Slab<Sender>>>,
}

impl<K: Eq + Hash> Mailboxes<K> {
    /// Creates a map without mailboxes. Each mailbox will queue at most `capacity` events.
    #[must_use]
    pub fn new(capacity: NonZeroUsize, when_full: WhenFull) -> Self {
        Self(Arc::new(Shared { capacity, when_full, senders: Mutex::default() }))
    }

    /// Creates the handler of a session of this key.
    #[must_use]
    pub fn open(&self, key: K) -> KeyedMailbox<K>
    where
        K: Clone,
    {
        let (sender, mailbox) = mailbox(self.0.capacity, self.0.when_full.clone());
        let mut map = self.0.senders.lock();
        let index = match map.get_mut(&key) {
            Some(senders) => senders.insert(sender),
            None => map.entry(key.clone()).or_default().insert(sender),
        };
        drop(map);
        KeyedMailbox { mailbox, key, index, mailboxes: self.clone() }
    }

    /// Queues an event for each session of the key, and wakes them to send it. Does not wait for them.
    ///
    /// The event is encoded once, and all sessions write it from the same bytes. Events that one thread
    /// sends arrive in order; those that two threads send at the same time may arrive in a different
    /// order at each session.
    ///
    /// # Panics
    ///
    /// If a waker panics, after all were woken. The wakers of tokio never do.
    pub fn send<Q>(&self, key: &Q, event: impl Into<Message>) -> SendCounts
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // Queueing does not lock the map.
        let senders: Vec<Sender> = match self.0.senders.lock().get(key) {
            Some(senders) => senders.iter().map(|(_, sender)| sender.clone()).collect(),
            None => return SendCounts::default(),
        };
        let event = PreparedMessage::from(event.into());
        let mut counts = SendCounts::default();
        let queue = |sender: Sender| {
            let (result, waker) = sender.queue(event.clone());
            counts.add(result);
            waker
        };
        wake_each(senders.into_iter().filter_map(queue));
        counts
    }

    /// Returns the number of sessions of the key.
    #[must_use]
    pub fn sessions<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.senders.lock().get(key).map_or(0, Slab::len)
    }

    /// Returns the number of keys that have a session.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.senders.lock().len()
    }

    /// Whether no key has a session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Clone for Mailboxes<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Mailboxes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.senders.lock().len();
        f.debug_struct("Mailboxes").field("len", &len).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> KeyedMailbox<K> {
    /// Returns the next event, or [`Overflow`] if the session has to close. See
    /// [`Mailbox::poll_event`].
    ///
    /// # Errors
    ///
    /// [`Overflow`] if the queue was full with [`WhenFull::Close`]; then each call returns it.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Overflow>> {
        self.mailbox.poll_event(cx)
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash + Send + 'static> Handler for KeyedMailbox<K> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.mailbox.poll_next(cx)
    }

    fn receive(&mut self, _: Message) {}
}

impl<K: Eq + Hash> Drop for KeyedMailbox<K> {
    fn drop(&mut self) {
        let mut map = self.mailboxes.0.senders.lock();
        let senders = map.get_mut(&self.key).expect("a key with a session is in the map");
        let sender = senders.remove(self.index);
        let forgotten =
            if senders.is_empty() { key_map::remove(&mut map, &self.key) } else { None };
        drop(map);
        drop((sender, forgotten)); // Without the lock: the drop of a key may run any code.
    }
}

impl SendCounts {
    fn add(&mut self, result: Result<Sent, SendError>) {
        match result {
            Ok(Sent::Queued) => self.queued += 1,
            Ok(Sent::ReplacedOldest) => {
                self.queued += 1;
                self.replaced_oldest += 1;
            }
            Err(SendError::Closing) => self.closing += 1,
            Err(SendError::Ended) => {}
            Err(SendError::Full) => self.refused += 1,
        }
    }
}
