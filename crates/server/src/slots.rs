//! How many connections there may be, in all and for each client address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use transport::{Rejection, Slot};

/// The places for connections. Clones are of the same places.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    max: usize,
    all: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

impl Slots {
    /// `max_per_address` of zero is no limit.
    pub(crate) fn new(max: usize, max_per_address: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(max));
        let addresses = Addresses { max: max_per_address, open: Mutex::default() };
        Self { max, all, addresses: Arc::new(addresses) }
    }

    /// How many there are.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.max.saturating_sub(self.all.available_permits())
    }

    /// A place for a connection of this address, or why there is none.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Slot, Rejection> {
        let place = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Rejection::Full)?;
        if self.addresses.max == 0 {
            return Ok(Slot::new(place));
        }
        let one_of_address = self.addresses.take(network(address)).ok_or(Rejection::AddressFull)?;
        Ok(Slot::new((place, one_of_address)))
    }

    /// Waits until a place is free, without taking it.
    pub(crate) async fn freed(&self) {
        let _ = self.all.acquire().await;
    }
}

/// Who has how many connections. Who has none is not in it, so it does not grow with who has been.
#[derive(Debug)]
struct Addresses {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<OneOfAddress> {
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(OneOfAddress { addresses: Arc::clone(self), address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it is held, and a count is never left half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places of an address.
struct OneOfAddress {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for OneOfAddress {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.addresses.open().entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// An IPv6 host has at least a /64 to choose its addresses from, so that is what counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
