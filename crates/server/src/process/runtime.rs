//! The runtime: its threads, and how it is started. A thread that the system refuses is an error, and
//! neither a panic nor a wait for ever.

use std::any::Any;
use std::env::{self, VarError};
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{self, available_parallelism};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// What tokio reads by itself, where a wrong value is a panic.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// Nobody means more.
const MAX_WORKERS: usize = 1024;

/// How many sockets the network wakes at once. Each of them is in front of whoever is woken next, and in a
/// storm there are always more.
const MAX_IO_EVENTS: usize = 128;

/// Besides the workers: the log, and what reads settings.
const OTHER_THREADS: usize = 2;

/// Why there is no runtime.
#[derive(Debug)]
pub(crate) enum RuntimeError {
    /// The system does not have what it needs.
    Unavailable(String),
    /// The variable that says how many workers to start is wrong.
    WrongVariable(String),
}

/// Starts the workers.
///
/// # Errors
///
/// The system does not have the threads or the files for it, or their number is set wrong.
pub(crate) fn start() -> Result<Runtime, RuntimeError> {
    let workers = workers()?;
    // The runtime panics without the first worker, and goes on without the others.
    probe(workers + OTHER_THREADS).map_err(|error| {
        let count = workers + OTHER_THREADS;
        RuntimeError::Unavailable(format!("cannot start {count} threads: {error}"))
    })?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_io_events_per_tick(MAX_IO_EVENTS);
    build(builder)
}

/// Calls `register` within a runtime that is only this thread, and takes little time to start.
///
/// # Errors
///
/// The system does not have the files for it, or `register` fails.
pub(crate) fn with_current_thread<T>(
    register: impl FnOnce() -> io::Result<T>,
) -> Result<T, RuntimeError> {
    let runtime = build(Builder::new_current_thread())?;
    let _entered = runtime.enter();
    register()
        .map_err(|error| RuntimeError::Unavailable(format!("cannot register for signals: {error}")))
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(sentence) | Self::WrongVariable(sentence) => f.write_str(sentence),
        }
    }
}

fn workers() -> Result<usize, RuntimeError> {
    let wrong = |value: &dyn fmt::Debug| {
        RuntimeError::WrongVariable(format!(
            "the environment variable {WORKER_THREADS} is {value:?}: it must be a whole number from 1 \
             to {MAX_WORKERS}"
        ))
    };
    match env::var(WORKER_THREADS) {
        Ok(text) => match text.parse() {
            Ok(workers) if (1..=MAX_WORKERS).contains(&workers) => Ok(workers),
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
        let _shut = gate.lock();
        (0..count).try_for_each(|_| {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop)
        })
    })
}

/// tokio panics for some of what the system may refuse. That is in the error, and not printed.
fn build(mut builder: Builder) -> Result<Runtime, RuntimeError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(AssertUnwindSafe(|| builder.enable_all().build()));
    panic::set_hook(hook);
    built
        .unwrap_or_else(|panic| Err(io::Error::other(text(&*panic).to_owned())))
        .map_err(|error| RuntimeError::Unavailable(format!("cannot start the runtime: {error}")))
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
