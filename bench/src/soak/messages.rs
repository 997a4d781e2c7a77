//! The messages of a session, from the frames of the server: put together, and inflated.

use std::io;

use zlib_rs::{Inflate, InflateFlush};

use crate::client::TEXT;

/// The bits of the first byte of a frame (RFC 6455, section 5.2; RFC 7692, section 6), and the opcode of the
/// frames of a message after the first.
pub(super) const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
pub(super) const CONTINUATION: u8 = 0;

/// More than any message, when it is inflated.
const MAX_MESSAGE: usize = 32 << 10;

pub(super) struct Messages {
    /// `None` if compression was not offered.
    inflate: Option<Inflate>,
    /// The first byte of a message of which not all frames have arrived, and its payload so far.
    partial: Option<(u8, Vec<u8>)>,
}

impl Messages {
    pub(super) fn new(offers_deflate: bool) -> Self {
        Self { inflate: offers_deflate.then(|| Inflate::new(false, 15)), partial: None }
    }

    /// Adds a frame that is no control frame. Returns the message if this was its last one.
    pub(super) fn on_frame(&mut self, first: u8, payload: Vec<u8>) -> io::Result<Option<String>> {
        let (begun, message) = match (first & !FIN, self.partial.take()) {
            (CONTINUATION, Some((begun, message))) => (begun, [message, payload].concat()),
            (begun, None) if begun | RSV1 == TEXT & !FIN | RSV1 => (begun, payload),
            _ => return Err(io::Error::other(format!("received the frame {first:#x}"))),
        };
        if first & FIN == 0 {
            self.partial = Some((begun, message));
            return Ok(None);
        }
        let message = if begun & RSV1 == 0 { message } else { self.inflate(message)? };
        String::from_utf8(message).map(Some).map_err(io::Error::other)
    }

    fn inflate(&mut self, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
        let inflate = self.inflate.as_mut();
        let inflate =
            inflate.ok_or_else(|| io::Error::other("a message is compressed without an offer"))?;
        // The sender has removed the end of the last block (RFC 7692, section 7.2.1).
        message.extend([0, 0, 0xff, 0xff]);
        let mut output = vec![0; MAX_MESSAGE];
        let before = inflate.total_out();
        inflate
            .decompress(&message, &mut output, InflateFlush::SyncFlush)
            .map_err(|error| io::Error::other(format!("cannot be inflated: {error:?}")))?;
        output.truncate(usize::try_from(inflate.total_out() - before).unwrap_or_default());
        Ok(output)
    }
}
