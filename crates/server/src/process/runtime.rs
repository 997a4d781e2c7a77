//! Threads: those that serve, and one for whatever may block. A thread that the system refuses is an
//! error, and neither a panic nor a wait for ever.

use std::any::Any;
use std::env::{self, VarError};
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::held;

/// What tokio reads by itself, where a wrong value is a panic.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// Nobody means more.
const MOST_WORKERS: usize = 1024;

/// How many sockets the network wakes at once. Each of them is in front of whoever is woken next, and in a
/// storm there are always more.
const EVENTS_AT_ONCE: usize = 128;

/// Besides the workers: the log, and what reads settings.
const OTHER_THREADS: usize = 2;

/// Why there is no runtime.
#[derive(Debug)]
pub(crate) enum NoRuntime {
    /// The system does not have what it needs.
    Refused(String),
    /// The variable that says how many workers to start is wrong.
    WrongVariable(String),
}

/// Starts the workers.
///
/// # Errors
///
/// The system does not have the threads or the files for it, or their number is set wrong.
pub(crate) fn start() -> Result<Runtime, NoRuntime> {
    let workers = workers()?;
    // The runtime panics without the first worker, and goes on without the others.
    probe(workers + OTHER_THREADS).map_err(|error| {
        let count = workers + OTHER_THREADS;
        NoRuntime::Refused(format!("cannot start {count} threads: {error}"))
    })?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_io_events_per_tick(EVENTS_AT_ONCE);
    build(builder)
}

/// Calls `register` within a runtime that is only this thread, and takes little time to start.
///
/// # Errors
///
/// The system does not have the files for it, or `register` fails.
pub(crate) fn briefly<T>(register: impl FnOnce() -> io::Result<T>) -> Result<T, NoRuntime> {
    let runtime = build(Builder::new_current_thread())?;
    let _entered = runtime.enter();
    register().map_err(|error| NoRuntime::Refused(format!("cannot register for signals: {error}")))
}

/// Does `work` on a thread of its own, which is left behind if this is dropped. tokio's own pool has such
/// work wait, for as long as its threads live, when the system refuses one more.
///
/// # Errors
///
/// The system has no thread for it, or it panicked.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Nobody waits any more.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    result.await.map_err(|_| io::Error::other("it panicked"))
}

/// How long a disk is waited for while the server serves.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// One thread at a time for the same kind of work, which may block for ever: on a disk that does not answer, a
/// thread cannot be ended, and each attempt would leave one more behind.
#[derive(Debug)]
pub(crate) struct DiskThread {
    name: &'static str,
    free: Arc<Semaphore>,
}

impl DiskThread {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, free: Arc::new(Semaphore::new(1)) }
    }

    /// Does `work` on the thread. After ten seconds the thread is left behind, and until it is done nothing
    /// more is begun. Cancel safe: it is left behind then, too.
    ///
    /// # Errors
    ///
    /// It takes too long, the same as before still does, or there is no thread for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let begun = async {
            // Whoever was cancelled has mostly left a thread that is nearly done.
            let turn = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let result = work();
                drop(turn);
                result
            };
            let done = on_a_thread(self.name, work).await;
            done.map_err(|error| io::Error::other(format!("no thread has done it: {error}")))
        };
        timeout(DISK_TIMEOUT, begun).await.unwrap_or_else(|_| {
            let seconds = DISK_TIMEOUT.as_secs();
            Err(io::Error::other(format!("the disk has not answered for {seconds} seconds")))
        })
    }
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(sentence) | Self::WrongVariable(sentence) => f.write_str(sentence),
        }
    }
}

fn workers() -> Result<usize, NoRuntime> {
    let wrong = |value: &dyn fmt::Debug| {
        NoRuntime::WrongVariable(format!(
            "the environment variable {WORKER_THREADS} is {value:?}: it must be a whole number from 1 \
             to {MOST_WORKERS}"
        ))
    };
    match env::var(WORKER_THREADS) {
        Ok(text) => match text.parse() {
            Ok(workers) if (1..=MOST_WORKERS).contains(&workers) => Ok(workers),
            Ok(_) | Err(_) => Err(wrong(&text)),
        },
        Err(VarError::NotPresent) => Ok(available_parallelism().map_or(1, usize::from)),
        Err(VarError::NotUnicode(text)) => Err(wrong(&text)),
    }
}

/// Whether the system has so many threads for us at the same time.
fn probe(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _shut = held(&gate);
        (0..count).try_for_each(|_| {
            thread::Builder::new().spawn_scoped(scope, || drop(held(&gate))).map(drop)
        })
    })
}

/// tokio panics for some of what the system may refuse. That is in the error, and not printed.
fn build(mut builder: Builder) -> Result<Runtime, NoRuntime> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(AssertUnwindSafe(|| builder.enable_all().build()));
    panic::set_hook(hook);
    built
        .unwrap_or_else(|panic| Err(io::Error::other(text(&*panic).to_owned())))
        .map_err(|error| NoRuntime::Refused(format!("cannot start the runtime: {error}")))
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_takes_one_thread_and_costs_no_more_than_a_while() {
        let thread = DiskThread::new("test");
        let begun = Arc::new(AtomicUsize::new(0));
        let work = |answers: Option<mpsc::Receiver<()>>| {
            let begun = Arc::clone(&begun);
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                answers.map(|answers| answers.recv())
            }
        };
        let (answer, answers) = mpsc::channel::<()>();
        let error = thread.run(work(Some(answers))).await.unwrap_err();
        assert_eq!(error.to_string(), "the disk has not answered for 10 seconds");
        for _ in 0..3 {
            assert!(thread.run(work(None)).await.is_err());
        }

        drop(answer);
        // Otherwise the clock runs ahead of a thread that is under way.
        tokio::time::resume();
        thread.run(work(None)).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2, "nothing was begun meanwhile");
    }
}
