//! Rate limit for the frames of an HTTP/2 connection that carry no message.
//!
//! h2 limits memory, but not the rate of frames: `PING`, `SETTINGS`, `WINDOW_UPDATE`, `PRIORITY` and
//! empty frames cost a client almost nothing, and the server processing time (RFC 9113, section 10.5).
//! Messages have limits of their own.
//!
//! Answers to frames of the server are free. Otherwise a conforming client could exceed the budget
//! because of the server's own output. By RFC 9113, these are answers:
//!
//! | frame of the server | answered by | how often |
//! |---|---|---|
//! | `DATA` | `WINDOW_UPDATE` for its stream and for the connection (6.9) | for each frame; see `AnswerCredit` |
//! | `HEADERS` or `DATA` with `END_STREAM` | `DATA` with `END_STREAM`, or `RST_STREAM` (5.1) | once per request, which costs 256 |
//! | `SETTINGS` | `SETTINGS` with `ACK` (6.5.3) | once per connection |
//! | `PING` | `PING` with `ACK` (6.7) | once, in a graceful shutdown |
//! | `GOAWAY` | `GOAWAY` (6.8) | once or twice, at the same time |
//!
//! `RST_STREAM` (5.4.2), `WINDOW_UPDATE` and frames with `ACK` have no answer, and the server sends no
//! other frames. So only the number of `WINDOW_UPDATE` answers grows with the server's output.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::http2::frame::{
    ACK, DATA, FRAME_HEADER_BYTES, FrameHeader, GOAWAY, HEADERS, PADDED, PREFACE, SETTINGS,
    WINDOW_UPDATE,
};
use crate::net::forward::forward_write;
use crate::net::http2_stream::Http2Connection;

/// Frames without messages per second, for each stream that the settings allow.
const FRAMES_PER_SECOND: u32 = 64;

/// The smallest number of streams for which the rate is calculated: a lower limit on concurrent streams
/// does not mean fewer streams over time.
const MIN_STREAMS: u32 = 16;

/// The burst: frames of this duration are accepted at once.
const BURST: Duration = Duration::from_secs(8);

/// The cost of a request, in frames: it is routed, answered and logged. With [`BURST`], a client can
/// send two requests per stream at once.
const REQUEST_COST: u32 = 256;

/// Payload bytes that cost as much as another frame, except in messages. Discarded payload still fills a
/// read buffer, which the bytes of the next frame keep allocated.
const BYTES_PER_FRAME_COST: u32 = 64;

/// The smallest WebSocket frame from a client: a header of two bytes, and the masking key (RFC 6455,
/// section 5.2).
const MIN_DATA_BYTES: u32 = 6;

/// The budget of a connection, and the notification that it is exhausted.
#[derive(Debug)]
pub(crate) struct FrameBudget {
    connection: Arc<Http2Connection>,
    exhausted: Notify,
    /// The number of streams for which the rate is calculated; `None` is no limit.
    streams: Option<u32>,
}

impl FrameBudget {
    /// Creates the budget of a connection with at most `max_streams` streams; `None` is no limit.
    pub(crate) fn new(max_streams: Option<u32>) -> Self {
        let streams = max_streams.map(|streams| streams.max(MIN_STREAMS));
        // Delayed answers arrive together. Their burst is as large as that of other frames.
        let max_credit = streams.map_or(0, |streams| {
            let seconds = u32::try_from(BURST.as_secs()).unwrap_or(u32::MAX);
            FRAMES_PER_SECOND.saturating_mul(streams).saturating_mul(seconds)
        });
        let connection = Arc::new(Http2Connection::new(max_credit));
        Self { connection, exhausted: Notify::new(), streams }
    }

    /// Returns the state shared with the sessions, which has the credit for answers.
    pub(crate) fn connection(&self) -> &Arc<Http2Connection> {
        &self.connection
    }

    /// Waits until the client has exhausted the budget. No more input is read after that. Cancel safe.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// Returns the cost of a frame, in frames. An answer takes credit and is free.
    fn frame_cost(&self, header: FrameHeader) -> u32 {
        let FrameHeader { kind, flags, length, .. } = header;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let size = 1 + length / BYTES_PER_FRAME_COST;
        // h2 visits all streams for these frames, and a larger initial window wakes those that wait for
        // one. A larger window of the connection only wakes streams that can send.
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

/// A stream that charges the frames it reads to a budget, by the generic cell rate algorithm.
#[derive(Debug)]
pub(crate) struct BudgetedStream<S> {
    stream: S,
    budget: Arc<FrameBudget>,
    /// The interval between frames at the limit of the rate.
    interval: Duration,
    /// The theoretical arrival time of the next frame. The budget is exhausted if it is more than
    /// [`BURST`] ahead.
    next_arrival: Instant,
    /// The received part of a frame header.
    header: [u8; FRAME_HEADER_BYTES],
    header_length: usize,
    /// Bytes before the next frame header.
    payload_left: usize,
}

impl<S> BudgetedStream<S> {
    /// Wraps a stream that begins with the connection preface, which h2 checks.
    pub(crate) fn new(stream: S, budget: Arc<FrameBudget>) -> Self {
        let interval = budget.streams.map_or(Duration::ZERO, |streams| {
            Duration::from_secs(1) / FRAMES_PER_SECOND.saturating_mul(streams)
        });
        Self {
            stream,
            budget,
            interval,
            next_arrival: Instant::now(),
            header: [0; FRAME_HEADER_BYTES],
            header_length: 0,
            payload_left: PREFACE.len(),
        }
    }

    /// Returns the cost of the frames whose headers end in these bytes.
    fn cost(&mut self, mut bytes: &[u8]) -> u32 {
        let mut cost: u32 = 0;
        loop {
            let skipped = self.payload_left.min(bytes.len());
            self.payload_left -= skipped;
            let Some((first, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else {
                return cost;
            };
            bytes = rest;
            if let Some(byte) = self.header.get_mut(self.header_length) {
                *byte = *first;
            }
            self.header_length += 1;
            if self.header_length == FRAME_HEADER_BYTES {
                self.header_length = 0;
                if let Some(header) = FrameHeader::parse(&self.header) {
                    self.payload_left = header.length;
                    cost = cost.saturating_add(self.budget.frame_cost(header));
                }
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
        if self.next_arrival > now + BURST {
            self.budget.exhausted.notify_one();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let cost = self.cost(buffer.filled().get(before..).unwrap_or_default());
        self.next_arrival = self.next_arrival.max(now) + self.interval.saturating_mul(cost);
        Poll::Ready(Ok(()))
    }
}

forward_write!(BudgetedStream<S>);
