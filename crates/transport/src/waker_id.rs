//! A waker's identity, without the waker.

use std::ptr;
use std::task::Waker;

/// Distinguishes a waker from all others, as [`Waker::will_wake`] does, while a clone of it is kept.
///
/// At each poll a session compares the current waker with the one that it has registered. That one is
/// kept behind a lock, and a second clone in the session would take 16 bytes.
///
/// Two wakers are the same if their data and vtable pointers are, so this word has both. Wakers with the
/// same data or the same vtable never collide. Others do only if their vtables are a multiple of 64 KiB
/// apart: the highest bits of an address in user space are zero, and take the lowest of the vtable's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakerId(usize);

impl WakerId {
    /// The id before a waker is registered.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(waker: &Waker) -> Self {
        let vtable = ptr::from_ref(waker.vtable()).addr();
        Self(waker.data().addr() ^ vtable.rotate_left(usize::BITS - 16))
    }
}
