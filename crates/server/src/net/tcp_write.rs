//! Writes to a TCP connection with a small send buffer, so that little output is queued for a slow
//! client.
//!
//! Output in the socket buffer cannot be replaced by a newer message, and a ping queues behind it. So
//! the buffer is small, and grows only where its content is acknowledged soon.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg, sockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The initial size of the send buffer: the smallest that Linux allows (`SO_SNDBUF`; Linux doubles the
/// value for its own bookkeeping).
pub(crate) const INITIAL_SEND_BUFFER: usize = 2304;

/// If a full buffer drains within this time, the buffer may double: the path has a high latency rather
/// than a low bandwidth. At 64 kbit/s the initial buffer takes longer.
const FAST_DRAIN: Duration = Duration::from_millis(200);

/// If draining takes this long, the path is slow, and the buffer shrinks to its initial size.
const SLOW_DRAIN: Duration = Duration::from_millis(500);

/// The largest write. Linux accepts a write as a whole, even if less space is left.
const MAX_CHUNK: usize = 8 << 10;

/// The smallest write to a slow client, unless less is left.
const MIN_CHUNK: usize = 1 << 10;

/// After this number of consecutive writes without blocking, a client no longer counts as slow.
const FAST_WRITES: u8 = 8;

/// Chooses the size of writes and of the send buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpWriter {
    /// Writes since one blocked, at most [`FAST_WRITES`].
    fast_writes: u8,
    /// How often the buffer has doubled.
    doublings: u8,
    /// Output drained from the buffer while the client is slow, in [`BUFFER_PARTS`] of the buffer.
    drained: u16,
    /// The time for which writes blocked meanwhile, in [`TICK`]s. While a write blocks, its start minus
    /// that time. The time between two messages does not count: it says nothing about the path.
    blocked: u16,
}

/// The number of parts in which the content of a buffer is measured, whatever its size.
const BUFFER_PARTS: usize = 144;

/// The unit in which time is measured.
const TICK: Duration = Duration::from_millis(4);

impl Default for TcpWriter {
    fn default() -> Self {
        Self { fast_writes: FAST_WRITES, doublings: 0, drained: 0, blocked: 0 }
    }
}

impl TcpWriter {
    /// Writes one chunk of `bytes`.
    pub(crate) fn poll_write(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let chunk = bytes.get(..self.chunk_size(bytes.len())).unwrap_or(bytes);
        let written = poll_send(stream, cx, |flags| send(stream, chunk, flags));
        self.adapt(stream, &written);
        written
    }

