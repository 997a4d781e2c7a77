//! The thread that writes the queued lines to the output.

use std::io::{ErrorKind, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::telemetry::writer::queue::{Counts, Entry, IS_WRITER};

/// Size above which a batch is written, so that many lines share a system call.
const BATCH_BYTES: usize = 64 << 10;

/// Time that lines are collected after a line was written at once. Waking this thread for each line would
/// cost more than formatting the lines when many connections open or close at once.
const COALESCE: Duration = Duration::from_millis(5);

/// Time between attempts to write while the output accepts nothing, doubled from the first to the second.
/// The flush at the end of the process has time for several attempts.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(5);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(160);

/// Writes entries until all senders are dropped.
pub(crate) fn write_lines(queue: &Receiver<Entry>, mut output: impl Write, counts: &Counts) {
    IS_WRITER.set(true);
    let (mut batch, mut flushes, mut reported) = (Vec::new(), Vec::new(), 0);
    while let Some(first) = next_entry(queue, &mut flushes) {
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => batch.extend(line),
                Entry::Flush(done) => flushes.push(done),
            }
            next = if batch.len() < BATCH_BYTES { queue.try_recv().ok() } else { None };
        }
        let is_queue_empty = batch.len() < BATCH_BYTES;
        write_all(&mut output, &batch);
        counts.queued_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        let dropped = counts.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            warn!(event = "lines_dropped", lines = dropped - reported);
            reported = dropped;
        }
        if is_queue_empty && flushes.is_empty() {
            thread::sleep(COALESCE);
        }
    }
}

/// Waits for the next entry. If the queue is empty, everything is written: replies to the flushes first.
fn next_entry(queue: &Receiver<Entry>, flushes: &mut Vec<SyncSender<()>>) -> Option<Entry> {
    match queue.try_recv() {
        Ok(entry) => Some(entry),
        Err(TryRecvError::Disconnected) => None,
        Err(TryRecvError::Empty) => {
            for done in flushes.drain(..) {
                let _ = done.send(());
            }
            queue.recv().ok()
        }
    }
}

/// Writes all bytes, and retries without limit.
///
/// A failed write may succeed later, when a pipe is read or a disk has space again. Skipping the rest of a
/// line would merge it with the next one.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) {
    let mut pause = MIN_RETRY_PAUSE;
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written) if written > 0 => {
                bytes = bytes.get(written..).unwrap_or_default();
                pause = MIN_RETRY_PAUSE;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                thread::sleep(pause);
                pause = MAX_RETRY_PAUSE.min(pause * 2);
            }
        }
    }
}
