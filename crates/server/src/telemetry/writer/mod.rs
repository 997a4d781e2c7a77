//! The log writer: a bounded queue of lines, and the thread that writes them to the output.
//!
//! An output that accepts nothing, such as a full pipe or a full disk, blocks only this thread, which
//! retries until it works again. The threads that log never wait: if the queue is full, a line is dropped
//! and counted. A line is therefore written completely, or counted.
//!
//! Replaces `tracing-appender`, which reports a failed flush at the end of the process on stdout: if
//! stdout is the same full pipe, the process never ends.

mod queue;
#[cfg(test)]
mod tests;
mod thread;

use std::future::Future;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Registry, reload};

use self::queue::{Counts, Entry, LineSender};
use self::thread::write_lines;

/// Time that the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The counters of the process's log.
static COUNTS: Counts = Counts::new();

/// Returns how many log lines were dropped because the queue was full.
pub(crate) fn dropped_lines() -> u64 {
    COUNTS.dropped.load(Ordering::Relaxed)
}

/// The log of the process. Dropping it writes the queued lines, for at most 1 second.
#[derive(Debug)]
#[must_use = "the last lines are lost if it is dropped too early"]
pub struct LogWriter {
    entries: Sender<Entry>,
    filter: Filter,
    /// Closed when the thread, which holds the sender, ends.
    thread_alive: watch::Receiver<()>,
}

/// The filter of the log, which can be replaced.
pub(crate) type Filter = reload::Handle<Targets, Registry>;

impl LogWriter {
    /// Starts the thread, which writes to `output`.
    ///
    /// # Errors
    ///
    /// The system refuses the thread.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        filter: Filter,
    ) -> io::Result<(Self, LineSender)> {
        let (entries, queue) = mpsc::channel();
        let (alive, thread_alive) = watch::channel(());
        let write = move || {
            let _alive = alive;
            write_lines(&queue, output, &COUNTS);
        };
        Builder::new().name("log".to_owned()).spawn(write)?;
        let sender = LineSender { entries: entries.clone(), counts: &COUNTS };
        Ok((Self { entries, filter, thread_alive }, sender))
    }

    /// Waits until the thread has ended. Before the writer is dropped, only a panic ends it.
    pub(crate) fn thread_ended(&self) -> impl Future<Output = ()> + use<> {
        let mut thread_alive = self.thread_alive.clone();
        async move { while thread_alive.changed().await.is_ok() {} }
    }

    /// Replaces the filter.
    pub(crate) fn set_filter(&self, targets: Targets) {
        // Fails only if the subscriber was dropped; then nothing is logged.
        let _ = self.filter.reload(targets);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.entries.send(Entry::Flush(done)).is_ok() {
            // If the output accepts nothing in time, the rest is lost and the process ends.
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}
