//! Where log lines go: a queue, and a thread that writes what is in it.
//!
//! A reader that stands still, such as a full pipe, stops this thread alone. The workers never wait:
//! when too much waits already, a line is dropped and counted.
//!
//! This is our own because what there is says so on stdout when it cannot flush at the end, and where
//! stdout is the same full pipe, the process would never end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Registry, reload};

/// How many bytes may wait to be written.
const MOST_WAITING: usize = 4 << 20;

/// How much is written at once, so that a storm of lines does not become a storm of system calls.
const BATCH: usize = 64 << 10;

/// How long lines gather behind a line that was written at once. To wake this thread for each line
/// would cost a storm of connections more than making the lines does.
const GATHERING: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines that were dropped. There is one log in a process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Bytes that wait to be written.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How many lines of the log were dropped, because nobody read them.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The log of the process. Dropping it writes what still waits, for as long as a second.
#[derive(Debug)]
#[must_use = "the last lines are lost if it is dropped too early"]
pub struct LogWriter {
    entries: Sender<Entry>,
    filter: Filter,
}

/// What is logged, which may change.
pub(crate) type Filter = reload::Handle<Targets, Registry>;

/// What a `tracing` layer writes its lines to.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Sender<Entry>);

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Everything before it is written when this is answered.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread, which writes to `output`.
    ///
    /// # Errors
    ///
    /// The system has no thread for it.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        filter: Filter,
    ) -> io::Result<(Self, Lines)> {
        let (entries, queue) = mpsc::channel();
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&queue, output))?;
        Ok((Self { entries: entries.clone(), filter }, Lines(entries)))
    }

    /// Changes what is logged.
    pub(crate) fn set_filter(&self, targets: Targets) {
        // It fails only when there is no subscriber any more, and then nothing is logged.
        let _ = self.filter.reload(targets);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.entries.send(Entry::Flush(done)).is_ok() {
            // If nobody reads, the rest is lost, and the process ends all the same.
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// Each write is a whole line.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let waiting = WAITING.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() > MOST_WAITING || self.0.send(Entry::Line(line.to_vec())).is_err() {
            WAITING.fetch_sub(line.len(), Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(queue: &Receiver<Entry>, mut output: impl Write) {
    let mut batch = Vec::new();
    let mut reported = 0;
    while let Ok(first) = queue.recv() {
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => batch.extend(line),
                Entry::Flush(done) => flushed.push(done),
            }
            next = if batch.len() < BATCH { queue.try_recv().ok() } else { None };
        }
        let is_all = batch.len() < BATCH;
        // Where that fails there is nobody to tell.
        let _ = output.write_all(&batch);
        WAITING.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        for done in flushed {
            let _ = done.send(());
        }
        let dropped = dropped_lines();
        if dropped > reported {
            warn!(event = "lines_dropped", lines = dropped - reported);
            reported = dropped;
        }
        if is_all {
            thread::sleep(GATHERING);
        }
    }
}
