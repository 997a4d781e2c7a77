//! The publisher, the subscription of a session, and the channel between them.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use transport::{Handler, Message, Next, PreparedMessage};

/// Sends the newest state to the sessions that subscribed.
///
/// These are the sessions whose handler is a [`Subscription`] of this publisher or contains one. Each
/// sends the newest state when it opens, if there is one, and then each newer state. While a session
/// has unsent output its handler is not polled, so it skips the states that were replaced meanwhile and
/// queues none of them.
///
/// A state is encoded once, and all sessions write it from the same bytes. TLS and HTTP/2 copy it, as
/// they copy all output.
///
/// ```
/// use broadcast::Publisher;
///
/// let weather = Publisher::new();
/// weather.publish("sunny");
/// let handler = weather.subscribe(); // For `transport::Endpoint::new`.
/// weather.publish("rain"); // To every session that is open.
/// # drop(handler);
/// ```
#[derive(Debug, Default)]
pub struct Publisher(Arc<Channel>);

/// The handler of a session that sends the newest state and discards the messages of its peer.
///
/// A clone starts anew: its session first sends the newest state, also if this one has sent it already.
///
/// Another handler can contain a subscription and poll it in its own [`poll_next`](Handler::poll_next):
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
///         self.states.poll_next(cx)
///     }
///
///     fn receive(&mut self, _: Message) {}
/// }
/// ```
#[derive(Debug)]
pub struct Subscription {
    channel: Arc<Channel>,
    /// The version of the state that was returned last; 0 if none was.
    seen: u64,
    registration: Option<Registration>,
}

/// The newest state, and the wakers of the subscriptions.
///
/// Delivering a state writes to no memory that threads share: a subscription loads the version, and
/// takes the state from the cache of its thread. A thread locks `newest` once for each state.
#[derive(Debug, Default)]
struct Channel {
    /// The version of the newest state; 0 if there is no state.
    version: AtomicU64,
    newest: Mutex<Option<PreparedMessage>>,
    next_index: AtomicUsize,
    /// Each subscription locks one of these when it registers, when its waker changes, and on drop.
    shards: [Mutex<Slab<Waker>>; SHARDS],
}

const SHARDS: usize = 16;

/// The number of consecutive subscriptions in one shard. They are woken one after the other, so that
/// memory which is close together is used together; this includes the kernel's memory.
const WAKE_GROUP: usize = 64;

/// The version of the next state of any publisher. Versions are unique in the process because [`CACHED`]
/// serves all publishers.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The state that a subscription returned last on this thread, and its version.
    static CACHED: RefCell<Option<(u64, PreparedMessage)>> = const { RefCell::new(None) };
}

/// The position of a subscription's waker in the channel.
#[derive(Debug)]
struct Registration {
    shard: u32,
    key: u32,
    /// A clone of the waker in the shard, which can be compared without the lock.
    waker: Waker,
}

impl Publisher {
    /// Creates a publisher without a state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a handler for sessions that send the states of this publisher.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { channel: Arc::clone(&self.0), seen: 0, registration: None }
    }

    /// Makes `state` the newest state, and wakes all sessions to send it.
    ///
    /// Does not wait for the sessions: each sends this state or a newer one later, unless it ends first.
    /// If two threads publish at the same time, either state may become the newest.
    pub fn publish(&self, state: impl Into<Message>) {
        let message = PreparedMessage::from(state.into());
        {
            let mut newest = self.0.newest.lock();
            let version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
            *newest = Some(message);
            self.0.version.store(version, Ordering::Release);
        }
        for shard in &self.0.shards {
            // Wake without the lock: a waker may run any code.
            let wakers: Vec<Waker> = shard.lock().iter().map(|(_, waker)| waker.clone()).collect();
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Handler for Subscription {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Register before loading the version: a `publish` that this load misses finds the waker.
        self.register(cx);
        let version = self.channel.version.load(Ordering::Acquire);
        if version == self.seen {
            return Poll::Pending;
        }
        let (version, message) = self.channel.newest(version);
        self.seen = version;
        Poll::Ready(Next::SendPrepared(message))
    }

    fn receive(&mut self, _: Message) {}
}

impl Subscription {
    /// Registers the waker with the channel, unless it is registered already.
    fn register(&mut self, cx: &Context<'_>) {
        match &mut self.registration {
            Some(registration) if registration.waker.will_wake(cx.waker()) => {}
            Some(registration) => {
                let waker = cx.waker().clone();
                let mut shard = self.channel.shard(to_usize(registration.shard));
                let replaced = shard
                    .get_mut(to_usize(registration.key))
                    .map(|registered| mem::replace(registered, waker));
                // Drop the waker without the lock: it may drop a task whose subscription locks it.
                drop(shard);
                drop(replaced);
                registration.waker = cx.waker().clone();
            }
            None => {
                let index = self.channel.next_index.fetch_add(1, Ordering::Relaxed);
                let shard = index / WAKE_GROUP % SHARDS;
                let key = self.channel.shard(shard).insert(cx.waker().clone());
                let waker = cx.waker().clone();
                self.registration =
                    Some(Registration { shard: to_u32(shard), key: to_u32(key), waker });
            }
        }
    }
}

impl Clone for Subscription {
    fn clone(&self) -> Self {
        Self { channel: Arc::clone(&self.channel), seen: 0, registration: None }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(registration) = self.registration.take() {
            let waker = self
                .channel
                .shard(to_usize(registration.shard))
                .try_remove(to_usize(registration.key));
            drop(waker); // Without the lock, as in `register`.
        }
    }
}

impl Channel {
    /// Returns the newest state and its version, which is `version` or a later one.
    fn newest(&self, version: u64) -> (u64, PreparedMessage) {
        CACHED.with_borrow_mut(|cached| {
            if let Some((cached_version, message)) = cached
                && *cached_version == version
            {
                return (version, message.clone());
            }
            let newest = self.newest.lock();
            let version = self.version.load(Ordering::Relaxed);
            let message =
                newest.as_ref().expect("a version other than 0 has a state").with_own_refcount();
            *cached = Some((version, message.clone()));
            (version, message)
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Slab<Waker>> {
        self.shards.get(index).expect("a shard index is less than SHARDS").lock()
    }
}

/// Converts an index for a [`Registration`], where `u32` halves its memory.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 wakers fit into memory")
}

fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_subscription_takes_40_bytes() {
        assert_eq!(size_of::<Subscription>(), 40);
    }
}
