//! The output that the stream has not accepted yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::prepared_message::{Form, PreparedMessage};

/// Encoded frames of this session, and at most one prepared message among them, whose bytes are shared
/// with other sessions.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    encoded: Vec<u8>,
    prepared: Option<Prepared>,
}

/// The output of a session. `None` between polls if nothing is unsent.
pub(crate) type Output = Option<Box<WriteBuffer>>;

/// The most memory that an empty buffer retains for the next session.
const MAX_RETAINED_BYTES: usize = 128 * 1024;

#[derive(Debug)]
struct Prepared {
    /// The length of the part of `encoded` that is written before the prepared message.
    ahead: usize,
    message: PreparedMessage,
    form: Form,
    unsent: usize,
}

impl WriteBuffer {
    /// Returns the number of unsent bytes.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len() + self.prepared.as_ref().map_or(0, |prepared| prepared.unsent)
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

    /// Appends a prepared message in the form that was selected. Its bytes are not copied.
    pub(crate) fn send_prepared(&mut self, message: PreparedMessage, form: Form) {
        debug_assert!(
            !self.has_prepared(),
            "the handler is not polled while a prepared message is unsent"
        );
        let unsent = message.frame(form).len();
        self.prepared = Some(Prepared { ahead: self.encoded.len(), message, form, unsent });
    }

    /// Writes all bytes. An error is the end of the stream.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let next = match &self.prepared {
                Some(prepared @ Prepared { ahead: 0, .. }) => prepared.rest(),
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
            Some(Prepared { ahead: 0, unsent, .. }) => {
                *unsent -= count;
                if *unsent == 0 {
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

impl Prepared {
    fn rest(&self) -> &[u8] {
        let frame = self.message.frame(self.form);
        frame.get(frame.len() - self.unsent..).unwrap_or_default()
    }
}
