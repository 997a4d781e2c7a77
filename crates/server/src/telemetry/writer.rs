//! Where log lines go: a queue, and a thread that writes what is in it.
//!
//! An output that takes nothing, such as a full pipe or a full disk, stops this thread alone, which
//! tries until it works again. The workers never wait: when too much waits already, a line is dropped
//! and counted. So a line is written whole or not at all, and every one that is not is counted.
//!
//! This is our own because what there is says so on stdout when it cannot flush at the end, and where
//! stdout is the same full pipe, the process would never end.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Registry, reload};

/// How many bytes may wait to be written.
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// How much is written at once, so that a storm of lines does not become a storm of system calls.
const BATCH_BYTES: usize = 64 << 10;

/// How long lines gather behind a line that was written at once. To wake this thread for each line
/// would cost a storm of connections more than making the lines does.
const COALESCE: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// From one attempt to write to the next while the output takes nothing: at first, and at most. The
/// end of the process has time for several.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(5);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(160);

/// There is one log in a process.
static COUNTS: Counts = Counts { dropped: AtomicU64::new(0), waiting: AtomicUsize::new(0) };

thread_local! {
    /// Whether this is the thread that writes.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// What those who log share with the thread that writes.
#[derive(Debug, Default)]
struct Counts {
    /// Lines that were dropped.
    dropped: AtomicU64,
    /// Bytes that wait to be written.
    waiting: AtomicUsize,
}

/// How many lines of the log were dropped, because too many waited to be written.
pub(crate) fn dropped_lines() -> u64 {
    COUNTS.dropped.load(Ordering::Relaxed)
}

/// The log of the process. Dropping it writes what still waits, for as long as a second.
#[derive(Debug)]
#[must_use = "the last lines are lost if it is dropped too early"]
pub struct LogWriter {
    entries: Sender<Entry>,
    filter: Filter,
    /// The thread has the sender.
    lives: watch::Receiver<()>,
}

/// What is logged, which may change.
pub(crate) type Filter = reload::Handle<Targets, Registry>;

/// What a `tracing` layer writes its lines to.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    entries: Sender<Entry>,
    counts: &'static Counts,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Is answered when nothing waits any more.
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
        let (life, lives) = watch::channel(());
        let write = move || {
            let _life = life;
            write_lines(&queue, output, &COUNTS);
        };
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((Self { entries: entries.clone(), filter, lives }, Lines { entries, counts: &COUNTS }))
    }

    /// Waits until the thread has ended, which it does before this is dropped only by a panic.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut lives = self.lives.clone();
        async move { while lives.changed().await.is_ok() {} }
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
            // If the output takes nothing, the rest is lost, and the process ends all the same.
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
        let Counts { dropped, waiting } = self.counts;
        let is_full =
            waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len() > MAX_QUEUED_BYTES;
        // The writer's own line says how many were dropped, and there is one for each batch at most, so
        // there is always room for it.
        let is_dropped = is_full && !IS_WRITER.get();
        if is_dropped || self.entries.send(Entry::Line(line.to_vec())).is_err() {
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(queue: &Receiver<Entry>, mut output: impl Write, counts: &Counts) {
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
        let is_all = batch.len() < BATCH_BYTES;
        write_all(&mut output, &batch);
        counts.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        let dropped = counts.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            warn!(event = "lines_dropped", lines = dropped - reported);
            reported = dropped;
        }
        if is_all && flushes.is_empty() {
            thread::sleep(COALESCE);
        }
    }
}

/// The next entry. If there is none yet, everything is written, and those who wait for that are told.
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

