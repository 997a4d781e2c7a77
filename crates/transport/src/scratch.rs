//! The buffers of a wake-up. They belong to the thread, so an idle session has none.

use std::cell::Cell;
use std::mem;

const INPUT_BYTES: usize = 16 * 1024;

/// An output buffer that grew beyond this is not kept.
const KEPT_OUTPUT_BYTES: usize = 128 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// What a session reads into and writes from while it is awake.
pub(crate) struct Scratch {
    pub(crate) input: Box<[u8]>,
    output: Vec<u8>,
}

impl Scratch {
    /// Takes the thread's buffers, and lends the one for output to a session with nothing unsent.
    pub(crate) fn lend(output: &mut Vec<u8>) -> Self {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| Self {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: Vec::new(),
        });
        if output.is_empty() {
            mem::swap(output, &mut scratch.output);
        }
        scratch
    }

    /// Gives the thread its buffers back. What the stream refused stays with the session.
    pub(crate) fn take_back(mut self, output: &mut Vec<u8>) {
        if output.is_empty() {
            self.output = mem::take(output);
            self.output.shrink_to(KEPT_OUTPUT_BYTES);
        } else {
            output.shrink_to_fit();
        }
        SCRATCH.set(Some(self));
    }
}
