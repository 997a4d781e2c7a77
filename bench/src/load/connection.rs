//! One connection of the load generator, with one or more sessions.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::epoll::EpollFlags;

use super::byte_stream::ByteStream;
use super::http2::Http2;
use super::protocol::{Http, Protocol};

pub(super) struct Connection {
    pub(super) byte_stream: ByteStream,
    pub(super) http2: Option<Http2>,
    /// The keys of its sessions in `Clients`, indexed by stream; `None` after the session ended.
    pub(super) session_keys: Vec<Option<usize>>,
    /// Whether the sessions that waited for the connection have sent their requests.
    pub(super) has_requested: bool,
    /// Whether its request offers permessage-deflate.
    pub(super) offers_deflate: bool,
    /// The received part of an incomplete HTTP/2 frame.
    pub(super) partial: Vec<u8>,
    /// Whether output is collected, to be flushed in one write.
    pub(super) is_batching: bool,
    /// Whether reading is paused.
    pub(super) is_paused: bool,
    /// The events registered with epoll.
    pub(super) interest: EpollFlags,
}

impl Connection {
    pub(super) fn start(
        server: SocketAddr,
        source: Ipv4Addr,
        protocol: &Protocol,
    ) -> io::Result<Self> {
        Ok(Self {
            byte_stream: ByteStream::start(server, source, protocol.tls.as_ref())?,
            http2: matches!(protocol.http, Http::Two { .. }).then(Http2::start),
            session_keys: Vec::new(),
            has_requested: false,
            offers_deflate: protocol.offers_deflate,
            partial: Vec::new(),
            is_batching: false,
            is_paused: false,
            interest: EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        })
    }

    /// Whether sessions can be requested.
    pub(super) fn is_ready(&self) -> bool {
        self.byte_stream.is_ready()
            && self.http2.as_ref().is_none_or(|http2| http2.allows_websocket)
    }

    /// Whether output is pending.
    pub(super) fn wants_write(&self) -> bool {
        let has_more = self.http2.as_ref().is_some_and(|http2| !http2.outbox.is_empty());
        self.byte_stream.wants_write() || has_more && self.byte_stream.is_ready()
    }

    /// Whether it had sessions and all of them ended.
    pub(super) fn is_finished(&self) -> bool {
        !self.session_keys.is_empty() && self.session_keys.iter().all(Option::is_none)
    }

    /// Writes pending output.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.byte_stream.flush()?;
        let Some(http2) = self.http2.as_mut().filter(|_| self.byte_stream.is_ready()) else {
            return Ok(());
        };
        let mut written = 0;
        while written < http2.outbox.len() {
            match self.byte_stream.write(&http2.outbox[written..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => written += outcome?,
            }
        }
        http2.outbox.drain(..written);
        Ok(())
    }

    /// Whether flow control allows a session to send.
    pub(super) fn has_capacity(&self, stream: usize) -> bool {
        self.http2.as_ref().is_none_or(|http2| http2.capacity(stream) > 0)
    }

    /// Sends as much for a session as flow control and the socket accept, and returns the number of
    /// bytes.
    pub(super) fn send(&mut self, stream: usize, bytes: &[u8]) -> io::Result<usize> {
        let Some(http2) = &mut self.http2 else { return self.byte_stream.write(bytes) };
        let count = http2.capacity(stream).min(bytes.len());
        http2.send(stream, &bytes[..count]);
        if !self.is_batching {
            self.flush()?;
        }
        Ok(count)
    }
}
