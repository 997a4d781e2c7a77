//! How everything that lives is told to end, and how its end is waited for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use ws_core::CloseCode;

use crate::roster::Roster;

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// There is none.
    Serving,
    /// New sessions are refused, and the open ones close.
    Draining,
    /// Whatever is left ends at once.
    Aborting,
}

/// How sessions are told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// What their peers are told.
    pub code: CloseCode,
    /// Over how long a time they are closed, evenly. Zero is all at once.
    pub spread: Duration,
}

/// 1001, and all at once.
impl Default for Farewell {
    fn default() -> Self {
        Self { code: CloseCode::GOING_AWAY, spread: Duration::ZERO }
    }
}

/// The end of everything: a signal, a registry and a wait in one channel.
///
/// The channel's value is the signal. Its receivers are the registry: whatever lives holds a
/// [`Watch`]. And it tells when the last of them is gone.
/// Sessions do not wait on the channel, which would cost each of them a future, but are woken
/// together with their deadlines.
/// Dropping it is the same as [`abort`](Self::abort).
#[derive(Debug)]
pub struct Drain {
    signal: watch::Sender<Signal>,
    roster: Arc<Roster>,
}

#[derive(Clone, Copy, Debug)]
struct Signal {
    phase: Phase,
    farewell: Farewell,
}

impl Drain {
    /// A drain, and the keeper of the sessions that hold a [`Watch`] of it.
    ///
    /// Somebody has to run the keeper, in the runtime that the sessions run in and for as long as
    /// there are any: it wakes them at their deadlines, and notices when that runtime stands still.
    #[must_use = "sessions see no deadline unless their keeper is run"]
    pub fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let signal = Signal { phase: Phase::Serving, farewell: Farewell::default() };
        let roster = Arc::new(Roster::default());
        let drain = Self { signal: watch::Sender::new(signal), roster: Arc::clone(&roster) };
        (drain, async move { roster.keep().await })
    }

    /// A token for something that lives: its end is waited for until this is dropped.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { signal: self.signal.subscribe(), roster: Arc::clone(&self.roster) }
    }

    /// Asks everyone to close.
    pub fn start(&self, farewell: Farewell) {
        self.enter(Phase::Draining, |signal| signal.farewell = farewell);
    }

    /// Tells everyone to end without waiting for anything.
    pub fn abort(&self) {
        self.enter(Phase::Aborting, |_| {});
    }

    /// Waits until nobody holds a [`Watch`].
    pub async fn closed(&self) {
        self.signal.closed().await;
    }

    fn enter(&self, phase: Phase, change: impl FnOnce(&mut Signal)) {
        self.signal.send_modify(|signal| {
            signal.phase = phase;
            change(signal);
            self.roster.enter(phase);
        });
        self.roster.wake_all();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The token of something that lives, and its view of the [`Drain`].
#[derive(Clone, Debug)]
pub struct Watch {
    signal: watch::Receiver<Signal>,
    roster: Arc<Roster>,
}

impl Watch {
    /// How far the shutdown has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.roster.phase()
    }

    /// How a session is to end, once the shutdown has begun.
    #[must_use]
    pub fn farewell(&self) -> Farewell {
        self.signal.borrow().farewell
    }

    /// Waits until the shutdown has come further than `seen`, and says how far.
    ///
    /// Cancel safe.
    pub async fn beyond(&mut self, seen: Phase) -> Phase {
        match self.signal.wait_for(|signal| signal.phase > seen).await {
            Ok(signal) => signal.phase,
            Err(_) => Phase::Aborting,
        }
    }
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }
}
