//! Buffers that all connections of a thread share, so that an idle connection holds none.

use std::cell::Cell;
use std::mem;

/// Size of the buffer that the underlying stream is read into.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Capacity above which the buffer for incoming records is shrunk before it is cached.
const MAX_CACHED_BYTES: usize = 32 * 1024;

thread_local! {
    static CACHED: Cell<Option<ThreadBuffers>> = const { Cell::new(None) };
}

/// The buffers of a thread, while a connection uses them.
pub(crate) struct ThreadBuffers {
    /// Receives the bytes of one read.
    pub(crate) read: Box<[u8]>,
    incoming: Vec<u8>,
}

impl ThreadBuffers {
    /// Takes the buffers of this thread. Lends the one for incoming records if `incoming` is empty.
    pub(crate) fn take(incoming: &mut Vec<u8>) -> Self {
        let mut buffers = CACHED.take().unwrap_or_else(|| Self {
            read: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            incoming: Vec::new(),
        });
        if incoming.is_empty() {
            mem::swap(incoming, &mut buffers.incoming);
        }
        buffers
    }

    /// Returns the buffers to this thread. An incomplete record in `incoming` stays with the connection.
    pub(crate) fn put_back(mut self, incoming: &mut Vec<u8>) {
        if incoming.is_empty() {
            self.incoming = mem::take(incoming);
            self.incoming.shrink_to(MAX_CACHED_BYTES);
        } else {
            incoming.shrink_to_fit();
        }
        CACHED.set(Some(self));
    }
}
