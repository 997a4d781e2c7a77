//! Tests of the log writer: with outputs that fail, block and panic.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::subscriber::with_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;

use crate::telemetry::writer::LogWriter;
use crate::telemetry::writer::queue::{Entry, LineSender, MAX_QUEUED_BYTES};
use crate::telemetry::writer::thread::write_lines;

/// An output that panics.
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
async fn a_panic_of_the_thread_is_reported_and_later_lines_are_dropped() {
    let (_layer, filter) = reload::Layer::new(Targets::new());
    let (writer, lines) = LogWriter::start(Panics, filter).expect("the thread starts");
    (&lines).write_all(b"a line\n").expect("logging never fails");
    writer.thread_ended().await;
    (&lines).write_all(b"another\n").expect("logging never fails");
}

/// An output that follows a script, one step per write, and then accepts everything.
struct Scripted {
    script: VecDeque<Step>,
    accepted: Arc<Mutex<Vec<u8>>>,
}

enum Step {
    Fail(ErrorKind),
    /// Accepts at most this many bytes, after another thread has run the closure.
    Accept(usize, Box<dyn FnOnce() + Send>),
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = match self.script.pop_front() {
            Some(Step::Fail(kind)) => return Err(kind.into()),
            Some(Step::Accept(limit, concurrent)) => {
                thread::spawn(concurrent).join().expect("it does not panic");
                limit
            }
            None => usize::MAX,
        };
        let accepted = bytes.get(..limit).unwrap_or(bytes);
        self.accepted.lock().extend(accepted);
        Ok(accepted.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn accept(limit: usize) -> Step {
    Step::Accept(limit, Box::new(|| {}))
}

/// A log that is independent of the process.
struct Log {
    lines: LineSender,
    queue: Receiver<Entry>,
}

impl Log {
    fn new() -> Self {
        let (entries, queue) = mpsc::channel();
        Self { lines: LineSender { entries, counts: Box::leak(Box::default()) }, queue }
    }

    /// Writes the queue until it is empty, and returns the output.
    fn written(self, script: impl IntoIterator<Item = Step>) -> String {
        let Self { lines, queue } = self;
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let script = script.into_iter().collect();
        let output = Scripted { script, accepted: Arc::clone(&accepted) };
        let (done, is_done) = mpsc::sync_channel(1);
        lines.entries.send(Entry::Flush(done)).expect("the queue exists");
        let counts = lines.counts;
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines);
        let subscriber = tracing_subscriber::registry().with(layer);
        thread::spawn(move || {
            with_default(subscriber, || write_lines(&queue, output, counts));
        });
        is_done.recv_timeout(Duration::from_secs(10)).expect("all lines are written");
        assert_eq!(counts.queued_bytes.load(Ordering::Relaxed), 0);
        let accepted = accepted.lock();
        String::from_utf8(accepted.clone()).expect("lines are text")
    }
}

fn log(mut lines: &LineSender, line: &str) {
    lines.write_all(line.as_bytes()).expect("logging never fails");
}

#[test]
fn lines_are_complete_and_in_order_when_writes_fail_or_are_short() {
    use ErrorKind::{
        BrokenPipe, FileTooLarge, Interrupted, Other, StorageFull, WouldBlock, WriteZero,
    };
    for kind in [BrokenPipe, FileTooLarge, Interrupted, Other, StorageFull, WouldBlock, WriteZero] {
        let test_log = Log::new();
        let sent: String = (0..100).map(|number| format!("line {number}\n")).collect();
        sent.split_inclusive('\n').for_each(|line| log(&test_log.lines, line));
        let counts = test_log.lines.counts;
        // Failures at the start, between and within lines, repeated, and short writes.
        let script = [
            Step::Fail(kind),
            accept(7),
            Step::Fail(kind),
            accept(3),
            Step::Fail(kind),
            Step::Fail(kind),
            accept(1),
            accept(0),
            accept(200),
            Step::Fail(kind),
        ];
        assert_eq!(test_log.written(script), sent, "{kind:?}");
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 0, "{kind:?}");
    }
}

#[test]
fn dropped_lines_are_reported_although_the_queue_is_full_and_before_the_flush() {
    let test_log = Log::new();
    log(&test_log.lines, "first\n");
    let lines = test_log.lines.clone();
    // While the first line is written, the queue fills up, without room for the report.
    let concurrent = move || {
        log(&lines, &format!("{}\n", "x".repeat(MAX_QUEUED_BYTES - 10)));
        (0..3).for_each(|_| log(&lines, "too much\n"));
    };
    let written = test_log.written([Step::Accept(6, Box::new(concurrent))]);
    assert!(!written.contains("too much"));
    let last = written.lines().last().expect("there are lines");
    assert!(last.contains("event=\"lines_dropped\" lines=3"), "{last}");
}

#[test]
fn every_line_is_written_or_counted_while_the_output_fails() {
    let test_log = Log::new();
    log(&test_log.lines, "first\n");
    let lines = test_log.lines.clone();
    let line = format!("{}\n", "y".repeat(999));
    let sent = 2 * MAX_QUEUED_BYTES / line.len();
    let complete = line.clone();
    let flood = move || (0..sent).for_each(|_| log(&lines, &line));
    let script = [Step::Accept(2, Box::new(flood)), Step::Fail(ErrorKind::StorageFull)];
    let written = test_log.written(script);
    let arrived = written.split_inclusive('\n').filter(|line| **line == complete).count();
    let (_, reported) = written.rsplit_once(" lines=").expect("it is reported");
    assert_eq!(reported.trim_end().parse(), Ok(sent - arrived));
    assert_eq!(written.lines().count(), 1 + arrived + 1);
}
