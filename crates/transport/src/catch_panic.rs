//! Calls of code that is not ours: its panic ends what it was called for, and nothing around it.
//!
//! Handlers, observers and places are called on the way of a connection, and over HTTP/2 that is also
//! the way of all other sessions of the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A call panicked. The panic hook has told where and why.
#[derive(Debug)]
pub(crate) struct Panicked;

/// What `call` returns, unless it panics.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}

/// A handler whose panics end here. After one it is gone, since what was interrupted in the middle is
/// not used again. Its drop is guarded as well.
#[derive(Debug)]
pub(crate) struct Guarded<H>(Option<H>);

impl<H> Guarded<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self(Some(handler))
    }

    /// What `call` makes of the handler; nothing, if it panics or the handler is gone.
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut H) -> T) -> Result<T, Panicked> {
        let handler = self.0.as_mut().ok_or(Panicked)?;
        let result = guarded(|| call(handler));
        if result.is_err() {
            self.forget();
        }
        result
    }

    /// Drops the handler.
    pub(crate) fn forget(&mut self) {
        let _ = guarded(|| drop(self.0.take()));
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_none()
    }
}

impl<H> Drop for Guarded<H> {
    fn drop(&mut self) {
        self.forget();
    }
}
