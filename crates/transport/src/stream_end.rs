//! How a stream ends if its session did not close it.

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
    /// The peer closed its side in order, as far as TCP or HTTP/2 shows. Over TLS it may have omitted
    /// the `close_notify`.
    Eof,
    /// A read failed in another way, such as an invalid TLS record.
    ReadFailed,
    /// The peer reset the connection, or over HTTP/2 the stream.
    Reset,
    /// The operating system gave up on the peer, which acknowledged nothing.
    TimedOut,
    /// A write failed in another way: the peer accepts no more data.
    WriteFailed,
}

impl StreamEnd {
    /// All variants, in the order of their words.
    pub const ALL: &'static [Self] =
        &[Self::Eof, Self::ReadFailed, Self::Reset, Self::TimedOut, Self::WriteFailed];

    /// Returns its word, the same in logs and documents.
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
        // A read from a socket never fails with `BrokenPipe`: h2 reports the end of its connection so.
        if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof) {
            return Self::Eof;
        }
        Self::of_read_or_write(error).unwrap_or(Self::ReadFailed)
    }

    pub(crate) fn of_write(error: &io::Error) -> Self {
        Self::of_read_or_write(error).unwrap_or(Self::WriteFailed)
    }

    /// Returns the ends that reads and writes have in common.
    fn of_read_or_write(error: &io::Error) -> Option<Self> {
        use ErrorKind::{
            ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
            return Some(Self::Reset);
        }
        // If an ICMP message reported the host or network unreachable, Linux returns that in place of
        // the timeout, and not before it.
        matches!(error.kind(), HostUnreachable | NetworkUnreachable | TimedOut)
            .then_some(Self::TimedOut)
    }
}
