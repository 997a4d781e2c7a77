//! What all clients share: where they connect, what has been published, and what they have seen.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use crate::handover::faults::{Faults, Kind};
use crate::handover::publisher::Newest;

/// The origin that the server allows.
pub(super) const ORIGIN: &str = "https://soak.example";

/// Where the program listens.
#[derive(Clone, Copy)]
pub struct Addresses {
    /// Without TLS.
    pub plain: SocketAddr,
    /// With TLS.
    pub tls: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// One of the four ways to a session.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Way {
    pub(super) http2: bool,
    pub(super) tls: bool,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [
        Self { http2: false, tls: false },
        Self { http2: true, tls: false },
        Self { http2: false, tls: true },
        Self { http2: true, tls: true },
    ];

    pub(super) fn name(self) -> &'static str {
        match (self.http2, self.tls) {
            (false, false) => "HTTP/1.1",
            (true, false) => "HTTP/2",
            (false, true) => "HTTP/1.1 over TLS",
            (true, true) => "HTTP/2 over TLS",
        }
    }
}

/// Shared by all clients.
pub struct World {
    /// Where they connect.
    pub addresses: Addresses,
    /// The newest state that was published.
    pub newest: Newest,
    /// What no client may see.
    pub faults: Faults,
    /// What a client may see while its process is drained, because its session cannot be handed over.
    pub drained: Faults,
    /// The configuration of TLS, for HTTP/1.1 and for HTTP/2.
    tls: [Arc<ClientConfig>; 2],
    /// The newest state that some client has received with its tag.
    known: Mutex<Option<(u64, String)>>,
    /// How often what has occurred.
    counts: Mutex<BTreeMap<String, usize>>,
    /// The connections so far; each has a number.
    connections: AtomicUsize,
}

impl World {
    /// Creates it. `tls` is for HTTP/1.1 and for HTTP/2.
    #[must_use]
    pub fn new(addresses: Addresses, tls: [Arc<ClientConfig>; 2], faults: Faults) -> Self {
        let drained = Faults::new(faults.clock);
        Self {
            addresses,
            newest: Newest::default(),
            faults,
            drained,
            tls,
            known: Mutex::default(),
            counts: Mutex::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// Returns how often what has occurred.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, what: impl Into<String>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.into()).or_default() += 1;
    }

    pub(super) fn route(&self, way: Way) -> (SocketAddr, Option<&Arc<ClientConfig>>) {
        if way.tls {
            (self.addresses.tls, Some(&self.tls[usize::from(way.http2)]))
        } else {
            (self.addresses.plain, None)
        }
    }

    /// Returns the source of the next connection. All sources have equally many.
    pub(super) fn source(&self) -> Ipv4Addr {
        crate::handover::source(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn known(&self) -> Option<(u64, String)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn learn(&self, number: u64, tag: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(newest, _)| *newest < number) {
            *known = Some((number, tag.to_owned()));
        }
    }

    /// Reports what a client has seen that it may see only where `may_be_drained` and a process is drained.
    pub(super) fn lost(&self, kind: Kind, may_be_drained: bool, text: String) {
        let faults = if may_be_drained { &self.drained } else { &self.faults };
        faults.add(kind, text);
    }
}

/// What a client that stays has.
#[derive(Default)]
pub(super) struct Resident {
    pub(super) is_open: AtomicBool,
    /// The number of the newest state.
    pub(super) newest: AtomicU64,
}

/// The text of a state: its number, and padding of a length that depends on it, at times of many packets.
///
/// Half of the padding is the same in all states, so that compression has something to refer to.
#[must_use]
pub fn state(number: u64) -> String {
    let length = if number.is_multiple_of(16) { 24_000 } else { number * 37 % 700 };
    let mut text = number.to_string();
    text.push(' ');
    let mut rng = fastrand::Rng::with_seed(number);
    for index in 0..length {
        let letter = if index % 128 < 64 { b'a' + (index % 26) as u8 } else { rng.u8(b'a'..=b'z') };
        text.push(char::from(letter));
    }
    text
}

/// Reads the number of a state, and checks all of its text.
pub(super) fn number(text: &str) -> io::Result<u64> {
    let number = text.split(' ').next().and_then(|number| number.parse().ok());
    number.filter(|number| state(*number) == text).ok_or_else(|| {
        let begin: String = text.chars().take(40).collect();
        io::Error::other(format!("received no state: {begin:?}"))
    })
}
