//! A blocking stream with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A stream that waits until a moment. A timeout of the socket alone is no such bound: it begins anew
/// with each read, and the codec reads on for as long as parts of a frame trickle in.
#[derive(Debug)]
pub(crate) struct Bounded {
    stream: TcpStream,
    /// From then on, every call is told to come back later.
    pub(crate) until: Instant,
}

impl Bounded {
    /// Bounds what has just been connected.
    pub(crate) fn new(stream: TcpStream, until: Instant) -> io::Result<Self> {
        // Small writes leave at once.
        stream.set_nodelay(true)?;
        Ok(Self { stream, until })
    }

    fn time_left(&self) -> io::Result<Duration> {
        let time = self.until.saturating_duration_since(Instant::now());
        // A timeout of zero is none.
        if time.is_zero() { Err(ErrorKind::WouldBlock.into()) } else { Ok(time) }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.time_left()?))?;
        self.stream.read(buffer).map_err(without_interruption)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.time_left()?))?;
        self.stream.write(bytes).map_err(without_interruption)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A signal interrupts a wait that has a timeout, and is one more reason to look around.
fn without_interruption(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::Interrupted => ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
