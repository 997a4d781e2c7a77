//! The wakers of the sessions that wait for one channel.

use std::any::Any;
use std::iter;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

use slab::Slab;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, OnceLock};

/// The wakers of a channel, in shards, so that sessions which register at the same time seldom wait for
/// each other. A channel with few sessions has one shard.
#[derive(Debug)]
pub(crate) struct Wakers {
    first: Shard,
    /// Allocated when the first shard is full, while it is locked. See [`Wakers::wake_all`].
    others: OnceLock<Box<[Shard; OTHER_SHARDS]>>,
    /// Counts the registrations, to select a shard.
    next_index: AtomicUsize,
}

type Shard = Mutex<Slab<Waker>>;

const OTHER_SHARDS: usize = 15;

/// The number of consecutive registrations in one shard. They are woken one after the other, so that
/// memory which is close together is used together; this includes the kernel's memory.
const WAKE_GROUP: usize = 64;

/// The position of a waker.
#[derive(Debug)]
pub(crate) struct Registration {
    shard: u32,
    key: u32,
    /// A clone of the waker in the shard, which can be compared without the lock.
    waker: Waker,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        Self {
            first: Shard::default(),
            others: OnceLock::new(),
            next_index: AtomicUsize::new(WAKE_GROUP), // The first group is in the first shard.
        }
    }

    /// Whether the first shard has been full: more than 64 sessions have waited at the same time.
    pub(crate) fn is_sharded(&self) -> bool {
        self.others.get().is_some()
    }

    /// Returns the number of registrations.
    pub(crate) fn len(&self) -> usize {
        let others = self.others.get().into_iter().flat_map(|shards| shards.iter());
        iter::once(&self.first).chain(others).map(|shard| shard.lock().len()).sum()
    }

    /// Registers the waker, unless it is registered already.
    pub(crate) fn register(&self, registration: &mut Option<Registration>, waker: &Waker) {
        match registration {
            Some(registration) if registration.waker.will_wake(waker) => {}
            Some(Registration { shard, key, waker: own }) => {
                let (registered, clone) = (waker.clone(), waker.clone());
                let replaced = self
                    .shard(*shard)
                    .lock()
                    .get_mut(to_usize(*key))
                    .map(|place| mem::replace(place, registered));
                // Drop both without the lock: they may drop a task whose subscription locks it.
                drop((mem::replace(own, clone), replaced));
            }
            None => {
                let (registered, waker) = (waker.clone(), waker.clone());
                let (shard, key) = self.insert(registered);
                *registration = Some(Registration { shard, key: to_u32(key), waker });
            }
        }
    }

    pub(crate) fn deregister(&self, registration: &Registration) {
        let waker = self.shard(registration.shard).lock().try_remove(to_usize(registration.key));
        drop(waker); // Without the lock, as in `register`.
    }

    /// Wakes all sessions, each without a lock: a waker may run any code.
    pub(crate) fn wake_all(&self) {
        // `others` is read after `first` was locked. Whoever allocates it locks `first` either before
        // this, which makes it visible here, or after this, and then finds what was published before.
        let first = clones(&self.first);
        let others = self.others.get().into_iter().flat_map(|shards| shards.iter());
        wake_each(first.into_iter().chain(others.flat_map(clones)));
    }

    /// Returns the shard and the key of the waker.
    fn insert(&self, waker: Waker) -> (u32, usize) {
        if !self.is_sharded() {
            let mut first = self.first.lock();
            if first.len() < WAKE_GROUP {
                return (0, first.insert(waker));
            }
            self.others.get_or_init(Box::default);
        }
        let index = self.next_index.fetch_add(1, Ordering::Relaxed);
        let shard = to_u32(index / WAKE_GROUP % (1 + OTHER_SHARDS));
        (shard, self.shard(shard).lock().insert(waker))
    }

    fn shard(&self, index: u32) -> &Shard {
        match to_usize(index).checked_sub(1) {
            None => &self.first,
            Some(index) => self
                .others
                .get()
                .and_then(|shards| shards.get(index))
                .expect("a shard that has a waker exists"),
        }
    }
}

impl Registration {
    /// Returns the shard, and the number of the waker in it. The numbers in a shard are consecutive, but for
    /// those of sessions that have ended.
    pub(crate) fn place(&self) -> (u32, u32) {
        (self.shard, self.key)
    }
}

/// Wakes all of them, and then resumes the first panic, if any: the sessions behind a waker that panics
/// would otherwise sleep on.
pub(crate) fn wake_each(wakers: impl IntoIterator<Item = Waker>) {
    let mut panic: Option<Box<dyn Any + Send>> = None;
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            panic.get_or_insert(payload);
        }
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

fn clones(shard: &Shard) -> Vec<Waker> {
    shard.lock().iter().map(|(_, waker)| waker.clone()).collect()
}

/// Converts an index for a [`Registration`], where `u32` halves its memory.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 wakers fit into memory")
}

fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
