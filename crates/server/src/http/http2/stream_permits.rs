//! Where the sessions of one HTTP/2 connection have their places.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{Permit, Rejection};

/// The places of a connection and its sessions: one for each session, and one for a connection without
/// any, since that is a socket, too.
#[derive(Clone, Debug)]
pub(crate) struct StreamPermits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    emptied: Notify,
}

#[derive(Debug)]
struct State {
    count: usize,
    /// The place of the connection while there is no session; or why it has none.
    spare: Result<Option<Permit>, Rejection>,
}

impl StreamPermits {
    /// Takes the place that the connection has had so far.
    pub(crate) fn new(permit: Result<Permit, Rejection>) -> Self {
        let state = Mutex::new(State { count: 0, spare: permit.map(Some) });
        Self(Arc::new(Shared { state, emptied: Notify::new() }))
    }

    /// A place for one more session: the connection's, or `another`.
    pub(crate) fn take(
        &self,
        another: impl FnOnce() -> Result<Permit, Rejection>,
    ) -> Result<Permit, Rejection> {
        let mut state = self.0.state.lock();
        let permit = match state.spare.as_mut().map_err(|rejection| *rejection)?.take() {
            Some(permit) => permit,
            None => another()?,
        };
        state.count += 1;
        Ok(Permit::new(StreamPermit { permits: self.clone(), permit: Some(permit) }))
    }

    /// Whether the connection has no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.state.lock().count == 0
    }

    /// Waits until the last session has left. Cancel safe.
    pub(crate) async fn emptied(&self) {
        self.0.emptied.notified().await;
    }
}

/// A session's place.
struct StreamPermit {
    permits: StreamPermits,
    permit: Option<Permit>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut state = self.permits.0.state.lock();
        state.count -= 1;
        if state.count == 0 {
            state.spare = Ok(self.permit.take());
            self.permits.0.emptied.notify_one();
        }
    }
}
