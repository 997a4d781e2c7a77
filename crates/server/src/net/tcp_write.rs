//! Writing to a TCP connection so that little lies between the server and a slow client.
//!
//! What the system has taken is out of our hands: a newer state cannot replace it, and a ping waits
//! behind it. So the system keeps little of our output, and more only where that is acknowledged soon.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg, sockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What the system keeps of our output at first: the least that Linux grants (`SO_SNDBUF`; it doubles
/// it for its own bookkeeping).
pub(crate) const INITIAL_SEND_BUFFER: usize = 2304;

/// Where so much as the first buffer holds goes out in this time, the buffer may double: the path is
/// long rather than slow. A connection of 64 kbit/s takes longer for the first one.
const FAST_DRAIN: Duration = Duration::from_millis(200);

/// Where it takes this long, the path is slow, and the buffer is the first again.
const SLOW_DRAIN: Duration = Duration::from_millis(500);

/// The most that is written at once. Linux takes a write as a whole, whatever room is left.
const MAX_CHUNK: usize = 8 << 10;

/// The least that is written at once to a client that is slow.
const MIN_CHUNK: usize = 1 << 10;

/// After so many writes in a row that were not refused, a client is not slow any more.
const FAST_WRITES: u8 = 8;

/// How much is written at once, and how much of it the system keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpWriter {
    /// Writes since one was refused, up to [`FAST_WRITES`].
    accepted: u8,
    /// How often the buffer has doubled.
    doublings: u8,
    /// What has gone out in a backlog, in parts of the buffer.
    drained: u16,
    /// How long writes were refused meanwhile, in [`TICK`]s; while one is, the moment from which that
    /// counts. What passes between two messages says nothing of the path.
    refused: u16,
}

/// Parts that a buffer has, whatever its size.
const PARTS: usize = 144;

const TICK: Duration = Duration::from_millis(4);

impl Default for TcpWriter {
    fn default() -> Self {
        Self { accepted: FAST_WRITES, doublings: 0, drained: 0, refused: 0 }
    }
}

impl TcpWriter {
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
        if self.accepted < FAST_WRITES { (rest / 4).clamp(MIN_CHUNK, MAX_CHUNK) } else { MAX_CHUNK }
    }

    fn adapt(&mut self, stream: &TcpStream, written: &Poll<io::Result<usize>>) {
        let count = if let Poll::Ready(Ok(count)) = written { Some(*count) } else { None };
        let Some(time) = self.measure(count, ticks()) else { return };
        // What the settings allow in one direction they allow in the other; Linux tells the double.
        let most = sockopt::socket_recv_buffer_size(stream).unwrap_or_default() / 2;
        if self.resize(time, most) {
            // Where that fails, it stays as it is.
            let _ = sockopt::set_socket_send_buffer_size(stream, self.buffer());
        }
    }

    /// Takes in that so much was accepted, or that nothing was; in a backlog the former is what has gone
    /// out. Says in which time the buffer goes out, each time when so much has.
    fn measure(&mut self, accepted: Option<usize>, now: u16) -> Option<Duration> {
        let Some(count) = accepted else {
            if self.accepted == FAST_WRITES {
                (self.drained, self.refused) = (0, 0);
            }
            if self.accepted > 0 {
                self.refused = now.wrapping_sub(self.refused);
            }
            self.accepted = 0;
            return None;
        };
        if self.accepted == FAST_WRITES {
            return None;
        }
        if self.accepted == 0 {
            self.refused = now.wrapping_sub(self.refused);
        }
        self.accepted += 1;
        let parts = count * PARTS / self.buffer();
        self.drained = self.drained.saturating_add(parts.try_into().unwrap_or(u16::MAX));
        if usize::from(self.drained) < PARTS {
            return None;
        }
        let parts = u32::try_from(PARTS).unwrap_or(u32::MAX);
        let time = TICK * u32::from(self.refused) * parts / u32::from(self.drained);
        (self.drained, self.refused) = (0, 0);
        Some(time)
    }

    fn buffer(self) -> usize {
        INITIAL_SEND_BUFFER << self.doublings
    }

    /// Whether a buffer that goes out in this time is to have another size, of so many bytes at most.
    fn resize(&mut self, time: Duration, most: usize) -> bool {
        let doublings = match self.doublings {
            doublings if time <= FAST_DRAIN && 2 * self.buffer() <= most => doublings + 1,
            1.. if time >= SLOW_DRAIN => 0,
            doublings => doublings,
        };
        mem::replace(&mut self.doublings, doublings) != doublings
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A path, and what the system keeps of a connection's output.
    struct Path {
        writer: TcpWriter,
        now: Duration,
        round_trip: Duration,
        bytes_per_second: f64,
    }

    impl Path {
        fn new(round_trip_ms: u64, kilobits_per_second: u32) -> Self {
            Self {
                writer: TcpWriter::default(),
                now: Duration::from_secs(1),
                round_trip: Duration::from_millis(round_trip_ms),
                bytes_per_second: f64::from(kilobits_per_second) * 125.0,
            }
        }

        fn tick(&self) -> u16 {
            u16::try_from(self.now.as_millis() / TICK.as_millis() % (1 << 16)).expect("16 bits")
        }

        fn measure(&mut self, accepted: Option<usize>) {
            let now = self.tick();
            if let Some(time) = self.writer.measure(accepted, now) {
                self.writer.resize(time, 1 << 16);
            }
        }

        /// Writes so much, and waits for room each time when the buffer is full.
        fn write(&mut self, mut bytes: usize) {
            let mut room = self.writer.buffer();
            while bytes > 0 {
                if room == 0 {
                    self.measure(None);
                    let freed = self.writer.buffer();
                    let out =
                        f64::from(u32::try_from(freed).expect("small")) / self.bytes_per_second;
                    self.now += self.round_trip + Duration::from_secs_f64(out);
                    room = freed;
                }
                let count = self.writer.chunk(bytes).min(bytes).min(room);
                self.measure(Some(count));
                (bytes, room) = (bytes - count, room - count);
            }
        }
    }

    #[test]
    fn a_slow_path_keeps_the_first_buffer_and_a_long_one_does_not() {
        for (round_trip_ms, kilobits_per_second, grows) in [
            (200, 16, false),
            (200, 36, false),
            (0, 64, false),
            (100, 10_000, true),
            (0, 10_000, true),
        ] {
            let mut path = Path::new(round_trip_ms, kilobits_per_second);
            for _ in 0..20 {
                path.write(16_384);
            }
            let doublings = path.writer.doublings;
            assert_eq!(doublings > 0, grows, "{round_trip_ms} ms, {kilobits_per_second} kbit/s");
        }
    }

    #[test]
    fn a_pause_between_messages_is_not_taken_for_a_slow_path() {
        let mut path = Path::new(20, 10_000);
        path.write(1 << 20);
        let grown = path.writer.doublings;
        assert!(grown > 0);
        for _ in 0..20 {
            path.now += Duration::from_secs(5);
            path.write(100_000);
            assert!(path.writer.doublings >= grown);
        }
    }

    #[test]
    fn a_path_that_gets_slow_has_the_first_buffer_again() {
        let mut path = Path::new(20, 10_000);
        path.write(1 << 20);
        assert!(path.writer.doublings > 0);
        path.bytes_per_second = 2000.0;
        path.write(1 << 17);
        assert_eq!(path.writer.doublings, 0);
    }
}
