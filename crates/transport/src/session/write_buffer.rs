//! What a session has said and its stream has not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Bytes of the session's own, and at most one frame among them that other sessions send as well.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    own: Vec<u8>,
    prepared: Option<Prepared>,
}

/// When more than this is allocated, it is not kept for the next session.
const MAX_KEPT_BYTES: usize = 128 * 1024;

#[derive(Debug)]
struct Prepared {
    /// How many of the session's own bytes go out before it.
    ahead: usize,
    rest: Bytes,
}

impl WriteBuffer {
    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.prepared.as_ref().map_or(0, |prepared| prepared.rest.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where bytes are added behind all others.
    pub(crate) fn own(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Whether a frame waits that is shared. There is no second one meanwhile, since what is newer by
    /// then may take its place.
    pub(crate) fn has_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    /// Adds a frame behind all other bytes. It is not copied.
    pub(crate) fn send_prepared(&mut self, frame: Bytes) {
        debug_assert!(
            !self.has_prepared(),
            "the handler is not asked while a prepared frame waits"
        );
        self.prepared = Some(Prepared { ahead: self.own.len(), rest: frame });
    }

    /// Writes until everything is out. An error is the end of the stream.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let next = match &self.prepared {
                Some(Prepared { ahead: 0, rest }) => rest,
                Some(Prepared { ahead, .. }) => self.own.get(..*ahead).unwrap_or_default(),
                None => &self.own,
            };
            match ready!(Pin::new(&mut *stream).poll_write(cx, next))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn taken(&mut self, count: usize) {
        match &mut self.prepared {
            Some(Prepared { ahead: 0, rest }) => {
                rest.advance(count);
                if rest.is_empty() {
                    self.prepared = None;
                }
            }
            Some(Prepared { ahead, .. }) => {
                *ahead -= count;
                self.own.drain(..count);
            }
            None => {
                self.own.drain(..count);
            }
        }
    }

    /// Gives memory back, when nobody will write here for a while.
    pub(crate) fn shrink(&mut self) {
        self.own.shrink_to(if self.is_empty() { MAX_KEPT_BYTES } else { 0 });
    }
}
