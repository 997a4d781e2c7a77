//! A place for a session.

use std::fmt;
use std::sync::Arc;

use crate::catch_panic::guarded;

/// A place among the sessions there may be. Its drop gives it back.
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
/// use transport::Permit;
///
/// let places = Arc::new(Semaphore::new(1));
/// let permit = Permit::new(Arc::clone(&places).try_acquire_owned().unwrap());
/// assert_eq!(places.available_permits(), 0);
/// drop(permit);
/// assert_eq!(places.available_permits(), 1);
/// ```
#[must_use = "a place that nobody holds is free"]
pub struct Permit(Option<Arc<dyn PermitPool>>);

/// Whoever has places to give, and gets them back.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use transport::{PermitPool, Permit};
///
/// struct Taken(AtomicUsize);
///
/// impl PermitPool for Taken {
///     fn release(&self) {
///         self.0.fetch_sub(1, Ordering::Relaxed);
///     }
/// }
///
/// let taken = Arc::new(Taken(AtomicUsize::new(2)));
/// let slots = [Permit::of(taken.clone()), Permit::of(taken.clone())];
/// drop(slots);
/// assert_eq!(taken.0.load(Ordering::Relaxed), 0);
/// ```
pub trait PermitPool: Send + Sync + 'static {
    /// One of them is free again. Is called once for each [`Permit`], and must not block.
    fn release(&self);
}

impl Permit {
    /// A place that is given back by the drop of `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self::of(Arc::new(Guard(guard)))
    }

    /// One of these places, which has been taken. It has no memory of its own.
    pub fn of(places: Arc<dyn PermitPool>) -> Self {
        Self(Some(places))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // What it gives back may be dropped here as well, so that is guarded, too.
        let _ = guarded(|| {
            if let Some(places) = self.0.take() {
                places.release();
            }
        });
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// A place by itself, which is given back when it goes.
struct Guard<T>(T);

impl<T: Send + Sync + 'static> PermitPool for Guard<T> {
    fn release(&self) {}
}
