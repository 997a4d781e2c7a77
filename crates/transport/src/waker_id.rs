//! Which waker lies somewhere, without looking there.

use std::ptr;
use std::task::Waker;

/// What tells a waker from every other, as [`Waker::will_wake`] does, for as long as it is kept.
///
/// A session compares it at each wake-up with that of the waker that it has left with others. These keep
/// it behind a lock, and a second one beside the session would take 16 bytes.
///
/// Two wakers are the same if their data and their vtable are, so both are in this one word. Those with
/// the same data or the same vtable are told apart for certain. So are others, unless their vtables are a
/// multiple of 64 KiB apart: no address of a process has the highest bits, which get a vtable's lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakerId(usize);

impl WakerId {
    /// That of no waker that matters.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(waker: &Waker) -> Self {
        let vtable = ptr::from_ref(waker.vtable()).addr();
        Self(waker.data().addr() ^ vtable.rotate_left(usize::BITS - 16))
    }
}
