//! The signals that the process handles, and those that it ignores.

use std::io;
use std::ops::RangeInclusive;

use rustix::process::Signal as SystemSignal;
use tokio::signal::unix::{self, SignalKind};

/// A signal that requests the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, which a terminal sends for Ctrl-C.
    Interrupt,
    /// SIGTERM, which systemd, Kubernetes and `kill` send.
    Terminate,
}

impl Signal {
    /// The exit code of a process that this signal ended, by the convention of shells: 128 plus the
    /// number of the signal.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Signals without a meaning here whose default action would end the process. Signals of debuggers,
/// terminals and faults keep their default action.
const IGNORED: &[SystemSignal] = &[
    SystemSignal::ALARM,
    SystemSignal::PROF,
    SystemSignal::USR1,
    SystemSignal::VTALARM,
    #[cfg(target_os = "linux")]
    SystemSignal::IO,
    #[cfg(target_os = "linux")]
    SystemSignal::POWER,
    #[cfg(target_os = "linux")]
    SystemSignal::STKFLT,
];

/// Real-time signals (SIGRTMIN to SIGRTMAX), without those that C libraries reserve.
#[cfg(target_os = "linux")]
const REAL_TIME: RangeInclusive<i32> = 35..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: RangeInclusive<i32> = 1..=0;

/// Ignores all signals without a meaning.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// The system refuses the registration.
pub(crate) fn ignore_others() -> io::Result<()> {
    let named = IGNORED.iter().map(|signal| signal.as_raw());
    // tokio installs its handler permanently, which replaces the default action.
    named
        .chain(REAL_TIME)
        .try_for_each(|signal| unix::signal(SignalKind::from_raw(signal)).map(drop))
}

/// The stream of a signal that requests something of the running server.
#[derive(Debug)]
pub(crate) struct Requests(unix::Signal);

impl Requests {
    /// Registers the handler of SIGHUP, which requests a reload. It replaces the default action of ending the
    /// process, as does the next one.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system refuses the registration.
    pub(crate) fn of_reloads() -> io::Result<Self> {
        unix::signal(SignalKind::hangup()).map(Self)
    }

    /// Registers the handler of SIGUSR2, which requests a successor, as for nginx.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system refuses the registration.
    pub(crate) fn of_successors() -> io::Result<Self> {
        unix::signal(SignalKind::user_defined2()).map(Self)
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The stream of SIGINT and SIGTERM, from its registration.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Registers the handlers, which replace the default action of ending the process at once.
    ///
    /// Must be called within a tokio runtime, and as early as possible: earlier signals end the process.
    ///
    /// # Errors
    ///
    /// The system refuses the registration.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            else => std::future::pending().await,
        }
    }
}