    /// Writes all slices if they fit into one chunk, as a frame header and its payload do; otherwise a
    /// chunk of the first one.
    pub(crate) fn poll_write_vectored(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        if self.chunk_size(total) < total {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(stream, cx, first.map_or(&[], |slice| slice));
        }
        let written = poll_send(stream, cx, |flags| {
            sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)
        });
        self.adapt(stream, &written);
        written
    }

    /// Returns the size of the next write if `rest` bytes are left. The session requests its next
    /// message when the last chunk of this one is written, so for a slow client the chunks get smaller
    /// towards the end.
    pub(crate) fn chunk_size(self, rest: usize) -> usize {
        let is_slow = self.fast_writes < FAST_WRITES;
        if is_slow { (rest / 4).clamp(MIN_CHUNK, MAX_CHUNK) } else { MAX_CHUNK }
    }

    /// Measures the result of a write, and resizes the send buffer if needed.
    fn adapt(&mut self, stream: &TcpStream, written: &Poll<io::Result<usize>>) {
        let count = if let Poll::Ready(Ok(count)) = written { Some(*count) } else { None };
        let Some(drain_time) = self.measure(count, ticks()) else { return };
        // The settings have one limit for both directions. Linux reports the double of the size.
        let max = sockopt::socket_recv_buffer_size(stream).unwrap_or_default() / 2;
        if self.resize(drain_time, max) {
            // Best effort: on failure the buffer keeps its size.
            let _ = sockopt::set_socket_send_buffer_size(stream, self.buffer_size());
        }
    }

    /// Records a write: the bytes accepted, or `None` if it blocked. While the client is slow, accepted
    /// bytes replace drained ones. Each time as many bytes as the buffer holds have drained, returns the
    /// time that took.
    fn measure(&mut self, accepted: Option<usize>, now: u16) -> Option<Duration> {
        let Some(count) = accepted else {
            if self.fast_writes == FAST_WRITES {
                (self.drained, self.blocked) = (0, 0);
            }
            if self.fast_writes > 0 {
                self.blocked = now.wrapping_sub(self.blocked);
            }
            self.fast_writes = 0;
            return None;
        };
        if self.fast_writes == FAST_WRITES {
            return None;
        }
        if self.fast_writes == 0 {
            self.blocked = now.wrapping_sub(self.blocked);
        }
        self.fast_writes += 1;
        let parts = count * BUFFER_PARTS / self.buffer_size();
        self.drained = self.drained.saturating_add(parts.try_into().unwrap_or(u16::MAX));
        if usize::from(self.drained) < BUFFER_PARTS {
            return None;
        }
        let parts = u32::try_from(BUFFER_PARTS).unwrap_or(u32::MAX);
        let drain_time = TICK * u32::from(self.blocked) * parts / u32::from(self.drained);
        (self.drained, self.blocked) = (0, 0);
        Some(drain_time)
    }

    fn buffer_size(self) -> usize {
        INITIAL_SEND_BUFFER << self.doublings
    }

    /// Chooses the size of a buffer that drains in this time, at most `max` bytes. Returns whether it
    /// changed.
    fn resize(&mut self, drain_time: Duration, max: usize) -> bool {
        let doublings = match self.doublings {
            doublings if drain_time <= FAST_DRAIN && 2 * self.buffer_size() <= max => doublings + 1,
            1.. if drain_time >= SLOW_DRAIN => 0,
            doublings => doublings,
        };
        mem::replace(&mut self.doublings, doublings) != doublings
    }
}

/// Returns the ticks since the first call. They wrap around after four minutes.
fn ticks() -> u16 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ticks = START.elapsed().as_millis() / TICK.as_millis();
    u16::try_from(ticks % (1 << 16)).unwrap_or_default()
}

/// Linux checks the limit of the send buffer when it starts a segment, and appends later writes to the
/// last segment up to 64 KiB. `MSG_EOR` ends the segment after each write.
#[cfg(target_os = "linux")]
const FLAGS: SendFlags = SendFlags::EOR.union(SendFlags::NOSIGNAL);

/// Other systems reject `MSG_EOR` on a stream (`EINVAL`), and not all of them have `MSG_NOSIGNAL`.
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

    /// Simulates a path and the socket's send buffer.
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
            if let Some(drain_time) = self.writer.measure(accepted, now) {
                self.writer.resize(drain_time, 1 << 16);
            }
        }

        /// Writes this number of bytes, and waits whenever the buffer is full.
        fn write(&mut self, mut bytes: usize) {
            let mut space = self.writer.buffer_size();
            while bytes > 0 {
                if space == 0 {
                    self.measure(None);
                    let freed = self.writer.buffer_size();
                    let seconds =
                        f64::from(u32::try_from(freed).expect("small")) / self.bytes_per_second;
                    self.now += self.round_trip + Duration::from_secs_f64(seconds);
                    space = freed;
                }
                let count = self.writer.chunk_size(bytes).min(bytes).min(space);
                self.measure(Some(count));
                (bytes, space) = (bytes - count, space - count);
            }
        }
    }

    #[test]
    fn a_slow_path_keeps_the_initial_buffer_and_a_long_one_does_not() {
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
    fn a_pause_between_messages_does_not_count_as_a_slow_path() {
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
    fn a_path_that_gets_slow_has_the_initial_buffer_again() {
        let mut path = Path::new(20, 10_000);
        path.write(1 << 20);
        assert!(path.writer.doublings > 0);
        path.bytes_per_second = 2000.0;
        path.write(1 << 17);
        assert_eq!(path.writer.doublings, 0);
    }
}
