//! Starts the runtime and its threads. A thread that the system refuses is reported as an error, where
//! tokio would panic or wait for ever.

use std::any::Any;
use std::env::{self, VarError};
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{self, available_parallelism};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// The variable that tokio reads itself, and panics about if it is invalid.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// Upper bound of `TOKIO_WORKER_THREADS`.
const MAX_WORKERS: usize = 1024;

/// I/O events per tick of the driver. Each one is scheduled before tasks that are woken later, so the bound
/// limits the latency under a flood of events.
const MAX_IO_EVENTS: usize = 128;

/// Threads besides the workers: the log, and the one that reads settings.
const OTHER_THREADS: usize = 2;

/// Why the runtime cannot start.
#[derive(Debug)]
pub(crate) enum RuntimeError {
    /// The variable with the number of workers is invalid.
    InvalidVariable(String),
    /// The system lacks threads or files.
    Unavailable(String),
}

/// Starts the runtime with its workers.
///
/// # Errors
///
/// The system lacks threads or files, or the number of workers is invalid.
pub(crate) fn start() -> Result<Runtime, RuntimeError> {
    let workers = workers()?;
    // tokio panics if the first worker cannot start, and ignores the failure of any other.
    probe(workers + OTHER_THREADS).map_err(|error| {
        let count = workers + OTHER_THREADS;
        RuntimeError::Unavailable(format!("cannot start {count} threads: {error}"))
    })?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_io_events_per_tick(MAX_IO_EVENTS);
    build(builder)
}

/// Calls `register` in the context of a current-thread runtime, which starts quickly.
///
/// # Errors
///
/// The system lacks files, or `register` fails.
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
            Self::Unavailable(sentence) | Self::InvalidVariable(sentence) => f.write_str(sentence),
        }
    }
}

fn workers() -> Result<usize, RuntimeError> {
    let invalid = |value: &dyn fmt::Debug| {
        RuntimeError::InvalidVariable(format!(
            "the environment variable {WORKER_THREADS} is {value:?}: it must be a whole number from 1 \
             to {MAX_WORKERS}"
        ))
    };
    match env::var(WORKER_THREADS) {
        Ok(text) => match text.parse() {
            Ok(workers) if (1..=MAX_WORKERS).contains(&workers) => Ok(workers),
            Ok(_) | Err(_) => Err(invalid(&text)),
        },
        Err(VarError::NotPresent) => Ok(available_parallelism().map_or(1, usize::from)),
        Err(VarError::NotUnicode(text)) => Err(invalid(&text)),
    }
}

/// Checks that `count` threads can exist at the same time, by starting them.
fn probe(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        (0..count).try_for_each(|_| {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop)
        })
    })
}

/// Builds the runtime. tokio panics on some failures of the system; the panic becomes an error, without
/// a message on stderr.
fn build(mut builder: Builder) -> Result<Runtime, RuntimeError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(AssertUnwindSafe(|| builder.enable_all().build()));
    panic::set_hook(hook);
    built
        .unwrap_or_else(|panic| Err(io::Error::other(panic_message(&*panic).to_owned())))
        .map_err(|error| RuntimeError::Unavailable(format!("cannot start the runtime: {error}")))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
