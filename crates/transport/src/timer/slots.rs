//! Who sleeps, and until when.

use std::mem;
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;

use super::instant::TimerInstant;

/// Everyone who may sleep, each on a seat of their own.
///
/// A search tree by the moment would take twice the memory for each sleeper, and two searches for each
/// change. Here a change is made in place, and what is due is found by looking through the rows that may
/// have any.
#[derive(Debug, Default)]
pub(crate) struct Slots([Mutex<Shard>; SHARDS]);

/// Sleepers touch a shard when their moment changes, which is at a ping and at its pong; there are
/// enough for them not to wait for each other.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    chunks: Vec<Chunk>,
    /// No row before this one has a free seat.
    first_vacant: usize,
}

/// So many are looked through at once, which are 1,536 bytes in one piece.
const CHUNK: usize = 64;

#[derive(Debug)]
struct Chunk {
    /// Nobody here is to be woken before. It may be earlier than it has to be.
    earliest: TimerInstant,
    slots: Slab<Slot>,
}

#[derive(Debug)]
struct Slot {
    at: TimerInstant,
    waker: Waker,
}

/// Where somebody sleeps. Those who come one after the other have seats that follow one another, as
/// far as none has become free in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey(u32);

impl TimerKey {
    /// The shards take turns, or those who open together and are pinged together would share one.
    fn new(chunk: usize, column: usize, shard: usize) -> Self {
        let key = (chunk * CHUNK + column) * SHARDS + shard;
        Self(u32::try_from(key).expect("there is no memory for four billion sessions"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn chunk(self) -> usize {
        self.index() / SHARDS / CHUNK
    }

    fn column(self) -> usize {
        self.index() / SHARDS % CHUNK
    }

    fn shard(self) -> usize {
        self.index() % SHARDS
    }
}

impl Slots {
    /// A seat for the one who comes after so many, and is not to be woken yet.
    pub(crate) fn insert(&self, before: u64) -> TimerKey {
        let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
        let shard = usize::try_from(before % shards).unwrap_or_default();
        let (chunk, column) = self.shard(shard).insert();
        TimerKey::new(chunk, column, shard)
    }

    /// Sets when to wake the one at this seat, and whom that wakes, if that has changed. Gives back
    /// the waker that was there, which is to be dropped when nothing is locked: with a waker goes what
    /// only it has kept.
    #[must_use]
    pub(crate) fn set(
        &self,
        key: TimerKey,
        at: TimerInstant,
        waker: Option<Waker>,
    ) -> Option<Waker> {
        let mut shard = self.shard(key.shard());
        let chunk = shard.chunks.get_mut(key.chunk())?;
        let slot = chunk.slots.get_mut(key.column())?;
        slot.at = at;
        chunk.earliest = chunk.earliest.min(at);
        waker.map(|waker| mem::replace(&mut slot.waker, waker))
    }

    /// Makes a seat free. Gives back its waker, as [`set`](Self::set) does.
    #[must_use]
    pub(crate) fn remove(&self, key: TimerKey) -> Option<Waker> {
        let mut shard = self.shard(key.shard());
        let chunk = shard.chunks.get_mut(key.chunk())?;
        let slot = chunk.slots.try_remove(key.column())?;
        if chunk.slots.is_empty() {
            chunk.slots = Slab::new();
        }
        shard.first_vacant = shard.first_vacant.min(key.chunk());
        Some(slot.waker)
    }

    /// Nobody is to be woken before.
    pub(crate) fn earliest(&self) -> TimerInstant {
        let shards = self.0.iter().map(Mutex::lock);
        let chunks =
            shards.filter_map(|shard| shard.chunks.iter().map(|chunk| chunk.earliest).min());
        chunks.min().unwrap_or(TimerInstant::NEVER)
    }

    /// Takes out those whose moment has come, in the order of their seats: what neighbours have in
    /// memory, here and in the system, lies together, and is used together then.
    ///
    /// `None` if there was nothing to look for.
    pub(crate) fn take_due(&self, now: TimerInstant) -> Option<impl Iterator<Item = Waker>> {
        let mut has_looked = false;
        let mut due = Vec::new();
        for (index, mut shard) in self.0.iter().map(Mutex::lock).enumerate() {
            let chunks = shard.chunks.iter_mut().enumerate();
            for (id, chunk) in chunks.filter(|(_, chunk)| chunk.earliest <= now) {
                has_looked = true;
                chunk.earliest = TimerInstant::NEVER;
                for (column, slot) in &mut chunk.slots {
                    if slot.at <= now {
                        slot.at = TimerInstant::NEVER;
                        due.push((TimerKey::new(id, column, index), slot.waker.clone()));
                    }
                    chunk.earliest = chunk.earliest.min(slot.at);
                }
            }
        }
        due.sort_unstable_by_key(|(key, _)| *key);
        has_looked.then(|| due.into_iter().map(|(_, waker)| waker))
    }

    /// Everyone, in the same order. Nothing is locked between two of them, so who comes or leaves
    /// meanwhile may be among them or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = Waker> {
        let chunks = self
            .0
            .iter()
            .map(Mutex::lock)
            .map(|shard| shard.chunks.len())
            .max()
            .unwrap_or_default();
        let columns = (0..chunks).flat_map(|chunk| (0..CHUNK).map(move |column| (chunk, column)));
        let seats = columns
            .flat_map(|(chunk, column)| (0..SHARDS).map(move |shard| (chunk, column, shard)));
        seats.filter_map(|(chunk, column, shard)| {
            let shard = self.shard(shard);
            let slot = shard.chunks.get(chunk)?.slots.get(column)?;
            Some(slot.waker.clone())
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.0.get(index).expect("the remainder is smaller than the divisor").lock()
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
        let chunk = self.chunks.get_mut(self.first_vacant).expect("there is one now");
        if chunk.slots.capacity() == 0 {
            chunk.slots.reserve_exact(CHUNK);
        }
        let nobody = Slot { at: TimerInstant::NEVER, waker: Waker::noop().clone() };
        (self.first_vacant, chunk.slots.insert(nobody))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Somebody who notes when they are woken.
    struct Guest(u32, Arc<Mutex<Vec<u32>>>);

    impl Wake for Guest {
        fn wake(self: Arc<Self>) {
            self.1.lock().push(self.0);
        }
    }

    /// What is kept here for comparison: who has which seat, and is to be woken when.
    type Guests = BTreeMap<TimerKey, (u32, TimerInstant)>;

    #[test]
    fn however_they_come_and_go_each_is_woken_once_at_the_moment_that_was_set_last() {
        let (slots, woken) = (Slots::default(), Arc::new(Mutex::new(Vec::new())));
        let (mut guests, mut now) = (Guests::new(), TimerInstant::START);
        let mut dice = 1_u64;
        let mut throw = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(dice >> 33).expect("31 bits") % sides
        };
        let mut wakings = 0;
        for id in 0..30_000 {
            let any = guests.keys().nth(throw(guests.len().max(1))).copied();
            match (throw(10), any) {
                (0..3, _) => {
                    let key = slots.insert(id.into());
                    let before = guests.insert(key, (id, TimerInstant::NEVER));
                    assert_eq!(before, None, "nobody gets a key that is taken");
                    let waker = Arc::new(Guest(id, Arc::clone(&woken))).into();
                    drop(slots.set(key, TimerInstant::NEVER, Some(waker)));
                }
                (3..5, Some(key)) => {
                    guests.remove(&key);
                    drop(slots.remove(key));
                }
                (5..9, Some(key)) => {
                    let at = now + Duration::from_millis(throw(1000).try_into().expect("small"));
                    guests.entry(key).and_modify(|guest| guest.1 = at);
                    assert!(slots.set(key, at, None).is_none());
                }
                _ => {
                    now = now + Duration::from_millis(throw(20).try_into().expect("small"));
                    let due = guests.values_mut().filter(|(_, at)| *at <= now);
                    let due = due.map(|(id, at)| {
                        *at = TimerInstant::NEVER;
                        *id
                    });
                    let due: Vec<u32> = due.collect();
                    let is_due = slots.earliest() <= now;
                    let taken = slots.take_due(now);
                    assert_eq!(taken.is_some(), is_due);
                    taken.into_iter().flatten().for_each(Waker::wake);
                    assert_eq!(*woken.lock(), due, "in the order of their seats");
                    wakings += woken.lock().drain(..).count();
                }
            }
            let earliest = guests.values().map(|(_, at)| *at).min();
            assert!(slots.earliest() <= earliest.unwrap_or(TimerInstant::NEVER));
        }
        assert!(wakings > 1000, "{wakings}");
        slots.all().for_each(Waker::wake);
        assert!(woken.lock().iter().eq(guests.values().map(|(id, _)| id)));
    }

    #[test]
    fn who_has_been_woken_is_not_looked_for_again() {
        let slots = Slots::default();
        let key = slots.insert(0);
        let at = TimerInstant::START + Duration::from_secs(1);
        drop(slots.set(key, at, None));
        assert!(slots.take_due(TimerInstant::START).is_none());
        assert_eq!(slots.take_due(at).into_iter().flatten().count(), 1);
        assert_eq!(slots.earliest(), TimerInstant::NEVER);
        assert!(slots.take_due(at).is_none());
    }

    #[test]
    fn free_seats_are_taken_before_there_are_more() {
        let slots = Slots::default();
        let seats: Vec<TimerKey> = (0..10_000).map(|before| slots.insert(before)).collect();
        assert!(seats.is_sorted(), "those who come one after the other are neighbours");
        seats.iter().step_by(3).for_each(|key| drop(slots.remove(*key)));
        let again = (0..3000).map(|before| slots.insert(before)).max();
        assert!(again <= seats.last().copied());
    }
}
