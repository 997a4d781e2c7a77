//! The queue between the threads that log and the thread that writes, bounded in bytes.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender};

use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of bytes in the queue.
pub(crate) const MAX_QUEUED_BYTES: usize = 4 << 20;

thread_local! {
    /// Whether this is the thread that writes.
    pub(crate) static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// Counters shared by the threads that log and the thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Lines that were dropped.
    pub(crate) dropped: AtomicU64,
    /// Bytes in the queue.
    pub(crate) queued_bytes: AtomicUsize,
}

impl Counts {
    pub(crate) const fn new() -> Self {
        Self { dropped: AtomicU64::new(0), queued_bytes: AtomicUsize::new(0) }
    }
}

/// An entry of the queue.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Requests a reply when the queue is empty and everything is written.
    Flush(SyncSender<()>),
    Line(Vec<u8>),
}

/// The sending side of the queue, which a `tracing` layer writes its lines to.
#[derive(Clone, Debug)]
pub(crate) struct LineSender {
    pub(crate) entries: Sender<Entry>,
    pub(crate) counts: &'static Counts,
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = &'a LineSender;

    fn make_writer(&'a self) -> &'a LineSender {
        self
    }
}

/// Each write is a complete line.
impl Write for &LineSender {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Counts { dropped, queued_bytes } = self.counts;
        let is_full =
            queued_bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len() > MAX_QUEUED_BYTES;
        // The writer's own line reports how many were dropped. It is always queued, which stays bounded
        // because there is at most one per batch.
        let is_dropped = is_full && !IS_WRITER.get();
        if is_dropped || self.entries.send(Entry::Line(line.to_vec())).is_err() {
            queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
