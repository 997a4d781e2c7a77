//! How a stream ends that its session did not end.

use std::io::{self, ErrorKind};

/// How the stream of a session ended before the closing handshake was complete.
///
/// ```
/// use transport::StreamEnd;
///
/// assert_eq!(StreamEnd::TimedOut.as_str(), "timed_out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The peer ended its side in order, as far as TCP or HTTP/2 can tell. Within TLS it may have left
    /// out the `close_notify`.
    Eof,
    /// Reading failed in another way, such as a record of TLS that is none.
    ReadFailed,
    /// The peer reset the connection, or over HTTP/2 the stream.
    Reset,
    /// The system has given up on the peer, which acknowledged nothing.
    TimedOut,
    /// Writing failed in another way: the peer took no more.
    WriteFailed,
}

impl StreamEnd {
    /// Every way, in the order of its word.
    pub const ALL: &'static [Self] =
        &[Self::Eof, Self::ReadFailed, Self::Reset, Self::TimedOut, Self::WriteFailed];

    /// The word for it, the same in logs and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::ReadFailed => "read_failed",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::WriteFailed => "write_failed",
        }
    }

    pub(crate) fn of_read(error: &io::Error) -> Self {
        // No read of the system's breaks a pipe: h2 calls the end of its connection so.
        if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof) {
            return Self::Eof;
        }
        Self::of_either(error).unwrap_or(Self::ReadFailed)
    }

    pub(crate) fn of_write(error: &io::Error) -> Self {
        Self::of_either(error).unwrap_or(Self::WriteFailed)
    }

    /// What does not depend on what was tried.
    fn of_either(error: &io::Error) -> Option<Self> {
        use ErrorKind::{
            ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
            return Some(Self::Reset);
        }
        // Where a router has said why nothing gets through, Linux gives that as the reason when it gives
        // up, and not before.
        matches!(error.kind(), HostUnreachable | NetworkUnreachable | TimedOut)
            .then_some(Self::TimedOut)
    }
}
