//! How everything that lives is told to end, and how its end is waited for.

use std::time::Duration;

use tokio::sync::watch;
use ws_core::CloseCode;

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
/// Dropping it is the same as [`abort`](Self::abort).
#[derive(Debug)]
pub struct Drain(watch::Sender<Signal>);

#[derive(Clone, Copy, Debug)]
struct Signal {
    phase: Phase,
    farewell: Farewell,
}

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Signal { phase: Phase::Serving, farewell: Farewell::default() }))
    }
}

impl Drain {
    /// A token for something that lives: its end is waited for until this is dropped.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Asks everyone to close.
    pub fn start(&self, farewell: Farewell) {
        self.0.send_replace(Signal { phase: Phase::Draining, farewell });
    }

    /// Tells everyone to end without waiting for anything.
    pub fn abort(&self) {
        self.0.send_modify(|signal| signal.phase = Phase::Aborting);
    }

    /// Waits until nobody holds a [`Watch`].
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The token of something that lives, and its view of the [`Drain`].
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Signal>);

impl Watch {
    /// How far the shutdown has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Aborting } else { self.0.borrow().phase }
    }

    /// How a session is to end, once the shutdown has begun.
    #[must_use]
    pub fn farewell(&self) -> Farewell {
        self.0.borrow().farewell
    }

    /// Waits until the shutdown has come further than `seen`, and says how far.
    ///
    /// Cancel safe.
    pub async fn beyond(&mut self, seen: Phase) -> Phase {
        match self.0.wait_for(|signal| signal.phase > seen).await {
            Ok(signal) => signal.phase,
            Err(_) => Phase::Aborting,
        }
    }
}
