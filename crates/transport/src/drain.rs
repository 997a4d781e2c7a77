//! How everything that lives is told to end, and how its end is waited for.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use ws_core::CloseCode;

use crate::timer::TimerService;

/// How far a shutdown has come. [`Drain`] has an example.
///
/// Whoever lives in one has to know what to do in each, so a new one is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// There is none.
    Serving,
    /// New sessions are refused, and the open ones close.
    Draining,
    /// Whatever is left ends at once.
    Aborting,
}

impl Phase {
    /// As which generation it is announced to those who sleep.
    fn generation(self) -> u8 {
        match self {
            Self::Serving => 0,
            Self::Draining => 1,
            Self::Aborting => 2,
        }
    }

    fn of(generation: u8) -> Self {
        match generation {
            0 => Self::Serving,
            1 => Self::Draining,
            _ => Self::Aborting,
        }
    }
}

/// How sessions are told to end. [`Drain`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOptions {
    /// What their peers are told.
    pub code: CloseCode,
    /// Over how long a time they are closed, evenly. Zero is all at once.
    pub spread: Duration,
}

/// 1001, and all at once.
impl Default for DrainOptions {
    fn default() -> Self {
        Self { code: CloseCode::GOING_AWAY, spread: Duration::ZERO }
    }
}

/// The end of everything: how it is announced, and how it is waited for.
///
/// Whatever lives holds a [`DrainToken`]. Who waits for nothing else waits on a channel; sessions are woken
/// together with their deadlines, because a place in the channel would cost each of them a future.
/// Dropping the drain is the same as [`abort`](Self::abort).
///
/// ```
/// use transport::ws_core::CloseCode;
/// use transport::{Drain, DrainOptions, Phase};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (drain, wake_up) = Drain::new();
/// tokio::spawn(wake_up);
///
/// // Something that lives, and is no session. `run` takes a watch as well.
/// let watch = drain.token();
/// let worker = tokio::spawn(async move {
///     watch.past(Phase::Serving).await;
///     watch.options().code
/// });
///
/// drain.start(DrainOptions { code: CloseCode::SERVICE_RESTART, ..DrainOptions::default() });
/// drain.closed().await;
/// assert_eq!(worker.await.unwrap(), CloseCode::SERVICE_RESTART);
/// # }
/// ```
#[derive(Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    signal: watch::Sender<Signal>,
    timers: TimerService,
    tokens: AtomicUsize,
    all_dropped: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Signal {
    phase: Phase,
    options: DrainOptions,
}

impl Drain {
    /// A drain, and the keeper of the sessions that hold a [`DrainToken`] of it.
    ///
    /// Somebody has to run the keeper, in the runtime that the sessions run in and for as long as
    /// there are any: it wakes them at their deadlines and when the drain goes on, and it notices when
    /// that runtime stands still.
    #[must_use = "sessions see neither a deadline nor the drain unless their wake_up is run"]
    pub fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let signal = Signal { phase: Phase::Serving, options: DrainOptions::default() };
        let shared = Arc::new(Shared {
            signal: watch::Sender::new(signal),
            timers: TimerService::default(),
            tokens: AtomicUsize::new(0),
            all_dropped: Notify::new(),
        });
        (Self(Arc::clone(&shared)), async move { shared.timers.run().await })
    }

    /// A token for something that lives: its end is waited for until this is dropped.
    #[must_use]
    pub fn token(&self) -> DrainToken {
        DrainToken::new(&self.0)
    }

    /// Asks everyone to close. Only the first call counts, and none after [`abort`](Self::abort).
    pub fn start(&self, options: DrainOptions) {
        self.announce(Phase::Draining, |signal| signal.options = options);
    }

    /// Tells everyone to end without waiting for anything.
    pub fn abort(&self) {
        self.announce(Phase::Aborting, |_| {});
    }

    /// Waits until nobody holds a [`DrainToken`].
    pub async fn closed(&self) {
        loop {
            let mut all_dropped = pin!(self.0.all_dropped.notified());
            // It is in line before it looks, so it cannot miss the last one.
            all_dropped.as_mut().enable();
            if self.0.tokens.load(Ordering::SeqCst) == 0 {
                return;
            }
            all_dropped.await;
        }
    }

    fn announce(&self, phase: Phase, change: impl FnOnce(&mut Signal)) {
        self.0.signal.send_if_modified(|signal| {
            let is_later = phase > signal.phase;
            if is_later {
                signal.phase = phase;
                change(signal);
                self.0.timers.announce(phase.generation());
            }
            is_later
        });
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The token of something that lives, and its view of the [`Drain`], which has an example.
#[derive(Debug)]
pub struct DrainToken(Arc<Shared>);

impl DrainToken {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.tokens.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }

    /// How far the shutdown has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::of(self.0.timers.generation())
    }

    /// How a session is to end, once the shutdown has begun.
    #[must_use]
    pub fn options(&self) -> DrainOptions {
        self.0.signal.borrow().options
    }

    /// Waits until the shutdown has come further than `seen`, and says how far.
    ///
    /// Cancel safe.
    pub async fn past(&self, seen: Phase) -> Phase {
        let mut signal = self.0.signal.subscribe();
        let announced = signal.wait_for(|signal| signal.phase > seen).await;
        announced.map_or(Phase::Aborting, |signal| signal.phase)
    }
}

/// An alarm has a watch, and reaches its roster by that.
impl AsRef<TimerService> for DrainToken {
    fn as_ref(&self) -> &TimerService {
        &self.0.timers
    }
}

impl Clone for DrainToken {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for DrainToken {
    fn drop(&mut self) {
        if self.0.tokens.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.all_dropped.notify_waiters();
        }
    }
}
