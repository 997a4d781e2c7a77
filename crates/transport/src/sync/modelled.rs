//! The same primitives on top of loom's, with the part of their interfaces that this crate uses.
//!
//! Atomics are loom's own. The others have what their documentation guarantees, and no more.

use std::future::{Future, poll_fn};
use std::mem;
use std::ops::Add;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::sync;
pub(crate) use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic;
use loom::sync::atomic::{AtomicU64, Ordering};

/// `parking_lot`'s mutex, which is not poisoned.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no model continues after a panic with a lock")
    }
}

/// tokio's `Notify`: `notify_one` for a single waiting task, or `notify_waiters`.
#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<Notifications>);

#[derive(Debug, Default)]
struct Notifications {
    /// Set by `notify_one`, and taken by one `Notified`.
    permit: bool,
    /// The calls of `notify_waiters`.
    calls: usize,
    waiting: Vec<Waker>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.notify(|state| state.permit = true);
    }

    pub(crate) fn notify_waiters(&self) {
        self.notify(|state| state.calls += 1);
    }

    fn notify(&self, change: impl FnOnce(&mut Notifications)) {
        let waiting = {
            let mut state = self.0.lock();
            change(&mut state);
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, calls: self.0.lock().calls }
    }
}

/// A `notify_waiters` after its creation completes it, also if it was not polled before.
#[derive(Debug)]
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    /// The calls of `notify_waiters` when it was created.
    calls: usize,
}

impl Notified<'_> {
    /// Has nothing to do: see above.
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        false
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.0.lock();
        if state.calls != self.calls || mem::take(&mut state.permit) {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

/// tokio's `watch` channel.
pub(crate) mod watch {
    use super::{Mutex, MutexGuard, Notify};

    #[derive(Debug)]
    pub(crate) struct Sender<T> {
        value: Mutex<T>,
        changed: Notify,
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<'a, T>(&'a Sender<T>);

    /// A receiver borrows its sender here, so it sees no channel that is closed.
    #[derive(Debug)]
    pub(crate) struct Closed;

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: Mutex::new(value), changed: Notify::new() }
        }

        pub(crate) fn borrow(&self) -> MutexGuard<'_, T> {
            self.value.lock()
        }

        pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            let is_modified = modify(&mut self.value.lock());
            if is_modified {
                self.changed.notify_waiters();
            }
            is_modified
        }

        pub(crate) fn subscribe(&self) -> Receiver<'_, T> {
            Receiver(self)
        }
    }

    impl<T> Receiver<'_, T> {
        pub(crate) async fn wait_for(
            &mut self,
            mut condition: impl FnMut(&T) -> bool,
        ) -> Result<MutexGuard<'_, T>, Closed> {
            loop {
                let changed = self.0.changed.notified();
                let value = self.0.borrow();
                if condition(&value) {
                    return Ok(value);
                }
                drop(value);
                changed.await;
            }
        }
    }
}

/// An instant of a clock that stands still, unless a [`timeout_at`] moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

loom::lazy_static! {
    /// In nanoseconds. Each run of a model has a clock of its own.
    static ref NOW: AtomicU64 = AtomicU64::new(0);
}

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.load(Ordering::SeqCst))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().0 - self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_nanos()).expect("it is less than 500 years"))
    }
}

/// The clock does not come to the first tick of the timer service, which would repair a wake-up that was lost
/// before.
const END: Instant = Instant(250_000_000);

#[derive(Debug)]
pub(crate) struct Elapsed;

/// Waits for `future`. If it is pending, the clock moves to the deadline at once, unless that is too late.
pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if deadline < END => {
            NOW.fetch_max(deadline.0, Ordering::SeqCst);
            Poll::Ready(Err(Elapsed))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Lets all other threads run first. Each has one task.
pub(crate) async fn yield_now() {
    loom::thread::yield_now();
}
