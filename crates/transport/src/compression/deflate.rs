//! Compresses the payload of a message (RFC 7692, section 7.2.1).

use std::cell::Cell;

use zlib_rs::{Deflate, DeflateFlush};

use super::{WINDOW_BITS, WINDOW_BYTES};

/// A longer message is sent as it is.
///
/// A compression occupies the thread, and the sessions of other threads that need the same frame wait
/// for it. At this length it takes 2.6 ms, and 10 ms for 1 MiB. A state of 9 KB takes 41 µs by itself
/// and 21 µs with the state before it as the dictionary; 28 KB take 143 µs and 79 µs.
pub(crate) const MAX_INPUT_BYTES: usize = 256 * 1024;

/// Of two states of 28 KB in JSON of which 5 % differ, the second takes 840 bytes at level 1, 612 at
/// level 4, 499 at level 6 and 393 at level 9, in 47, 56, 79 and 133 µs. Without a dictionary level 6
/// has the smallest result of all, and takes half the time of level 9.
const LEVEL: i32 = 6;

const CHUNK_BYTES: usize = 16 * 1024;

/// The end of an empty block without compression. A sync flush appends it (RFC 1951, section 3.2.4), and
/// the sender removes it.
const FLUSH_MARKER: [u8; 4] = [0, 0, 0xff, 0xff];

thread_local! {
    /// Takes 0.4 MB, and is reset for each message.
    static COMPRESSOR: Cell<Option<Box<Compressor>>> = const { Cell::new(None) };
}

struct Compressor {
    deflate: Deflate,
    /// Receives the output, of which only the compressor knows how long it becomes.
    chunk: Box<[u8]>,
}

/// Returns the payload of a frame that has RSV1 set.
///
/// With a dictionary, only an inflater can read it that has inflated the dictionary last, at least its
/// last 32 KiB.
pub(crate) fn compress(payload: &[u8], dictionary: Option<&[u8]>) -> Vec<u8> {
    let mut compressor = COMPRESSOR.take().unwrap_or_else(|| {
        Box::new(Compressor {
            deflate: Deflate::new(LEVEL, false, WINDOW_BITS),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
        })
    });
    let compressed = compressor.compress(payload, dictionary);
    COMPRESSOR.set(Some(compressor));
    compressed
}

impl Compressor {
    fn compress(&mut self, payload: &[u8], dictionary: Option<&[u8]>) -> Vec<u8> {
        self.deflate.reset();
        if let Some(dictionary) = dictionary.map(last_window) {
            let set = self.deflate.set_dictionary(dictionary);
            set.expect("a compressor that was reset accepts a dictionary");
        }
        let mut compressed = Vec::new();
        let mut input = payload;
        loop {
            let (total_in, total_out) = (self.deflate.total_in(), self.deflate.total_out());
            let result = self.deflate.compress(input, &mut self.chunk, DeflateFlush::SyncFlush);
            result.expect("a compressor with room for output does not fail");
            let consumed = length(self.deflate.total_in() - total_in);
            let produced = length(self.deflate.total_out() - total_out);
            input = input.get(consumed..).unwrap_or_default();
            compressed.extend_from_slice(self.chunk.get(..produced).unwrap_or_default());
            // A chunk that is not full has the flush marker.
            if produced < self.chunk.len() {
                break;
            }
        }
        //= rfc7692#7.2.1-1
        if compressed.ends_with(&FLUSH_MARKER) {
            compressed.truncate(compressed.len() - FLUSH_MARKER.len());
        }
        compressed
    }
}

/// Returns the end of `bytes` that fits into the window.
pub(super) fn last_window(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(WINDOW_BYTES)..).unwrap_or_default()
}

/// Converts the length of something in memory.
pub(super) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
