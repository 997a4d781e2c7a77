//! How many connections there may be, in all and for each client address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{Permit, PermitPool, Rejection};

/// Connections above the limit that are accepted at once, to be told so.
pub(crate) const MAX_REFUSALS_AT_ONCE: usize = 128;

/// The places for connections. How many there may be is asked each time, so that it can change;
/// whoever has one keeps it. Clones are of the same places.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPermits(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    taken: AtomicUsize,
    released: Notify,
    /// Who has how many. Who has none is not in it, so it does not grow with who has been.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl ConnectionPermits {
    /// How many are taken.
    pub(crate) fn in_use(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// A place for a connection whose client is not known yet, or has no address.
    pub(crate) fn acquire(&self, max: usize) -> Result<Permit, Rejection> {
        let one_more = |taken: usize| Some(taken + 1).filter(|taken| *taken <= max);
        let taken = self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.map(|_| Permit::of(self.0.clone())).map_err(|_| Rejection::ConnectionLimit)
    }

    /// Takes over a place, and takes one of those that this address may have. If it has had its share,
    /// the place stays where it is, and so does the reason for which there is none. Zero is no limit.
    pub(crate) fn assign_address(
        &self,
        place: &mut Result<Permit, Rejection>,
        address: Option<IpAddr>,
        max: usize,
    ) -> Result<Permit, Rejection> {
        if let Err(rejection) = place {
            return Err(*rejection);
        }
        let address = address.filter(|_| max > 0);
        let of_address = address
            .map(|address| self.acquire_for_address(client_network(address), max))
            .transpose()?;
        let place = mem::replace(place, Err(Rejection::ConnectionLimit))?;
        Ok(match of_address {
            Some(of_address) => Permit::new((place, of_address)),
            None => place,
        })
    }

    fn acquire_for_address(&self, address: IpAddr, max: usize) -> Result<AddressPermit, Rejection> {
        let mut addresses = self.0.addresses.lock();
        let count = addresses.entry(address).or_default();
        if *count >= max {
            return Err(Rejection::AddressLimit);
        }
        *count += 1;
        Ok(AddressPermit { permits: self.clone(), address })
    }

    /// Waits for a place if all are taken, without taking one.
    pub(crate) async fn released(&self, max: usize) {
        let released = self.0.released.notified();
        if self.in_use() >= max {
            released.await;
        }
    }
}

impl PermitPool for Pool {
    fn release(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.released.notify_waiters();
    }
}

/// One of the places of an address.
struct AddressPermit {
    permits: ConnectionPermits,
    address: IpAddr,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.permits.0.addresses.lock().entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whose an address is, as far as limits can tell. An IPv6 host has at least a /64 to choose its addresses
/// from, so that is what counts as one; an IPv4 host counts as itself, whichever way it came.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    let ipv6 = match address.to_canonical() {
        IpAddr::V6(ipv6) => ipv6,
        ipv4 @ IpAddr::V4(_) => return ipv4,
    };
    let segments = ipv6.segments();
    let ipv4 = |high: u16, low: u16| {
        IpAddr::from(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match segments {
        // Behind NAT64 (RFC 6052, section 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => ipv4(high, low),
        // The same with a prefix of the operator's (RFC 8215). Where in the rest the address of IPv4 is,
        // the prefix decides; nobody can choose any of it.
        [0x64, 0xff9b, 1, ..] => ipv6.into(),
        // 6to4 (RFC 3056): the whole site is one address of IPv4.
        [0x2002, high, low, ..] => ipv4(high, low),
        [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_counts_as_one_whichever_way_it_came() {
        for (address, counts_as) in [
            ("198.51.100.7", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("64:ff9b::198.51.100.7", "198.51.100.7"),
            ("2002:c633:6407:1::9", "198.51.100.7"),
            ("2002:c633:6407:2::9", "198.51.100.7"),
            ("64:ff9b:1::198.51.100.7", "64:ff9b:1::198.51.100.7"),
            // What only looks like one.
            ("64:ff9b:0:0:1::198.51.100.7", "64:ff9b::"),
            ("2001:db8::198.51.100.7", "2001:db8::"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
            ("::198.51.100.7", "::"),
        ] {
            let [address, counts_as]: [IpAddr; 2] =
                [address, counts_as].map(|text| text.parse().expect("it is an address"));
            assert_eq!(client_network(address), counts_as, "{address}");
        }
    }

    #[test]
    fn hosts_behind_nat64_have_a_limit_each_and_the_same_as_without_it() {
        let permits = ConnectionPermits::default();
        let take = |address: &str| {
            let mut place = permits.acquire(10);
            permits.assign_address(&mut place, address.parse().ok(), 1)
        };
        let _first = take("64:ff9b::198.51.100.7").expect("it is the first");
        let _other = take("64:ff9b::198.51.100.8").expect("it is another host");
        for again in ["198.51.100.7", "64:ff9b::198.51.100.7", "::ffff:198.51.100.8"] {
            assert_eq!(take(again).err(), Some(Rejection::AddressLimit), "{again}");
        }
    }
}
