//! How much an HTTP/2 connection may bring besides messages.
//!
//! h2 bounds what it keeps, not how often it is asked: pings, settings, windows, priorities and empty
//! frames cost a client next to nothing and us time (RFC 9113, section 10.5). Messages have limits of
//! their own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http2::PREFACE;

/// Frames besides messages, each second and for each stream that there may be.
const FRAMES_PER_SECOND: u32 = 64;

/// Where fewer streams may be open at once, no fewer may come one after the other.
const LEAST_STREAMS: u32 = 16;

/// For how many seconds' worth of them there is room at once.
const BURST: Duration = Duration::from_secs(8);

/// How many frames a request stands for: it is routed, answered and logged. So twice as many requests
/// as streams may come at once.
const REQUEST: u32 = 256;

/// Bytes that cost as much as another frame, where they are no message. They may be thrown away, and
/// have filled a buffer by then that the next frame's bytes keep alive.
const BYTES: u32 = 64;

/// The least that holds a frame of WebSocket's from a client: a head of two bytes, and a mask.
const LEAST_DATA: usize = 6;

/// The head of a frame (RFC 9113, section 4.1).
const HEAD: usize = 9;

/// The kinds of frames, and the flag, that matter here (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PADDED: u8 = 8;

/// Where it is heard of that a client has brought too much.
#[derive(Debug, Default)]
pub(crate) struct Meter(Notify);

impl Meter {
    /// Waits until it has. Nothing more is read from then on. Cancel safe.
    pub(crate) async fn spent(&self) {
        self.0.notified().await;
    }
}

/// A stream whose frames are counted as they come.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    /// The time that a frame stands for, and until when all that have come are paid for.
    pace: Duration,
    paid: Instant,
    head: [u8; HEAD],
    of_head: usize,
    /// Bytes until the next head.
    payload: usize,
}

impl<S> Metered<S> {
    /// Counts behind the preface, which h2 checks. Without a limit of streams everything is free.
    pub(crate) fn new(stream: S, meter: Arc<Meter>, streams: Option<u32>) -> Self {
        let pace = streams.map_or(Duration::ZERO, |streams| {
            Duration::from_secs(1) / FRAMES_PER_SECOND.saturating_mul(streams.max(LEAST_STREAMS))
        });
        let paid = Instant::now();
        let payload = PREFACE.len();
        Self { stream, meter, pace, paid, head: [0; HEAD], of_head: 0, payload }
    }

    /// How many frames these bytes begin, as far as they count.
    fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count: u32 = 0;
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            let Some((first, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else {
                return count;
            };
            bytes = rest;
            if let Some(byte) = self.head.get_mut(self.of_head) {
                *byte = *first;
            }
            self.of_head += 1;
            if self.of_head == HEAD {
                self.of_head = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.payload = usize::try_from(length).unwrap_or(usize::MAX);
                count = count.saturating_add(match kind {
                    DATA if flags & PADDED == 0 && self.payload >= LEAST_DATA => 0,
                    HEADERS => REQUEST,
                    _ => 1 + length / BYTES,
                });
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = Instant::now();
        if self.paid > now + BURST {
            self.meter.0.notify_one();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = self.count(buffer.filled().get(before..).unwrap_or_default());
        self.paid = self.paid.max(now) + self.pace.saturating_mul(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
