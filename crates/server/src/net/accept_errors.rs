//! Errors of `accept`, and the back-off after them.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::sleep;

/// The pause after an error of the listener, which mostly is a lack of file descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Consecutive errors of single connections without a pause. A system where `accept` fails for every
/// connection, as in a sandbox, must not cause a busy loop.
const MAX_CONSECUTIVE: u32 = 128;

/// Errors of a single connection, after which `accept` can succeed at once: accept(2) reports pending
/// network errors of the new connection, and firewall rules that forbid it.
const CONNECTION_ERRORS: &[Errno] = &[
    Errno::CONNABORTED,
    Errno::CONNRESET,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    #[cfg(target_os = "linux")]
    Errno::NONET,
    Errno::NOPROTOOPT,
    Errno::OPNOTSUPP,
    Errno::PERM,
    Errno::PROTO,
];

/// The back-off of one listener.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors {
    /// Errors of single connections since the last accepted one or the last pause.
    consecutive: u32,
}

impl AcceptErrors {
    /// Resets the count after an accepted connection.
    pub(crate) fn reset(&mut self) {
        self.consecutive = 0;
    }

    /// Waits for the back-off of this error, which may be zero.
    pub(crate) async fn pause(&mut self, error: &io::Error) {
        if is_connection_error(error) && self.consecutive < MAX_CONSECUTIVE {
            self.consecutive += 1;
        } else {
            self.consecutive = 0;
            sleep(BACK_OFF).await;
        }
    }
}

/// Returns whether `error` concerns a single connection and not the listener.
pub(crate) fn is_connection_error(error: &io::Error) -> bool {
    CONNECTION_ERRORS.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// The total pause after `count` of these errors.
    async fn total_pause(errno: Errno, count: u32) -> Duration {
        let begin = Instant::now();
        let mut errors = AcceptErrors::default();
        for _ in 0..count {
            errors.pause(&io::Error::from(errno)).await;
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_one_connection_does_not_delay_others() {
        for errno in CONNECTION_ERRORS {
            assert_eq!(total_pause(*errno, MAX_CONSECUTIVE).await, Duration::ZERO, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert!(total_pause(errno, 3).await >= BACK_OFF * 3, "{errno}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_every_connection_are_backed_off_from() {
        let waited = total_pause(Errno::PERM, 10 * (MAX_CONSECUTIVE + 1)).await;
        assert!(waited >= BACK_OFF * 10, "{waited:?}");
        // An accepted connection resets the count.
        let mut errors = AcceptErrors::default();
        let begin = Instant::now();
        for _ in 0..10 * MAX_CONSECUTIVE {
            errors.pause(&io::Error::from(Errno::PERM)).await;
            errors.reset();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
