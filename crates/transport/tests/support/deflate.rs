//! A client's side of permessage-deflate (RFC 7692), by zlib.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush};

/// An inflater that keeps its window, as a browser's does.
pub(crate) struct Inflater(Inflate);

impl Default for Inflater {
    fn default() -> Self {
        Self(Inflate::new(false, 15))
    }
}

impl Inflater {
    /// Inflates the payload of a compressed message (RFC 7692, section 7.2.2).
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        let mut output = vec![0; 1 << 20];
        let (read, written) = (self.0.total_in(), self.0.total_out());
        self.0.decompress(&input, &mut output, InflateFlush::SyncFlush).unwrap();
        let read = usize::try_from(self.0.total_in() - read).unwrap();
        assert_eq!(read, input.len(), "all of the payload is a part of the message");
        output.truncate(usize::try_from(self.0.total_out() - written).unwrap());
        output
    }
}

/// Returns the payload of a compressed message (RFC 7692, section 7.2.1).
#[allow(dead_code, reason = "broadcast only inflates")]
pub(crate) fn deflate(payload: &[u8]) -> Vec<u8> {
    deflate_with_memory(8, payload)
}

/// The less memory (1 to 9), the shorter the blocks.
#[allow(dead_code, reason = "as above")]
pub(crate) fn deflate_with_memory(mem_level: i32, payload: &[u8]) -> Vec<u8> {
    let mut output = vec![0; 2 * payload.len() + 1024];
    let config = DeflateConfig { window_bits: -15, mem_level, ..DeflateConfig::default() };
    let mut deflate = Deflate::new_with_config(config);
    deflate.compress(payload, &mut output, DeflateFlush::SyncFlush).unwrap();
    output.truncate(usize::try_from(deflate.total_out()).unwrap());
    assert!(output.ends_with(&[0, 0, 0xff, 0xff]));
    output.truncate(output.len() - 4);
    output
}
