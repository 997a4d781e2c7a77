//! Who sleeps, and until when.

use std::mem;
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;

use super::instant::Moment;

/// Everyone who may sleep, each on a seat of their own.
///
/// A search tree by the moment would take twice the memory for each sleeper, and two searches for each
/// change. Here a change is made in place, and what is due is found by looking through the rows that may
/// have any.
#[derive(Debug, Default)]
pub(crate) struct Sleepers([Mutex<Shard>; SHARDS]);

/// Sleepers touch a shard when their moment changes, which is at a ping and at its pong; there are
/// enough for them not to wait for each other.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    rows: Vec<Row>,
    /// No row before this one has a free seat.
    vacant: usize,
}

/// So many are looked through at once, which are 1,536 bytes in one piece.
const ROW: usize = 64;

#[derive(Debug)]
struct Row {
    /// Nobody here is to be woken before. It may be earlier than it has to be.
    earliest: Moment,
    sleepers: Slab<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    at: Moment,
    waker: Waker,
}

/// Where somebody sleeps. Those who come one after the other have seats that follow one another, as
/// far as none has become free in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat(u32);

impl Seat {
    /// The shards take turns, or those who open together and are pinged together would share one.
    fn new(row: usize, column: usize, shard: usize) -> Self {
        let seat = (row * ROW + column) * SHARDS + shard;
        Self(u32::try_from(seat).expect("there is no memory for four billion sessions"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn row(self) -> usize {
        self.index() / SHARDS / ROW
    }

    fn column(self) -> usize {
        self.index() / SHARDS % ROW
    }

    fn shard(self) -> usize {
        self.index() % SHARDS
    }
}

impl Sleepers {
    /// A seat for the one who comes after so many, and is not to be woken yet.
    pub(crate) fn enter(&self, before: u64) -> Seat {
        let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
        let shard = usize::try_from(before % shards).unwrap_or_default();
        let (row, column) = self.shard(shard).enter();
        Seat::new(row, column, shard)
    }

    /// Sets when to wake the one at this seat, and whom that wakes, if that has changed. Gives back
    /// the waker that was there, which is to be dropped when nothing is locked: with a waker goes what
    /// only it has kept.
    #[must_use]
    pub(crate) fn set(&self, seat: Seat, at: Moment, waker: Option<Waker>) -> Option<Waker> {
        let mut shard = self.shard(seat.shard());
        let row = shard.rows.get_mut(seat.row())?;
        let sleeper = row.sleepers.get_mut(seat.column())?;
        sleeper.at = at;
        row.earliest = row.earliest.min(at);
        waker.map(|waker| mem::replace(&mut sleeper.waker, waker))
    }

    /// Makes a seat free. Gives back its waker, as [`set`](Self::set) does.
    #[must_use]
    pub(crate) fn leave(&self, seat: Seat) -> Option<Waker> {
        let mut shard = self.shard(seat.shard());
        let row = shard.rows.get_mut(seat.row())?;
        let sleeper = row.sleepers.try_remove(seat.column())?;
        if row.sleepers.is_empty() {
            row.sleepers = Slab::new();
        }
        shard.vacant = shard.vacant.min(seat.row());
        Some(sleeper.waker)
    }

    /// Nobody is to be woken before.
    pub(crate) fn earliest(&self) -> Moment {
        let shards = self.0.iter().map(Mutex::lock);
        let rows = shards.filter_map(|shard| shard.rows.iter().map(|row| row.earliest).min());
        rows.min().unwrap_or(Moment::NEVER)
    }

    /// Takes out those whose moment has come, in the order of their seats: what neighbours have in
    /// memory, here and in the system, lies together, and is used together then.
    ///
    /// `None` if there was nothing to look for.
    pub(crate) fn take_due(&self, now: Moment) -> Option<impl Iterator<Item = Waker>> {
        let mut has_looked = false;
        let mut due = Vec::new();
        for (index, mut shard) in self.0.iter().map(Mutex::lock).enumerate() {
            let rows = shard.rows.iter_mut().enumerate();
            for (number, row) in rows.filter(|(_, row)| row.earliest <= now) {
                has_looked = true;
                row.earliest = Moment::NEVER;
                for (column, sleeper) in &mut row.sleepers {
                    if sleeper.at <= now {
                        sleeper.at = Moment::NEVER;
                        due.push((Seat::new(number, column, index), sleeper.waker.clone()));
                    }
                    row.earliest = row.earliest.min(sleeper.at);
                }
            }
        }
        due.sort_unstable_by_key(|(seat, _)| *seat);
        has_looked.then(|| due.into_iter().map(|(_, waker)| waker))
    }

    /// Everyone, in the same order. Nothing is locked between two of them, so who comes or leaves
    /// meanwhile may be among them or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = Waker> {
        let rows =
            self.0.iter().map(Mutex::lock).map(|shard| shard.rows.len()).max().unwrap_or_default();
        let columns = (0..rows).flat_map(|row| (0..ROW).map(move |column| (row, column)));
        let seats =
            columns.flat_map(|(row, column)| (0..SHARDS).map(move |shard| (row, column, shard)));
        seats.filter_map(|(row, column, shard)| {
            let shard = self.shard(shard);
            let sleeper = shard.rows.get(row)?.sleepers.get(column)?;
            Some(sleeper.waker.clone())
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.0.get(index).expect("the remainder is smaller than the divisor").lock()
    }
}

impl Shard {
    fn enter(&mut self) -> (usize, usize) {
        let is_full = |row: &Row| row.sleepers.len() == ROW;
        while self.rows.get(self.vacant).is_some_and(is_full) {
            self.vacant += 1;
        }
        if self.rows.len() == self.vacant {
            self.rows.push(Row { earliest: Moment::NEVER, sleepers: Slab::new() });
        }
        let row = self.rows.get_mut(self.vacant).expect("there is one now");
        if row.sleepers.capacity() == 0 {
            row.sleepers.reserve_exact(ROW);
        }
        let nobody = Sleeper { at: Moment::NEVER, waker: Waker::noop().clone() };
        (self.vacant, row.sleepers.insert(nobody))
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
    type Guests = BTreeMap<Seat, (u32, Moment)>;

    #[test]
    fn however_they_come_and_go_each_is_woken_once_at_the_moment_that_was_set_last() {
        let (sleepers, woken) = (Sleepers::default(), Arc::new(Mutex::new(Vec::new())));
        let (mut guests, mut now) = (Guests::new(), Moment::BIRTH);
        let mut dice = 1_u64;
        let mut throw = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(dice >> 33).expect("31 bits") % sides
        };
        let mut wakings = 0;
        for number in 0..30_000 {
            let any = guests.keys().nth(throw(guests.len().max(1))).copied();
            match (throw(10), any) {
                (0..3, _) => {
                    let seat = sleepers.enter(number.into());
                    let before = guests.insert(seat, (number, Moment::NEVER));
                    assert_eq!(before, None, "nobody gets a seat that is taken");
                    let waker = Arc::new(Guest(number, Arc::clone(&woken))).into();
                    drop(sleepers.set(seat, Moment::NEVER, Some(waker)));
                }
                (3..5, Some(seat)) => {
                    guests.remove(&seat);
                    drop(sleepers.leave(seat));
                }
                (5..9, Some(seat)) => {
                    let at = now + Duration::from_millis(throw(1000).try_into().expect("small"));
                    guests.entry(seat).and_modify(|guest| guest.1 = at);
                    assert!(sleepers.set(seat, at, None).is_none());
                }
                _ => {
                    now = now + Duration::from_millis(throw(20).try_into().expect("small"));
                    let due = guests.values_mut().filter(|(_, at)| *at <= now);
                    let due = due.map(|(number, at)| {
                        *at = Moment::NEVER;
                        *number
                    });
                    let due: Vec<u32> = due.collect();
                    let is_due = sleepers.earliest() <= now;
                    let taken = sleepers.take_due(now);
                    assert_eq!(taken.is_some(), is_due);
                    taken.into_iter().flatten().for_each(Waker::wake);
                    assert_eq!(*woken.lock(), due, "in the order of their seats");
                    wakings += woken.lock().drain(..).count();
                }
            }
            let earliest = guests.values().map(|(_, at)| *at).min();
            assert!(sleepers.earliest() <= earliest.unwrap_or(Moment::NEVER));
        }
        assert!(wakings > 1000, "{wakings}");
        sleepers.all().for_each(Waker::wake);
        assert!(woken.lock().iter().eq(guests.values().map(|(number, _)| number)));
    }

    #[test]
    fn who_has_been_woken_is_not_looked_for_again() {
        let sleepers = Sleepers::default();
        let seat = sleepers.enter(0);
        let at = Moment::BIRTH + Duration::from_secs(1);
        drop(sleepers.set(seat, at, None));
        assert!(sleepers.take_due(Moment::BIRTH).is_none());
        assert_eq!(sleepers.take_due(at).into_iter().flatten().count(), 1);
        assert_eq!(sleepers.earliest(), Moment::NEVER);
        assert!(sleepers.take_due(at).is_none());
    }

    #[test]
    fn free_seats_are_taken_before_there_are_more() {
        let sleepers = Sleepers::default();
        let seats: Vec<Seat> = (0..10_000).map(|before| sleepers.enter(before)).collect();
        assert!(seats.is_sorted(), "those who come one after the other are neighbours");
        seats.iter().step_by(3).for_each(|seat| drop(sleepers.leave(*seat)));
        let again = (0..3000).map(|before| sleepers.enter(before)).max();
        assert!(again <= seats.last().copied());
    }
}
