//! Calls of user code. A panic ends what the code was called for, and nothing else.
//!
//! Handlers, observers and permit pools are called in the task of a connection, and over HTTP/2 all
//! other sessions of the connection depend on that task, too.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

/// A call panicked. The panic hook has reported where and why.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Returns the result of `call`, unless it panics.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}

/// Returns the output of the future that `make` returns, unless one of them panics. A panic in the drop of
/// the future is caught as well, also if this is dropped before the end.
pub(crate) async fn catch_panic_in_future<F: Future>(
    make: impl FnOnce() -> F,
) -> Result<F::Output, Panicked> {
    let mut future = pin!(Some(catch_panic(make)?));
    let mut future = DropCatchingPanic(future.as_mut());
    poll_fn(|cx| match future.0.as_mut().as_pin_mut() {
        None => Poll::Ready(Err(Panicked)),
        Some(future) => match catch_panic(|| future.poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panicked) => Poll::Ready(Err(panicked)),
        },
    })
    .await
}

/// A pinned future that is dropped with this.
struct DropCatchingPanic<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Drop for DropCatchingPanic<'_, F> {
    fn drop(&mut self) {
        let _ = catch_panic(|| self.0.set(None));
    }
}

/// A handler whose panics are caught, in its drop as well. After a panic it is dropped, because its
/// state may be inconsistent.
#[derive(Debug)]
pub(crate) struct CatchPanic<H>(Option<H>);

impl<H> CatchPanic<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self(Some(handler))
    }

    /// Returns what is left of a handler that was dropped.
    pub(crate) fn dropped() -> Self {
        Self(None)
    }

    /// Returns the result of `call`, unless it panics or the handler was dropped.
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut H) -> T) -> Result<T, Panicked> {
        let handler = self.0.as_mut().ok_or(Panicked)?;
        let result = catch_panic(|| call(handler));
        if result.is_err() {
            self.drop_handler();
        }
        result
    }

    /// Returns the handler, unless it was dropped. The caller has to catch panics.
    pub(crate) fn get(&self) -> Option<&H> {
        self.0.as_ref()
    }

    pub(crate) fn drop_handler(&mut self) {
        let _ = catch_panic(|| drop(self.0.take()));
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.0.is_none()
    }
}

impl<H> Drop for CatchPanic<H> {
    fn drop(&mut self) {
        self.drop_handler();
    }
}
