//! A place for a session.

use std::fmt;
use std::sync::Arc;

use crate::catch_panic::guarded;

/// A place among the sessions there may be. Its drop gives it back.
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
/// use transport::Slot;
///
/// let places = Arc::new(Semaphore::new(1));
/// let slot = Slot::new(Arc::clone(&places).try_acquire_owned().unwrap());
/// assert_eq!(places.available_permits(), 0);
/// drop(slot);
/// assert_eq!(places.available_permits(), 1);
/// ```
#[must_use = "a place that nobody holds is free"]
pub struct Slot(Option<Arc<dyn Places>>);

/// Whoever has places to give, and gets them back.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use transport::{Places, Slot};
///
/// struct Taken(AtomicUsize);
///
/// impl Places for Taken {
///     fn give_back(&self) {
///         self.0.fetch_sub(1, Ordering::Relaxed);
///     }
/// }
///
/// let taken = Arc::new(Taken(AtomicUsize::new(2)));
/// let slots = [Slot::of(taken.clone()), Slot::of(taken.clone())];
/// drop(slots);
/// assert_eq!(taken.0.load(Ordering::Relaxed), 0);
/// ```
pub trait Places: Send + Sync + 'static {
    /// One of them is free again. Is called once for each [`Slot`], and must not block.
    fn give_back(&self);
}

impl Slot {
    /// A place that is given back by the drop of `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self::of(Arc::new(Guard(guard)))
    }

    /// One of these places, which has been taken. It has no memory of its own.
    pub fn of(places: Arc<dyn Places>) -> Self {
        Self(Some(places))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What it gives back may be dropped here as well, so that is guarded, too.
        let _ = guarded(|| {
            if let Some(places) = self.0.take() {
                places.give_back();
            }
        });
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// A place by itself, which is given back when it goes.
struct Guard<T>(T);

impl<T: Send + Sync + 'static> Places for Guard<T> {
    fn give_back(&self) {}
}
