//! One connection of the load generator, with the sessions that it carries.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::epoll::EpollFlags;

use super::http2::Http2;
use super::way::{Http, Way};
use super::wire::Wire;

pub(super) struct Carrier {
    pub(super) wire: Wire,
    pub(super) http2: Option<Http2>,
    /// The places in the fleet of the sessions that it was given, in the order of their streams, as
    /// long as they have not ended.
    pub(super) slots: Vec<Option<usize>>,
    /// Whether those that waited for it have asked.
    pub(super) has_asked: bool,
    /// The beginning of a frame of HTTP/2 whose end has not come.
    pub(super) rest: Vec<u8>,
    /// Whether more will be said right away, so that all of it leaves in one write.
    pub(super) is_busy: bool,
    /// Whether nothing is read.
    pub(super) is_paused: bool,
    /// What epoll was told to tell of.
    pub(super) interest: EpollFlags,
}

impl Carrier {
    pub(super) fn start(server: SocketAddr, source: Ipv4Addr, way: &Way) -> io::Result<Self> {
        Ok(Self {
            wire: Wire::start(server, source, way.tls.as_ref())?,
            http2: matches!(way.http, Http::Two { .. }).then(Http2::start),
            slots: Vec::new(),
            has_asked: false,
            rest: Vec::new(),
            is_busy: false,
            is_paused: false,
            interest: EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        })
    }

    /// Whether sessions can be asked for.
    pub(super) fn is_ready(&self) -> bool {
        self.wire.is_ready() && self.http2.as_ref().is_none_or(|http2| http2.is_ready)
    }

    /// Whether something is to be written as soon as there is room.
    pub(super) fn is_waiting(&self) -> bool {
        let has_more = self.http2.as_ref().is_some_and(|http2| !http2.outbox.is_empty());
        self.wire.is_waiting() || has_more && self.wire.is_ready()
    }

    /// Whether it has carried sessions, and all have ended.
    pub(super) fn is_over(&self) -> bool {
        !self.slots.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()?;
        let Some(http2) = self.http2.as_mut().filter(|_| self.wire.is_ready()) else {
            return Ok(());
        };
        let mut written = 0;
        while written < http2.outbox.len() {
            match self.wire.write(&http2.outbox[written..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => written += outcome?,
            }
        }
        http2.outbox.drain(..written);
        Ok(())
    }

    /// Whether a session could say more now.
    pub(super) fn has_room(&self, stream: usize) -> bool {
        self.http2.as_ref().is_none_or(|http2| http2.room(stream) > 0)
    }

    /// Says as much for a session as there is room for.
    pub(super) fn say(&mut self, stream: usize, bytes: &[u8]) -> io::Result<usize> {
        let Some(http2) = &mut self.http2 else { return self.wire.write(bytes) };
        let count = http2.room(stream).min(bytes.len());
        http2.say(stream, &bytes[..count]);
        if !self.is_busy {
            self.flush()?;
        }
        Ok(count)
    }
}
