//! The permits of one HTTP/2 connection and its sessions.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{Permit, Rejection};

/// The permits of a connection: one per session, and one for the connection while it has no session,
/// because it occupies a socket then as well. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct StreamPermits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    emptied: Notify,
}

#[derive(Debug)]
struct State {
    sessions: usize,
    /// The permit of the connection while it has no session, or the reason why it has none.
    spare: Result<Option<Permit>, Rejection>,
}

impl StreamPermits {
    /// Takes over the permit with which the connection was accepted.
    pub(crate) fn new(permit: Result<Permit, Rejection>) -> Self {
        let state = Mutex::new(State { sessions: 0, spare: permit.map(Some) });
        Self(Arc::new(Shared { state, emptied: Notify::new() }))
    }

    /// Returns a permit for a new session: the connection's, or one from `acquire_another`.
    pub(crate) fn acquire(
        &self,
        acquire_another: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Result<Permit, Rejection> {
        let mut state = self.0.state.lock();
        let permit = match state.spare.as_mut().map_err(|rejection| *rejection)?.take() {
            Some(permit) => permit,
            None => acquire_another()?,
        };
        state.sessions += 1;
        Ok(Permit::new(StreamPermit { permits: self.clone(), permit: Some(permit) }))
    }

    /// Returns whether the connection has no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.state.lock().sessions == 0
    }

    /// Waits until the last session has ended. Cancel safe.
    pub(crate) async fn emptied(&self) {
        self.0.emptied.notified().await;
    }
}

/// A session's permit. The drop of the last one returns it to the connection.
struct StreamPermit {
    permits: StreamPermits,
    permit: Option<Permit>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut state = self.permits.0.state.lock();
        state.sessions -= 1;
        if state.sessions == 0 {
            state.spare = Ok(self.permit.take());
            self.permits.0.emptied.notify_one();
        }
    }
}
