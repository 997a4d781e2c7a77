//! Where the sessions of one HTTP/2 connection have their places.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{Rejection, Slot};

/// The places of a connection and its sessions: one for each session, and one for a connection without
/// any, since that is a socket, too.
#[derive(Clone, Debug)]
pub(crate) struct Lodging(Arc<House>);

#[derive(Debug)]
struct House {
    guests: Mutex<Guests>,
    emptied: Notify,
}

#[derive(Debug)]
struct Guests {
    count: usize,
    /// The place of the connection while there is no session; or why it has none.
    spare: Result<Option<Slot>, Rejection>,
}

impl Lodging {
    /// Takes the place that the connection has had so far.
    pub(crate) fn new(slot: Result<Slot, Rejection>) -> Self {
        let guests = Mutex::new(Guests { count: 0, spare: slot.map(Some) });
        Self(Arc::new(House { guests, emptied: Notify::new() }))
    }

    /// A place for one more session: the connection's, or `another`.
    pub(crate) fn take(
        &self,
        another: impl FnOnce() -> Result<Slot, Rejection>,
    ) -> Result<Slot, Rejection> {
        let mut guests = self.0.guests.lock();
        let slot = match guests.spare.as_mut().map_err(|rejection| *rejection)?.take() {
            Some(slot) => slot,
            None => another()?,
        };
        guests.count += 1;
        Ok(Slot::new(Guest { lodging: self.clone(), slot: Some(slot) }))
    }

    /// Whether the connection has no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.guests.lock().count == 0
    }

    /// Waits until the last session has left. Cancel safe.
    pub(crate) async fn emptied(&self) {
        self.0.emptied.notified().await;
    }
}

/// A session's place.
struct Guest {
    lodging: Lodging,
    slot: Option<Slot>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.lodging.0.guests.lock();
        guests.count -= 1;
        if guests.count == 0 {
            guests.spare = Ok(self.slot.take());
            self.lodging.0.emptied.notify_one();
        }
    }
}
