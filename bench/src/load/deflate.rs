//! permessage-deflate (RFC 7692) for the load generator: what a server negotiated, and the inflater.

use std::io;

use zlib_rs::{Inflate, InflateFlush};

/// The size of the window of an inflater.
const WINDOW: usize = 32 << 10;

/// What was negotiated for the messages of the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deflate {
    /// Whether each message is compressed by itself (`server_no_context_takeover`).
    is_by_itself: bool,
}

impl Deflate {
    /// Reads it from the response to an upgrade. `None` if messages are not compressed.
    pub(super) fn negotiated(response: &str) -> io::Result<Option<Self>> {
        let mut fields = response.lines().filter_map(|line| line.split_once(':'));
        let Some((_, value)) =
            fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
        else {
            return Ok(None);
        };
        let mut words = value.split(';').map(str::trim);
        if words.next() != Some("permessage-deflate") {
            return Err(io::Error::other(format!("the server negotiated {value:?}")));
        }
        Ok(Some(Self { is_by_itself: words.any(|word| word == "server_no_context_takeover") }))
    }
}

/// The inflaters of many sessions that have all received the same messages: their windows are the same,
/// so what one of them can inflate, all can.
#[derive(Default)]
pub(super) struct Inflater {
    /// The end of the messages that were inflated before.
    window: Vec<u8>,
    /// The payloads of the newest message that were found to be right, and what was negotiated for them.
    verified: Vec<(Deflate, Vec<u8>)>,
}

impl Inflater {
    /// Verifies that a payload inflates to `text`. A payload that was verified before is only compared.
    pub(super) fn verify(
        &mut self,
        deflate: Deflate,
        payload: &[u8],
        text: &[u8],
    ) -> io::Result<()> {
        if self.verified.iter().any(|it| it.0 == deflate && it.1 == payload) {
            return Ok(());
        }
        let window = if deflate.is_by_itself { &[] } else { &*self.window };
        if inflate(payload, window, text.len())?.as_slice() != text {
            return Err(io::Error::other("a session received something other than the state"));
        }
        self.verified.push((deflate, payload.to_vec()));
        Ok(())
    }

    /// All sessions have inflated `text`, unless none has.
    pub(super) fn finish(&mut self, text: &[u8]) {
        if !self.verified.is_empty() {
            self.verified.clear();
            self.window.extend_from_slice(text);
            let excess = self.window.len().saturating_sub(WINDOW);
            self.window.drain(..excess);
        }
    }
}

/// Inflates a payload into at most `length` bytes.
fn inflate(payload: &[u8], window: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let error = |error| io::Error::other(format!("a message cannot be inflated: {error:?}"));
    let mut inflate = Inflate::new(false, 15);
    inflate.set_dictionary(window).map_err(error)?;
    // The sender has removed the end of the last block (RFC 7692, section 7.2.1).
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    // One byte more, so that a message that is too long is noticed.
    let mut output = vec![0; length + 1];
    inflate.decompress(&input, &mut output, InflateFlush::SyncFlush).map_err(error)?;
    output.truncate(usize::try_from(inflate.total_out()).unwrap_or_default());
    Ok(output)
}
