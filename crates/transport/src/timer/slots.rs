//! The deadline and the waker of each timer.

use std::mem;
use std::task::Waker;

use slab::Slab;

use super::instant::TimerInstant;
use crate::sync::{Mutex, MutexGuard};

/// One slot for each timer.
///
/// A search tree ordered by deadline would take twice the memory for each timer, and two searches for
/// each change. Here a change is made in place, and due timers are found by scanning the chunks that may
/// have some.
#[derive(Debug, Default)]
pub(crate) struct Slots([Mutex<Shard>; SHARDS]);

/// A timer locks its shard when its deadline changes, which is at a ping and at its pong. With this many
/// shards timers rarely wait for each other.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    chunks: Vec<Chunk>,
    /// All chunks before this one are full.
    first_vacant: usize,
}

/// The slots of a chunk, which are scanned together: 1,536 contiguous bytes. A model needs no more than two.
const CHUNK: usize = if cfg!(loom_models) { 2 } else { 64 };

#[derive(Debug)]
struct Chunk {
    /// A lower bound of the deadlines in this chunk.
    earliest: TimerInstant,
    slots: Slab<Slot>,
}

#[derive(Debug)]
struct Slot {
    deadline: TimerInstant,
    waker: Waker,
}

/// The position of a timer's slot. Timers that are created one after the other get consecutive keys,
/// unless slots were freed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey(u32);

