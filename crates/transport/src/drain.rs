//! How everything that lives is told to end, and how its end is waited for.

use tokio::sync::watch;

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

/// The end of everything: a signal, a registry and a wait in one channel.
///
/// The channel's value is the signal. Its receivers are the registry: whatever lives holds a
/// [`Watch`]. And it tells when the last of them is gone.
/// Dropping it is the same as [`abort`](Self::abort).
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Drain {
    /// A token for something that lives: its end is waited for until this is dropped.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Asks everyone to close.
    pub fn start(&self) {
        self.0.send_replace(Phase::Draining);
    }

    /// Tells everyone to end without waiting for anything.
    pub fn abort(&self) {
        self.0.send_replace(Phase::Aborting);
    }

    /// Waits until nobody holds a [`Watch`].
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The token of something that lives, and its view of the [`Drain`].
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Phase>);

impl Watch {
    /// How far the shutdown has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Aborting } else { *self.0.borrow() }
    }

    /// Waits until the shutdown has come further than `seen`, and says how far.
    ///
    /// Cancel safe.
    pub async fn beyond(&mut self, seen: Phase) -> Phase {
        match self.0.wait_for(|phase| *phase > seen).await {
            Ok(phase) => *phase,
            Err(_) => Phase::Aborting,
        }
    }
}
