//! The kernel's memory for connections, counted in objects of its slab caches.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Socket, Type};

use crate::handover::source;
use crate::load::process_stats::kib;

/// Connections whose ends are told apart; a backlog holds all of them.
const CONNECTIONS: i32 = 4000;

const PAGE: f64 = 4096.0;

/// A slab cache.
#[derive(Clone, Copy, Default)]
pub struct Cache {
    pub objects: f64,
    /// Bytes of an object, with its part of what is left over in the cache's pages.
    pub bytes_each: f64,
}

/// The kernel's memory at one moment.
#[derive(Default)]
pub struct Kernel {
    pub caches: BTreeMap<String, Cache>,
    /// Bytes of all caches.
    pub slab: u64,
    /// Bytes that programs could still get.
    pub available: u64,
    /// TCP sockets that are neither closed nor in TIME_WAIT.
    pub sockets: u64,
    pub time_wait: u64,
    /// Bytes of data in the buffers of all TCP sockets.
    pub buffers: u64,
}

impl Kernel {
    /// Reads the memory.
    ///
    /// # Errors
    ///
    /// A file cannot be read: `/proc/slabinfo` is for root only.
    pub fn now() -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let sockets = fs::read_to_string("/proc/net/sockstat")?;
        let slabs = fs::read_to_string("/proc/slabinfo").map_err(|error| {
            io::Error::new(error.kind(), format!("/proc/slabinfo, which is for root: {error}"))
        })?;
        let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
        let tcp = |name| {
            let mut words = tcp.split(' ').skip_while(|word| *word != name);
            words.nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(Self {
            caches: caches(&slabs),
            slab: kib(&memory, "Slab:") * 1024,
            available: kib(&memory, "MemAvailable:") * 1024,
            sockets: tcp("inuse"),
            time_wait: tcp("tw"),
            buffers: tcp("mem") * PAGE as u64,
        })
    }

    /// Returns the objects of a cache.
    #[must_use]
    pub fn objects(&self, cache: &str) -> f64 {
        self.caches.get(cache).copied().unwrap_or_default().objects
    }
}

/// How many objects of one cache the accepting end of a connection has.
pub struct Share {
    pub cache: String,
    pub bytes_each: f64,
    pub objects: f64,
}

/// Counts the objects of the accepting end, which is the server's, in all caches: connects many sockets, and then accepts
/// all of them and registers them with epoll. An accepted socket itself exists since the handshake, and is
/// as large as the one that connected.
///
/// # Errors
///
/// A connection or a file of [`Kernel::now`] failed.
pub fn accepting_end() -> io::Result<Vec<Share>> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(CONNECTIONS)?;
    let address = listener.local_addr()?;
    let connect = |number| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source(number), 0)).into())?;
        // Without TIME_WAIT at the end.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&address)?;
        io::Result::Ok(socket)
    };
    let accept = |epoll: &Epoll| {
        let (socket, _) = listener.accept()?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        io::Result::Ok(socket)
    };

    let connections = usize::try_from(CONNECTIONS).map_err(io::Error::other)?;
    let connecting = (0..connections).map(connect).collect::<io::Result<Vec<_>>>()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let before = Kernel::now()?;
    let accepting = (0..connections).map(|_| accept(&epoll)).collect::<io::Result<Vec<_>>>()?;
    let after = Kernel::now()?;
    drop((connecting, accepting));

    let shares = after.caches.iter().map(|(name, Cache { bytes_each, objects })| Share {
        cache: name.clone(),
        bytes_each: *bytes_each,
        objects: match name.as_str() {
            "TCP" => 1.0,
            _ => (objects - before.objects(name)) / f64::from(CONNECTIONS),
        },
    });
    Ok(shares.collect())
}

/// Parses `/proc/slabinfo`.
fn caches(table: &str) -> BTreeMap<String, Cache> {
    let cache = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let mut number = |skipped| words.nth(skipped)?.parse::<f64>().ok();
        let objects = number(0)?;
        let (objects_in_slab, pages_in_slab) = (number(2)?, number(0)?);
        Some((name, Cache { objects, bytes_each: pages_in_slab * PAGE / objects_in_slab }))
    };
    table.lines().filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_slabinfo_has_the_objects_and_their_part_of_the_pages() {
        let table = "slabinfo - version: 2.1\n\
            # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n\
            TCP                   24     26   2368   13    8 : tunables    0    0    0 : slabdata 2 2 0\n";
        let caches = caches(table);
        assert_eq!(caches.len(), 1);
        let tcp = caches["TCP"];
        assert_eq!((tcp.objects, tcp.bytes_each), (24.0, 8.0 * 4096.0 / 13.0));
    }
}