impl TimerKey {
    /// Consecutive keys are in different shards: tasks that start together set their deadlines
    /// together, and would contend for one shard.
    fn new(chunk: usize, offset: usize, shard: usize) -> Self {
        let key = (chunk * CHUNK + offset) * SHARDS + shard;
        Self(u32::try_from(key).expect("there is no memory for four billion timers"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn chunk(self) -> usize {
        self.index() / SHARDS / CHUNK
    }

    /// The index of the slot in its chunk.
    fn offset(self) -> usize {
        self.index() / SHARDS % CHUNK
    }

    fn shard(self) -> usize {
        self.index() % SHARDS
    }
}

impl Slots {
    /// Reserves a slot without a deadline. `index` is the number of timers that were created before.
    pub(crate) fn insert(&self, index: u64) -> TimerKey {
        let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
        let shard = usize::try_from(index % shards).unwrap_or_default();
        let (chunk, offset) = self.shard(shard).insert();
        TimerKey::new(chunk, offset, shard)
    }

    /// Sets the deadline of a slot, and its waker if one is given.
    ///
    /// Returns the previous waker if it was replaced. The caller drops it while no lock is held, because
    /// this may drop a task that only the waker kept alive.
    #[must_use]
    pub(crate) fn set(
        &self,
        key: TimerKey,
        deadline: TimerInstant,
        waker: Option<Waker>,
    ) -> Option<Waker> {
        let mut shard = self.shard(key.shard());
        let chunk = shard.chunks.get_mut(key.chunk())?;
        let slot = chunk.slots.get_mut(key.offset())?;
        slot.deadline = deadline;
        chunk.earliest = chunk.earliest.min(deadline);
        waker.map(|waker| mem::replace(&mut slot.waker, waker))
    }

    /// Frees a slot. Returns its waker, which is dropped as for [`set`](Self::set).
    #[must_use]
    pub(crate) fn remove(&self, key: TimerKey) -> Option<Waker> {
        let mut shard = self.shard(key.shard());
        let chunk = shard.chunks.get_mut(key.chunk())?;
        let slot = chunk.slots.try_remove(key.offset())?;
        if chunk.slots.is_empty() {
            chunk.slots = Slab::new();
        }
        shard.first_vacant = shard.first_vacant.min(key.chunk());
        Some(slot.waker)
    }

    /// Returns a lower bound of all deadlines.
    pub(crate) fn earliest(&self) -> TimerInstant {
        let shards = self.0.iter().map(Mutex::lock);
        let chunks =
            shards.filter_map(|shard| shard.chunks.iter().map(|chunk| chunk.earliest).min());
        chunks.min().unwrap_or(TimerInstant::NEVER)
    }

    /// Clears the deadlines that have passed, and returns the wakers of their timers in the order of
    /// keys: the state of tasks with consecutive keys lies together in memory, here and in the
    /// kernel, and is used together then.
    ///
    /// Returns `None` if no chunk had to be scanned.
    pub(crate) fn take_due(&self, now: TimerInstant) -> Option<impl Iterator<Item = Waker>> {
        let mut has_scanned = false;
        let mut due = Vec::new();
        for (index, mut shard) in self.0.iter().map(Mutex::lock).enumerate() {
            let chunks = shard.chunks.iter_mut().enumerate();
            for (id, chunk) in chunks.filter(|(_, chunk)| chunk.earliest <= now) {
                has_scanned = true;
                chunk.earliest = TimerInstant::NEVER;
                for (offset, slot) in &mut chunk.slots {
                    if slot.deadline <= now {
                        slot.deadline = TimerInstant::NEVER;
                        due.push((TimerKey::new(id, offset, index), slot.waker.clone()));
                    }
                    chunk.earliest = chunk.earliest.min(slot.deadline);
                }
            }
        }
        due.sort_unstable_by_key(|(key, _)| *key);
        has_scanned.then(|| due.into_iter().map(|(_, waker)| waker))
    }

    /// Returns the wakers of all timers in the order of keys. No lock is held between two of them, so a
    /// timer that is created or dropped in the meantime may be included or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = Waker> {
        let chunks = self
            .0
            .iter()
            .map(Mutex::lock)
            .map(|shard| shard.chunks.len())
            .max()
            .unwrap_or_default();
        let offsets = (0..chunks).flat_map(|chunk| (0..CHUNK).map(move |offset| (chunk, offset)));
        let positions = offsets
            .flat_map(|(chunk, offset)| (0..SHARDS).map(move |shard| (chunk, offset, shard)));
        positions.filter_map(|(chunk, offset, shard)| {
            let shard = self.shard(shard);
            let slot = shard.chunks.get(chunk)?.slots.get(offset)?;
            Some(slot.waker.clone())
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.0.get(index).expect("the index of a shard is less than SHARDS").lock()
    }
}

impl Shard {
    fn insert(&mut self) -> (usize, usize) {
        let is_full = |chunk: &Chunk| chunk.slots.len() == CHUNK;
        while self.chunks.get(self.first_vacant).is_some_and(is_full) {
            self.first_vacant += 1;
        }
        if self.chunks.len() == self.first_vacant {
            self.chunks.push(Chunk { earliest: TimerInstant::NEVER, slots: Slab::new() });
        }
        let chunk =
            self.chunks.get_mut(self.first_vacant).expect("a chunk was added if none was vacant");
        if chunk.slots.capacity() == 0 {
            chunk.slots.reserve_exact(CHUNK);
        }
        let slot = Slot { deadline: TimerInstant::NEVER, waker: Waker::noop().clone() };
        (self.first_vacant, chunk.slots.insert(slot))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Records its id when it is woken.
    struct RecordingWaker(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for RecordingWaker {
        fn wake(self: Arc<Self>) {
            self.1.lock().push(self.0);
        }
    }

    /// The reference model: the id and the deadline of each timer.
    type Model = BTreeMap<TimerKey, (u32, TimerInstant)>;

    #[test]
    fn in_any_history_each_timer_is_woken_once_at_its_latest_deadline() {
        let (slots, woken) = (Slots::default(), Arc::new(Mutex::new(Vec::new())));
        let (mut model, mut now) = (Model::new(), TimerInstant::START);
        let mut rng = 1_u64;
        let mut random = |bound: usize| {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(rng >> 33).expect("31 bits") % bound
        };
        let mut wake_count = 0;
        for id in 0..30_000 {
            let any = model.keys().nth(random(model.len().max(1))).copied();
            match (random(10), any) {
                (0..3, _) => {
                    let key = slots.insert(id.into());
                    let previous = model.insert(key, (id, TimerInstant::NEVER));
                    assert_eq!(previous, None, "the key of another timer");
                    let waker = Arc::new(RecordingWaker(id, Arc::clone(&woken))).into();
                    drop(slots.set(key, TimerInstant::NEVER, Some(waker)));
                }
                (3..5, Some(key)) => {
                    model.remove(&key);
                    drop(slots.remove(key));
                }
                (5..9, Some(key)) => {
                    let delay = Duration::from_millis(random(1000).try_into().expect("small"));
                    let deadline = now + delay;
                    model.entry(key).and_modify(|timer| timer.1 = deadline);
                    assert!(slots.set(key, deadline, None).is_none());
                }
                _ => {
                    now = now + Duration::from_millis(random(20).try_into().expect("small"));
                    let due = model.values_mut().filter(|(_, deadline)| *deadline <= now);
                    let due = due.map(|(id, deadline)| {
                        *deadline = TimerInstant::NEVER;
                        *id
                    });
                    let due: Vec<u32> = due.collect();
                    let is_due = slots.earliest() <= now;
                    let taken = slots.take_due(now);
                    assert_eq!(taken.is_some(), is_due);
                    taken.into_iter().flatten().for_each(Waker::wake);
                    assert_eq!(*woken.lock(), due, "in the order of keys");
                    wake_count += woken.lock().drain(..).count();
                }
            }
            let earliest = model.values().map(|(_, deadline)| *deadline).min();
            assert!(slots.earliest() <= earliest.unwrap_or(TimerInstant::NEVER));
        }
        assert!(wake_count > 1000, "{wake_count}");
        slots.all().for_each(Waker::wake);
        assert!(woken.lock().iter().eq(model.values().map(|(id, _)| id)));
    }

    #[test]
    fn a_timer_that_was_due_is_not_due_again() {
        let slots = Slots::default();
        let key = slots.insert(0);
        let deadline = TimerInstant::START + Duration::from_secs(1);
        drop(slots.set(key, deadline, None));
        assert!(slots.take_due(TimerInstant::START).is_none());
        assert_eq!(slots.take_due(deadline).into_iter().flatten().count(), 1);
        assert_eq!(slots.earliest(), TimerInstant::NEVER);
        assert!(slots.take_due(deadline).is_none());
    }

    #[test]
    fn vacant_slots_are_reused_before_chunks_are_added() {
        let slots = Slots::default();
        let keys: Vec<TimerKey> = (0..10_000).map(|index| slots.insert(index)).collect();
        assert!(keys.is_sorted(), "consecutive timers have ascending keys");
        keys.iter().step_by(3).for_each(|key| drop(slots.remove(*key)));
        let reused = (0..3000).map(|index| slots.insert(index)).max();
        assert!(reused <= keys.last().copied());
    }
}
