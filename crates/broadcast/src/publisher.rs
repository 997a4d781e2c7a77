//! The latest state wins: one publisher, and any number of sessions that are told the newest.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use transport::{Handler, Message, Next, PreparedMessage};

/// Tells sessions the newest state of something.
///
/// The sessions are those whose handler is its [`subscribe`](Self::subscribe), or holds one. Each is told
/// the newest state when it opens, if there is one, and each newer state after that. One that reads
/// slowly is not asked for more while it has something unsent, so it skips what became old meanwhile,
/// and nothing is queued for it.
///
/// A state is encoded once, and all sessions write it from the same bytes (TLS and HTTP/2 make a copy
/// of it, as of everything).
///
/// ```
/// use broadcast::Publisher;
///
/// let weather = Publisher::new();
/// weather.publish("sunny");
/// let handler = weather.subscribe(); // for `transport::Endpoint::new`
/// weather.publish("rain");        // to every session that is open by now
/// # drop(handler);
/// ```
#[derive(Debug, Default)]
pub struct Publisher(Arc<Channel>);

/// The handler of a session that is told the newest state, and not heard.
///
/// A clone has not been told anything yet.
///
/// Another handler can hold one and ask it in its own [`poll_next`](Handler::poll_next):
///
/// ```
/// # use std::task::{Context, Poll};
/// use broadcast::Subscription;
/// use transport::{Handler, Message, Next};
///
/// #[derive(Clone)]
/// struct Polite {
///     latest: Subscription,
///     has_greeted: bool,
/// }
///
/// impl Handler for Polite {
///     fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
///         if !self.has_greeted {
///             self.has_greeted = true;
///             return Poll::Ready(Next::Send(Message::from("hello")));
///         }
///         self.latest.poll_next(cx)
///     }
///
///     fn receive(&mut self, _: Message) {}
/// }
/// ```
#[derive(Debug)]
pub struct Subscription {
    channel: Arc<Channel>,
    /// The number of the state that was told last.
    seen: u64,
    registration: Option<Registration>,
}

/// Where the newest state stands, and who is to be woken when there is a newer one.
///
/// Sessions have nothing in common that they write to on the way of a state: they look at a number, and
/// take the state from what their thread keeps.
#[derive(Debug, Default)]
struct Channel {
    /// The number of the newest state; 0 is none.
    version: AtomicU64,
    newest: Mutex<Option<PreparedMessage>>,
    next_slot: AtomicUsize,
    /// Sessions touch one of these when they open and when they end.
    shards: [Mutex<Slab<Waker>>; SHARDS],
}

const SHARDS: usize = 16;

/// So many that open one after the other are woken one after the other: what is nearby in memory, the
/// system's included, is then used together.
const WAKE_GROUP: usize = 64;

/// The number of the next state, of whichever publisher.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The state that a session of this thread was told last, and its number.
    static CACHED: RefCell<Option<(u64, PreparedMessage)>> = const { RefCell::new(None) };
}

/// A place among those who are woken.
#[derive(Debug)]
struct Registration {
    shard: u32,
    key: u32,
    /// Whom it wakes: another clone of the waker that lies in the shard, behind its lock.
    waker: Waker,
}

impl Publisher {
    /// A publisher without a state yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handler of sessions that are to be told.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { channel: Arc::clone(&self.0), seen: 0, registration: None }
    }

    /// Makes this the newest state, and wakes all sessions to tell it.
    ///
    /// It waits for none of them: when it returns, each will tell this state or a newer one, unless it
    /// ends before. Of two threads that publish at once, either may be the later.
    pub fn publish(&self, state: impl Into<Message>) {
        let frame = PreparedMessage::from(state.into());
        {
            let mut newest = self.0.newest.lock();
            let version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
            *newest = Some(frame);
            self.0.version.store(version, Ordering::Release);
        }
        for shard in &self.0.shards {
            // Woken without the lock: whom that runs is not ours to know.
            let sleepers: Vec<Waker> =
                shard.lock().iter().map(|(_, waker)| waker.clone()).collect();
            sleepers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Handler for Subscription {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Before the number is looked at: whoever publishes later sees the place.
        self.register(cx);
        let version = self.channel.version.load(Ordering::Acquire);
        if version == self.seen {
            return Poll::Pending;
        }
        let (version, frame) = self.channel.newest(version);
        self.seen = version;
        Poll::Ready(Next::SendPrepared(frame))
    }

    fn receive(&mut self, _: Message) {}
}

impl Subscription {
    /// Takes a place among those who are woken, once and for all, unless its waker changes.
    fn register(&mut self, cx: &Context<'_>) {
        match &mut self.registration {
            Some(registration) if registration.waker.will_wake(cx.waker()) => {}
            Some(registration) => {
                let waker = cx.waker().clone();
                let mut shard = self.channel.shard(index(registration.shard));
                let before = shard
                    .get_mut(index(registration.key))
                    .map(|cached| mem::replace(cached, waker));
                // With a waker goes what only it has kept, which may come back here.
                drop(shard);
                drop(before);
                registration.waker = cx.waker().clone();
            }
            None => {
                let registration = self.channel.next_slot.fetch_add(1, Ordering::Relaxed);
                let shard = registration / WAKE_GROUP % SHARDS;
                let key = self.channel.shard(shard).insert(cx.waker().clone());
                let waker = cx.waker().clone();
                self.registration =
                    Some(Registration { shard: small(shard), key: small(key), waker });
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
            let waker =
                self.channel.shard(index(registration.shard)).try_remove(index(registration.key));
            drop(waker); // Only now, without the lock.
        }
    }
}

impl Channel {
    /// The newest state and its number, which is this or a later one.
    fn newest(&self, version: u64) -> (u64, PreparedMessage) {
        CACHED.with_borrow_mut(|cached| {
            if let Some((kept_number, frame)) = cached
                && *kept_number == version
            {
                return (version, frame.clone());
            }
            let newest = self.newest.lock();
            let version = self.version.load(Ordering::Relaxed);
            let frame = newest.as_ref().expect("a version stands for a state").with_own_refcount();
            *cached = Some((version, frame.clone()));
            (version, frame)
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Slab<Waker>> {
        self.shards.get(index).expect("the remainder is smaller than the divisor").lock()
    }
}

/// An index as it is kept, in half the memory.
fn small(index: usize) -> u32 {
    u32::try_from(index).expect("there is no memory for four billion wakers")
}

fn index(small: u32) -> usize {
    usize::try_from(small).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_handler_takes_40_bytes() {
        assert_eq!(size_of::<Subscription>(), 40);
    }
}
