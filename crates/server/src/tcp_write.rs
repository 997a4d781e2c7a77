//! Writing to a TCP connection so that little lies between the server and a slow client.
//!
//! What the system has taken is out of our hands: a newer state cannot replace it, and a ping waits
//! behind it. So the system keeps little of our output, and more only where that is acknowledged soon.

use std::io::{self, IoSlice};
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg, sockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What the system keeps of our output at first: the least that Linux grants (`SO_SNDBUF`; it doubles
/// it for its own bookkeeping).
pub(crate) const FIRST_BUFFER: usize = 2304;

/// Where so much as the first buffer holds goes out in this time, the buffer may double: the path is
/// long rather than slow. A connection of 64 kbit/s takes longer for the first one.
const SOON: Duration = Duration::from_millis(200);

/// Where it takes this long, the path is slow, and the buffer is the first again.
const LATE: Duration = Duration::from_millis(500);

/// The most that is written at once. Linux takes a write as a whole, whatever room is left.
const MOST: usize = 8 << 10;

/// The least that is written at once to a client that is slow.
const LEAST: usize = 1 << 10;

/// After so many writes in a row that were not refused, a client is not slow any more.
const FAST: u8 = 8;

/// How much is written at once, and how much of it the system keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    /// Writes since one was refused, up to [`FAST`].
    accepted: u8,
    /// How often the buffer has doubled.
    doublings: u8,
    /// What has gone out since a moment of a backlog, in parts of the buffer and in [`TICK`]s.
    drained: u16,
    since: u16,
}

/// Parts that a buffer has, whatever its size.
const PARTS: usize = 144;

const TICK: Duration = Duration::from_millis(4);

impl Default for Writer {
    fn default() -> Self {
        Self { accepted: FAST, doublings: 0, drained: 0, since: 0 }
    }
}

impl Writer {
    /// Writes a part of `bytes`.
    pub(crate) fn poll_write(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let chunk = bytes.get(..self.chunk(bytes.len())).unwrap_or(bytes);
        let written = poll_send(stream, cx, |flags| send(stream, chunk, flags));
        self.adapt(stream, &written);
        written
    }

    /// Writes slices together as far as one chunk has room for all, as it has for a head and a body.
    pub(crate) fn poll_write_vectored(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        if self.chunk(total) < total {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(stream, cx, first.map_or(&[], |slice| slice));
        }
        let written = poll_send(stream, cx, |flags| {
            sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)
        });
        self.adapt(stream, &written);
        written
    }

    /// The next message is asked for when the last chunk of this one is taken, so towards its end the
    /// chunks get small where the client is slow.
    pub(crate) fn chunk(self, rest: usize) -> usize {
        if self.accepted < FAST { (rest / 4).clamp(LEAST, MOST) } else { MOST }
    }

    /// In a backlog what is accepted is what has gone out.
    fn adapt(&mut self, stream: &TcpStream, written: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(count)) = written else {
            if self.accepted == FAST {
                (self.drained, self.since) = (0, ticks());
            }
            self.accepted = 0;
            return;
        };
        if self.accepted == FAST {
            return;
        }
        self.accepted += 1;
        let parts = count * PARTS / self.buffer();
        self.drained = self.drained.saturating_add(parts.try_into().unwrap_or(u16::MAX));
        if usize::from(self.drained) >= PARTS {
            let took = TICK * u32::from(ticks().wrapping_sub(self.since));
            let parts = u32::try_from(PARTS).unwrap_or(u32::MAX);
            self.resize(stream, took * parts / u32::from(self.drained));
            (self.drained, self.since) = (0, ticks());
        }
    }

    fn buffer(self) -> usize {
        FIRST_BUFFER << self.doublings
    }

    /// Resizes the buffer, which goes out in this time.
    fn resize(&mut self, stream: &TcpStream, time: Duration) {
        // What the settings allow in one direction they allow in the other; Linux tells the double.
        let most = || sockopt::socket_recv_buffer_size(stream).unwrap_or_default() / 2;
        let doublings = match self.doublings {
            doublings if time <= SOON && 2 * self.buffer() <= most() => doublings + 1,
            1.. if time >= LATE => 0,
            doublings => doublings,
        };
        if doublings != self.doublings {
            self.doublings = doublings;
            // Where that fails, it stays as it is.
            let _ = sockopt::set_socket_send_buffer_size(stream, self.buffer());
        }
    }
}

/// Since some moment of the process; it wraps around after four minutes.
fn ticks() -> u16 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ticks = START.elapsed().as_millis() / TICK.as_millis();
    u16::try_from(ticks % (1 << 16)).unwrap_or_default()
}

/// Linux looks at the limit of its buffer when a segment begins, and adds to the last one whatever comes
/// until that has 64 KiB. So each write ends its segment.
#[cfg(target_os = "linux")]
const FLAGS: SendFlags = SendFlags::EOR.union(SendFlags::NOSIGNAL);

/// Other systems refuse the end of a record on a stream (`EINVAL`), and not all have the other one.
#[cfg(not(target_os = "linux"))]
const FLAGS: SendFlags = SendFlags::empty();

fn poll_send(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut send: impl FnMut(SendFlags) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, || Ok(send(FLAGS)?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}
