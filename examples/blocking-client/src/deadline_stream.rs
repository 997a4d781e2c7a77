//! A blocking stream with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A stream that blocks until a deadline at most. A socket timeout alone is no such bound: it restarts
/// with each read, and the codec keeps reading while parts of a frame arrive slowly.
#[derive(Debug)]
pub(crate) struct DeadlineStream {
    stream: TcpStream,
    /// Every call after this instant returns `WouldBlock`.
    pub(crate) deadline: Instant,
}

impl DeadlineStream {
    /// Wraps a connected stream.
    pub(crate) fn new(stream: TcpStream, deadline: Instant) -> io::Result<Self> {
        // Send small writes at once.
        stream.set_nodelay(true)?;
        Ok(Self { stream, deadline })
    }

    fn time_left(&self) -> io::Result<Duration> {
        let time = self.deadline.saturating_duration_since(Instant::now());
        // The standard library rejects a timeout of zero.
        if time.is_zero() { Err(ErrorKind::WouldBlock.into()) } else { Ok(time) }
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.time_left()?))?;
        self.stream.read(buffer).map_err(interrupted_to_would_block)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.time_left()?))?;
        self.stream.write(bytes).map_err(interrupted_to_would_block)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A signal interrupts a call that has a timeout. The caller returns to its loop, as after a timeout.
fn interrupted_to_would_block(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::Interrupted => ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
