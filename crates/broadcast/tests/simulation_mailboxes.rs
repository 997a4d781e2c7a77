//! The simulation of the crate `transport`, with sessions that send the events of their mailboxes.

#[path = "../../transport/tests/simulation/scenario.rs"]
mod scenario;

use std::num::NonZeroUsize;

use broadcast::{KeyedMailbox, Mailboxes, WhenFull};

pub(crate) type Subscription = KeyedMailbox<u8>;

/// Sends each state as an event. A full mailbox drops the oldest, so the newest state always arrives.
pub(crate) struct Publisher(Mailboxes<u8>);

impl Default for Publisher {
    fn default() -> Self {
        Self(Mailboxes::new(NonZeroUsize::new(4).expect("4 is not 0"), WhenFull::DropOldest))
    }
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Subscription {
        self.0.open(0)
    }

    pub(crate) fn publish(&self, state: String) {
        self.0.send(&0, state);
    }
}
