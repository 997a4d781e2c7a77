//! The signals that the process heeds, and those that it does not.

use std::io;
use std::ops::RangeInclusive;

use rustix::process::Signal as SystemSignal;
use tokio::signal::unix::{self, SignalKind};

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, which a terminal sends for Ctrl-C.
    Interrupt,
    /// SIGTERM, which systemd, Kubernetes and `kill` send.
    Terminate,
}

impl Signal {
    /// The exit code of a process that this signal ended, by the convention of shells: 128 and the
    /// signal's number.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Signals that mean nothing here and would end the process without a word. Those of a debugger, a
/// terminal or a fault are not among them: they keep their meaning.
const IGNORED: &[SystemSignal] = &[
    SystemSignal::ALARM,
    SystemSignal::PROF,
    SystemSignal::USR1,
    SystemSignal::USR2,
    SystemSignal::VTALARM,
    #[cfg(target_os = "linux")]
    SystemSignal::IO,
    #[cfg(target_os = "linux")]
    SystemSignal::POWER,
    #[cfg(target_os = "linux")]
    SystemSignal::STKFLT,
];

/// Those without a name (SIGRTMIN to SIGRTMAX), as far as no C library has them for itself.
#[cfg(target_os = "linux")]
const REAL_TIME: RangeInclusive<i32> = 35..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: RangeInclusive<i32> = 1..=0;

/// Has the signals that mean nothing do nothing.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// The system refuses.
pub(crate) fn ignore_others() -> io::Result<()> {
    let named = IGNORED.iter().map(|signal| signal.as_raw());
    // Once somebody has listened for it, a signal does nothing by itself any more.
    named
        .chain(REAL_TIME)
        .try_for_each(|signal| unix::signal(SignalKind::from_raw(signal)).map(drop))
}

/// The signals that ask for the settings to be read again: SIGHUP.
#[derive(Debug)]
pub(crate) struct Hangups(unix::Signal);

impl Hangups {
    /// Takes the signal over from the system, which would end the process.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(crate) fn register() -> io::Result<Self> {
        unix::signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that have come since this was made, one after the other.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process at once.
    ///
    /// Must be called within a tokio runtime, and first of all: what comes before it ends the process.
    ///
    /// # Errors
    ///
    /// The system refuses.
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
        }
    }
}
