//! Permits for connections, in all and per client address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use transport::{Permit, PermitPool, Rejection};

/// Connections above the limit that are accepted at a time, to be refused.
pub(crate) const MAX_CONCURRENT_REFUSALS: usize = 128;

/// The permit pool for connections. The limit is an argument of each call, so that it can change; a
/// lower limit revokes no permit. Clones share the pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPermits(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    in_use: AtomicUsize,
    released: Notify,
    /// Permits in use per address. An address without permits has no entry, so the map is bounded by the
    /// number of connections.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl ConnectionPermits {
    /// Returns the number of permits in use.
    pub(crate) fn in_use(&self) -> usize {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// Acquires a permit for a connection whose client is not known yet, or has no address.
    pub(crate) fn acquire(&self, max: usize) -> Result<Permit, Rejection> {
        let increment = |in_use: usize| Some(in_use + 1).filter(|in_use| *in_use <= max);
        let previous = self.0.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increment);
        previous.map(|_| Permit::of(self.0.clone())).map_err(|_| Rejection::ConnectionLimit)
    }

    /// Takes `permit` and counts it for the limit of `address`, at most `max`; zero is no limit. If the
    /// address is at its limit, or `permit` is a rejection, `permit` is left in place.
    pub(crate) fn take_for_address(
        &self,
        permit: &mut Result<Permit, Rejection>,
        address: Option<IpAddr>,
        max: usize,
    ) -> Result<Permit, Rejection> {
        if let Err(rejection) = permit {
            return Err(*rejection);
        }
        let address = address.filter(|_| max > 0);
        let address_permit = address
            .map(|address| self.acquire_for_address(client_network(address), max))
            .transpose()?;
        let permit = mem::replace(permit, Err(Rejection::ConnectionLimit))?;
        Ok(match address_permit {
            Some(address) => Permit::of(Arc::new(ClientPermit { _permit: permit, address })),
            None => permit,
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

    /// Acquires a permit for a session that another process has admitted, which also counts for the limit of
    /// this address. No limit refuses it: a lower limit revokes no permit.
    pub(crate) fn take_over(&self, address: Option<IpAddr>) -> Permit {
        self.0.in_use.fetch_add(1, Ordering::Relaxed);
        let permit = Permit::of(self.0.clone());
        match address {
            Some(address) => {
                *self.0.addresses.lock().entry(address).or_default() += 1;
                let address = AddressPermit { permits: self.clone(), address };
                Permit::of(Arc::new(ClientPermit { _permit: permit, address }))
            }
            None => permit,
        }
    }

    /// Returns the address or network whose limit a permit counts for.
    pub(crate) fn address_of(permit: &Permit) -> Option<IpAddr> {
        let pool = permit.pool()?.downcast_ref::<ClientPermit>()?;
        Some(pool.address.address)
    }

    /// Waits until no permit is in use. Cancel safe.
    pub(crate) async fn idle(&self) {
        loop {
            let mut released = pin!(self.0.released.notified());
            // Before the number is read, so that no release is missed.
            released.as_mut().enable();
            if self.in_use() == 0 {
                return;
            }
            released.await;
        }
    }

    /// Waits until a permit is released if all are in use. Acquires none.
    pub(crate) async fn released(&self, max: usize) {
        let released = self.0.released.notified();
        if self.in_use() >= max {
            released.await;
        }
    }
}

impl PermitPool for Pool {
    fn release(&self) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        self.released.notify_waiters();
    }
}

/// A permit that counts for the limit of an address, too. Dropping it releases both.
struct ClientPermit {
    _permit: Permit,
    address: AddressPermit,
}

impl PermitPool for ClientPermit {
    fn release(&self) {}
}

/// A unit of an address's limit.
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

/// Returns the address or network that limits count `address` as. An IPv6 host can use any address of at
/// least a /64, so the /64 counts as one client. An IPv4 address counts as itself, also when it is
/// mapped or translated to IPv6.
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
        // NAT64 (RFC 6052, section 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => ipv4(high, low),
        // NAT64 with a prefix of the operator (RFC 8215). The prefix decides where the IPv4 address is;
        // a client cannot choose any of the other bits.
        [0x64, 0xff9b, 1, ..] => ipv6.into(),
        // 6to4 (RFC 3056): a whole site has one IPv4 address.
        [0x2002, high, low, ..] => ipv4(high, low),
        [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_counts_as_itself_when_mapped_or_translated() {
        for (address, network) in [
            ("198.51.100.7", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("64:ff9b::198.51.100.7", "198.51.100.7"),
            ("2002:c633:6407:1::9", "198.51.100.7"),
            ("2002:c633:6407:2::9", "198.51.100.7"),
            ("64:ff9b:1::198.51.100.7", "64:ff9b:1::198.51.100.7"),
            // These only resemble one.
            ("64:ff9b:0:0:1::198.51.100.7", "64:ff9b::"),
            ("2001:db8::198.51.100.7", "2001:db8::"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
            ("::198.51.100.7", "::"),
        ] {
            let [address, network]: [IpAddr; 2] =
                [address, network].map(|text| text.parse().expect("it is an address"));
            assert_eq!(client_network(address), network, "{address}");
        }
    }

    #[test]
    fn each_host_behind_nat64_has_the_limit_of_its_ipv4_address() {
        let permits = ConnectionPermits::default();
        let take = |address: &str| {
            let mut permit = permits.acquire(10);
            permits.take_for_address(&mut permit, address.parse().ok(), 1)
        };
        let _first = take("64:ff9b::198.51.100.7").expect("it is the first");
        let _other = take("64:ff9b::198.51.100.8").expect("it is another host");
        for again in ["198.51.100.7", "64:ff9b::198.51.100.7", "::ffff:198.51.100.8"] {
            assert_eq!(take(again).err(), Some(Rejection::AddressLimit), "{again}");
        }
    }
}
