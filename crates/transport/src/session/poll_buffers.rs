//! The buffers of one poll. They belong to the thread, so an idle session has none.

use std::cell::Cell;

use super::write_buffer::Output;

const INPUT_BYTES: usize = 16 * 1024;

thread_local! {
    static POLL_BUFFERS: Cell<Option<PollBuffers>> = const { Cell::new(None) };
}

/// The buffers that a session reads into and writes from during a poll.
pub(crate) struct PollBuffers {
    pub(crate) input: Box<[u8]>,
    output: Output,
}

impl PollBuffers {
    /// Takes the buffers of the thread, and lends the write buffer to a session without unsent output.
    pub(crate) fn borrow(output: &mut Output) -> Self {
        let mut buffers = POLL_BUFFERS.take().unwrap_or_else(|| Self {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: None,
        });
        if output.is_none() {
            *output = buffers.output.take();
        }
        buffers
    }

    /// Returns the buffers to the thread. A write buffer with unsent output stays with the session.
    pub(crate) fn restore(mut self, output: &mut Output) {
        if let Some(output) = output {
            output.shrink();
        }
        if let Some(empty) = output.take_if(|output| output.is_empty()) {
            self.output = Some(empty);
        }
        POLL_BUFFERS.set(Some(self));
    }
}
