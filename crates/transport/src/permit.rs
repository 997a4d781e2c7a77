//! Permits, which limit the number of sessions.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::catch_panic::catch_panic;

/// A permit for one session. Dropping it returns it to its pool.
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
/// use transport::Permit;
///
/// let semaphore = Arc::new(Semaphore::new(1));
/// let permit = Permit::new(Arc::clone(&semaphore).try_acquire_owned().unwrap());
/// assert_eq!(semaphore.available_permits(), 0);
/// drop(permit);
/// assert_eq!(semaphore.available_permits(), 1);
/// ```
#[must_use = "dropping a permit releases it"]
pub struct Permit(Option<Arc<dyn PermitPool>>);

/// A pool that permits are returned to.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use transport::{PermitPool, Permit};
///
/// struct InUse(AtomicUsize);
///
/// impl PermitPool for InUse {
///     fn release(&self) {
///         self.0.fetch_sub(1, Ordering::Relaxed);
///     }
/// }
///
/// let in_use = Arc::new(InUse(AtomicUsize::new(2)));
/// let permits = [Permit::of(in_use.clone()), Permit::of(in_use.clone())];
/// drop(permits);
/// assert_eq!(in_use.0.load(Ordering::Relaxed), 0);
/// ```
pub trait PermitPool: Any + Send + Sync {
    /// Returns one permit to the pool. Called once for each [`Permit`]. Must not block.
    fn release(&self);
}

impl Permit {
    /// Creates a permit that drops `guard` when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self::of(Arc::new(Guard(guard)))
    }

    /// Creates a permit that the caller has acquired from `pool`. This allocates nothing.
    pub fn of(pool: Arc<dyn PermitPool>) -> Self {
        Self(Some(pool))
    }

    /// Returns the pool, for code that knows its type.
    #[must_use]
    pub fn pool(&self) -> Option<&dyn Any> {
        self.0.as_deref().map(|pool| -> &dyn Any { pool })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Within the call, because this may drop the pool as well.
        let _ = catch_panic(|| {
            if let Some(pool) = self.0.take() {
                pool.release();
            }
        });
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// The pool of a single permit: dropping it drops the guard.
struct Guard<T>(T);

impl<T: Send + Sync + 'static> PermitPool for Guard<T> {
    fn release(&self) {}
}
