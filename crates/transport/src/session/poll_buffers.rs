//! The buffers of a wake-up. They belong to the thread, so an idle session has none.

use std::cell::Cell;

use super::write_buffer::Output;

const INPUT_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// What a session reads into and writes from while it is awake.
pub(crate) struct Scratch {
    pub(crate) input: Box<[u8]>,
    output: Option<Box<Output>>,
}

impl Scratch {
    /// Takes the thread's buffers, and lends the one for output to a session with nothing unsent.
    pub(crate) fn lend(output: &mut Option<Box<Output>>) -> Self {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| Self {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: None,
        });
        if output.is_none() {
            *output = scratch.output.take();
        }
        scratch
    }

    /// Gives the thread its buffers back. What the stream refused stays with the session.
    pub(crate) fn take_back(mut self, output: &mut Option<Box<Output>>) {
        if let Some(output) = output {
            output.shrink();
        }
        if let Some(empty) = output.take_if(|output| output.is_empty()) {
            self.output = Some(empty);
        }
        SCRATCH.set(Some(self));
    }
}
