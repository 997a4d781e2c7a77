//! What accepting may fail for, and how long to wait before it is tried again.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::sleep;

/// How long to wait when accepting fails for lack of something, which is mostly files.
const BACK_OFF: Duration = Duration::from_millis(100);

/// So many failures of connections may follow on each other without a pause. A system that says so of
/// every connection, as a sandbox may, must not keep a processor busy.
const MAX_IN_A_ROW: u32 = 128;

/// What is wrong with one connection and not with the next: accept(2) tells of an error that is pending
/// on it, and of a firewall that forbids it.
const OF_ONE_CONNECTION: &[Errno] = &[
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

/// The failures of one listener.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors {
    in_a_row: u32,
}

impl AcceptErrors {
    /// A connection was accepted.
    pub(crate) fn reset(&mut self) {
        self.in_a_row = 0;
    }

    /// Waits for as long as has to be after this error.
    pub(crate) async fn pause(&mut self, error: &io::Error) {
        if is_of_one_connection(error) && self.in_a_row < MAX_IN_A_ROW {
            self.in_a_row += 1;
        } else {
            self.in_a_row = 0;
            sleep(BACK_OFF).await;
        }
    }
}

/// Whether the next connection may be accepted all the same.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    OF_ONE_CONNECTION.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How long is waited for in all, after so many of these errors.
    async fn paused(errno: Errno, count: u32) -> Duration {
        let begin = Instant::now();
        let mut errors = AcceptErrors::default();
        for _ in 0..count {
            errors.pause(&io::Error::from(errno)).await;
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_one_connection_keeps_no_other_waiting() {
        for errno in OF_ONE_CONNECTION {
            assert_eq!(paused(*errno, MAX_IN_A_ROW).await, Duration::ZERO, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert!(paused(errno, 3).await >= BACK_OFF * 3, "{errno}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_says_so_of_every_connection_is_asked_no_faster_than_that() {
        let waited = paused(Errno::PERM, 10 * (MAX_IN_A_ROW + 1)).await;
        assert!(waited >= BACK_OFF * 10, "{waited:?}");
        // One that is accepted begins it anew.
        let mut errors = AcceptErrors::default();
        let begin = Instant::now();
        for _ in 0..10 * MAX_IN_A_ROW {
            errors.pause(&io::Error::from(Errno::PERM)).await;
            errors.reset();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
