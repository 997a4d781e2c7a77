//! How much an HTTP/2 connection may bring besides messages.
//!
//! h2 bounds what it keeps, not how often it is asked: pings, settings, windows, priorities and empty
//! frames cost a client next to nothing and us time (RFC 9113, section 10.5). Messages have limits of
//! their own.
//!
//! What answers frames of ours is free, or a client that obeys the protocol would be ended for what we
//! say. By RFC 9113, these are answers:
//!
//! | ours | answered by | how often |
//! |---|---|---|
//! | `DATA` | `WINDOW_UPDATE` for its stream and for the connection (6.9) | with each; see `AnswerCredit` |
//! | `HEADERS` or `DATA` with `END_STREAM` | `DATA` with `END_STREAM`, or `RST_STREAM` (5.1) | once for each request, whose price is 256 |
//! | `SETTINGS` | `SETTINGS` with `ACK` (6.5.3) | once for each connection |
//! | `PING` | `PING` with `ACK` (6.7) | once, when the connection is taken leave of |
//! | `GOAWAY` | `GOAWAY` (6.8) | once or twice, at the same time |
//!
//! `RST_STREAM` (5.4.2), `WINDOW_UPDATE` and what has `ACK` set itself have no answer, and nothing else
//! is sent. So only windows are opened as often as we say something.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::http2::frame::{
    ACK, DATA, FRAME_HEADER, GOAWAY, HEADERS, PADDED, PREFACE, SETTINGS, WINDOW_UPDATE,
};
use crate::net::forward::forward_write;
use crate::net::http2_stream::Http2Connection;

/// Frames besides messages, each second and for each stream that there may be.
const FRAMES_PER_SECOND: u32 = 64;

/// Where fewer streams may be open at once, no fewer may come one after the other.
const MIN_STREAMS: u32 = 16;

/// For how many seconds' worth of them there is room at once.
const BURST: Duration = Duration::from_secs(8);

/// How many frames a request stands for: it is routed, answered and logged. So twice as many requests
/// as streams may come at once.
const REQUEST_COST: u32 = 256;

/// Bytes that cost as much as another frame, where they are no message. They may be thrown away, and
/// have filled a buffer by then that the next frame's bytes keep alive.
const BYTES_PER_FRAME_COST: u32 = 64;

/// The least that holds a frame of WebSocket's from a client: a head of two bytes, and a mask.
const MIN_DATA_BYTES: u32 = 6;

/// The budget of a connection, and where it is heard of that its client has exhausted it.
#[derive(Debug)]
pub(crate) struct FrameBudget {
    connection: Arc<Http2Connection>,
    exhausted: Notify,
    /// Streams that there may be, if frames are counted at all.
    streams: Option<u32>,
}

impl FrameBudget {
    /// Without a limit of streams everything is free.
    pub(crate) fn new(streams: Option<u32>) -> Self {
        let streams = streams.map(|streams| streams.max(MIN_STREAMS));
        // What is answered late comes at once, and has as much room as what is no answer.
        let most_credit = streams.map_or(0, |streams| {
            let seconds = u32::try_from(BURST.as_secs()).unwrap_or(u32::MAX);
            FRAMES_PER_SECOND.saturating_mul(streams).saturating_mul(seconds)
        });
        let connection = Arc::new(Http2Connection::new(most_credit));
        Self { connection, exhausted: Notify::new(), streams }
    }

    /// What the connection's sessions share, whose credit pays for answers.
    pub(crate) fn connection(&self) -> &Arc<Http2Connection> {
        &self.connection
    }

    /// Waits until the client has brought too much. Nothing more is read from then on. Cancel safe.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// How many frames one with this head stands for. If it is an answer, that is taken from the credit.
    fn charge(&self, kind: u8, flags: u8, length: u32) -> u32 {
        let size = 1 + length / BYTES_PER_FRAME_COST;
        // h2 goes through all streams then, and a larger window wakes those that wait for one. A window of
        // the connection wakes no more streams than can send something.
        let touches_all_streams = kind == GOAWAY || (kind == SETTINGS && flags & ACK == 0);
        match kind {
            DATA if flags & PADDED == 0 && length >= MIN_DATA_BYTES => 0,
            HEADERS => REQUEST_COST,
            WINDOW_UPDATE if self.connection.credit.take() => 0,
            _ if touches_all_streams => size.saturating_add(self.streams.unwrap_or(0)),
            _ => size,
        }
    }
}

/// A stream whose frames are counted as they come.
#[derive(Debug)]
pub(crate) struct BudgetedStream<S> {
    stream: S,
    budget: Arc<FrameBudget>,
    /// The time that a frame stands for, and until when all that have come are paid for.
    pace: Duration,
    paid: Instant,
    head: [u8; FRAME_HEADER],
    of_head: usize,
    /// Bytes until the next head.
    payload: usize,
}

impl<S> BudgetedStream<S> {
    /// Counts behind the preface, which h2 checks.
    pub(crate) fn new(stream: S, budget: Arc<FrameBudget>) -> Self {
        let pace = budget.streams.map_or(Duration::ZERO, |streams| {
            Duration::from_secs(1) / FRAMES_PER_SECOND.saturating_mul(streams)
        });
        let paid = Instant::now();
        let payload = PREFACE.len();
        Self { stream, budget, pace, paid, head: [0; FRAME_HEADER], of_head: 0, payload }
    }

    /// How many frames those that begin in these bytes stand for.
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
            if self.of_head == FRAME_HEADER {
                self.of_head = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.payload = usize::try_from(length).unwrap_or(usize::MAX);
                count = count.saturating_add(self.budget.charge(kind, flags, length));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BudgetedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = Instant::now();
        if self.paid > now + BURST {
            self.budget.exhausted.notify_one();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let count = self.count(buffer.filled().get(before..).unwrap_or_default());
        self.paid = self.paid.max(now) + self.pace.saturating_mul(count);
        Poll::Ready(Ok(()))
    }
}

forward_write!(BudgetedStream<S>);
