//! The output that the stream has not accepted yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Encoded frames of this session, and at most one prepared message among them, whose bytes are shared
/// with other sessions.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    encoded: Vec<u8>,
    prepared: Option<Prepared>,
}

/// The most memory that an empty buffer retains for the next session.
const MAX_RETAINED_BYTES: usize = 128 * 1024;

#[derive(Debug)]
struct Prepared {
    /// The length of the part of `encoded` that is written before the prepared message.
    ahead: usize,
    rest: Bytes,
}

impl WriteBuffer {
    /// Returns the number of unsent bytes.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len() + self.prepared.as_ref().map_or(0, |prepared| prepared.rest.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the vector to append encoded frames to. They are written after everything else.
    pub(crate) fn encoded(&mut self) -> &mut Vec<u8> {
        &mut self.encoded
    }

    /// Returns whether a prepared message is unsent. No second one is accepted until it is sent, so that
    /// the handler can replace an outdated message with a newer one.
    pub(crate) fn has_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    /// Appends a prepared message. Its bytes are not copied.
    pub(crate) fn send_prepared(&mut self, message: Bytes) {
        debug_assert!(
            !self.has_prepared(),
            "the handler is not polled while a prepared message is unsent"
        );
        self.prepared = Some(Prepared { ahead: self.encoded.len(), rest: message });
    }

    /// Writes all bytes. An error is the end of the stream.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let next = match &self.prepared {
                Some(Prepared { ahead: 0, rest }) => rest,
                Some(Prepared { ahead, .. }) => self.encoded.get(..*ahead).unwrap_or_default(),
                None => &self.encoded,
            };
            match ready!(Pin::new(&mut *stream).poll_write(cx, next))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.consume(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn consume(&mut self, count: usize) {
        match &mut self.prepared {
            Some(Prepared { ahead: 0, rest }) => {
                rest.advance(count);
                if rest.is_empty() {
                    self.prepared = None;
                }
            }
            Some(Prepared { ahead, .. }) => {
                *ahead -= count;
                self.encoded.drain(..count);
            }
            None => {
                self.encoded.drain(..count);
            }
        }
    }

    /// Frees spare capacity at the end of a poll.
    pub(crate) fn shrink(&mut self) {
        self.encoded.shrink_to(if self.is_empty() { MAX_RETAINED_BYTES } else { 0 });
    }
}