/// Writes all of it, however long that takes. What fails now may work later, when a pipe was read or a
/// disk has room again; and if the rest of a line was left out, the next would be taken for it.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// An output that is broken in a way that nothing may be.
    struct Panics;

    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a bug");
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_noticed_and_keeps_nobody_waiting() {
        let (_layer, filter) = reload::Layer::new(Targets::new());
        let (writer, lines) = LogWriter::start(Panics, filter).expect("there is a thread");
        (&lines).write_all(b"a line\n").expect("it is never refused");
        writer.ended().await;
        (&lines).write_all(b"another\n").expect("it is dropped");
    }

    /// An output that does to each write what the script says, and then takes everything.
    struct Scripted {
        script: VecDeque<Step>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    enum Step {
        Fail(ErrorKind),
        /// Meanwhile another thread does something, and so many bytes are taken at most.
        Take(usize, Box<dyn FnOnce() + Send>),
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = match self.script.pop_front() {
                Some(Step::Fail(kind)) => return Err(kind.into()),
                Some(Step::Take(most, meanwhile)) => {
                    thread::spawn(meanwhile).join().expect("it does not panic");
                    most
                }
                None => usize::MAX,
            };
            let taken = bytes.get(..most).unwrap_or(bytes);
            self.taken.lock().extend(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn take(most: usize) -> Step {
        Step::Take(most, Box::new(|| {}))
    }

    /// A log of a test's own.
    struct Log {
        lines: Lines,
        queue: Receiver<Entry>,
    }

    impl Log {
        fn new() -> Self {
            let (entries, queue) = mpsc::channel();
            Self { lines: Lines { entries, counts: Box::leak(Box::default()) }, queue }
        }

        /// Writes what was logged until nothing waits any more, and gives back what came out.
        fn written(self, script: impl IntoIterator<Item = Step>) -> String {
            let Self { lines, queue } = self;
            let taken = Arc::new(Mutex::new(Vec::new()));
            let script = script.into_iter().collect();
            let output = Scripted { script, taken: Arc::clone(&taken) };
            let (done, is_done) = mpsc::sync_channel(1);
            lines.entries.send(Entry::Flush(done)).expect("the queue is there");
            let counts = lines.counts;
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines);
            let subscriber = tracing_subscriber::registry().with(layer);
            thread::spawn(move || {
                with_default(subscriber, || write_lines(&queue, output, counts));
            });
            is_done.recv_timeout(Duration::from_secs(10)).expect("all of it is written");
            assert_eq!(counts.waiting.load(Ordering::Relaxed), 0);
            let taken = taken.lock();
            String::from_utf8(taken.clone()).expect("lines are text")
        }
    }

    fn log(mut lines: &Lines, line: &str) {
        lines.write_all(line.as_bytes()).expect("a line is taken or counted");
    }

    #[test]
    fn lines_are_whole_and_in_order_whatever_the_output_does() {
        use ErrorKind::{
            BrokenPipe, FileTooLarge, Interrupted, Other, StorageFull, WouldBlock, WriteZero,
        };
        for kind in
            [BrokenPipe, FileTooLarge, Interrupted, Other, StorageFull, WouldBlock, WriteZero]
        {
            let log_of = Log::new();
            let sent: String = (0..100).map(|number| format!("line {number}\n")).collect();
            sent.split_inclusive('\n').for_each(|line| log(&log_of.lines, line));
            let counts = log_of.lines.counts;
            // At the beginning, between two lines, in the middle of one; again and again; and short.
            let script = [
                Step::Fail(kind),
                take(7),
                Step::Fail(kind),
                take(3),
                Step::Fail(kind),
                Step::Fail(kind),
                take(1),
                take(0),
                take(200),
                Step::Fail(kind),
            ];
            assert_eq!(log_of.written(script), sent, "{kind:?}");
            assert_eq!(counts.dropped.load(Ordering::Relaxed), 0, "{kind:?}");
        }
    }

    #[test]
    fn lines_that_were_dropped_are_told_though_the_queue_is_full_and_before_the_end() {
        let log_of = Log::new();
        log(&log_of.lines, "first\n");
        let lines = log_of.lines.clone();
        // While the first is written, so much comes that there is no room for a line that tells it.
        let meanwhile = move || {
            log(&lines, &format!("{}\n", "x".repeat(MAX_QUEUED_BYTES - 10)));
            (0..3).for_each(|_| log(&lines, "too much\n"));
        };
        let written = log_of.written([Step::Take(6, Box::new(meanwhile))]);
        assert!(!written.contains("too much"));
        let last = written.lines().last().expect("there are lines");
        assert!(last.contains("event=\"lines_dropped\" lines=3"), "{last}");
    }

    #[test]
    fn every_line_is_written_or_counted_while_the_output_fails() {
        let log_of = Log::new();
        log(&log_of.lines, "first\n");
        let lines = log_of.lines.clone();
        let line = format!("{}\n", "y".repeat(999));
        let sent = 2 * MAX_QUEUED_BYTES / line.len();
        let whole = line.clone();
        let storm = move || (0..sent).for_each(|_| log(&lines, &line));
        let script = [Step::Take(2, Box::new(storm)), Step::Fail(ErrorKind::StorageFull)];
        let written = log_of.written(script);
        let arrived = written.split_inclusive('\n').filter(|line| **line == whole).count();
        let (_, reported) = written.rsplit_once(" lines=").expect("it is reported");
        assert_eq!(reported.trim_end().parse(), Ok(sent - arrived));
        assert_eq!(written.lines().count(), 1 + arrived + 1);
    }
}
