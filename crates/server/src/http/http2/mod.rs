//! HTTP/2 on an accepted stream: concurrent requests and sessions, each on its own stream (RFC 9113; RFC
//! 8441).
//!
//! Streams wrapped around the socket check heads before h2 reads them (`head_check`, with
//! `header_block`, `hpack`, `request_head` and `faults`), limit the frames of a client (`frame_budget`),
//! and detect blocked output (`backlog_stream`). `stream_permits` has the permits of the connection's
//! sessions.

mod backlog_stream;
mod faults;
pub(crate) mod frame;
mod frame_budget;
mod head_check;
mod header_block;
mod hpack;
mod request_head;
mod static_table;
mod stream_permits;

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use hyper::Request;
use hyper::body::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};
use transport::{Client, Permit, Phase, Rejection};

use crate::admission::RequestContext;
use crate::config::Config;
use crate::http::http2::backlog_stream::BacklogStream;
use crate::http::http2::faults::Faults;
use crate::http::http2::frame::MAX_FRAME_SIZE;
use crate::http::http2::frame_budget::{BudgetedStream, FrameBudget};
use crate::http::http2::head_check::{CheckedHttp2Stream, max_decoded_bytes};
use crate::http::http2::hpack::TABLE_SIZE;
use crate::http::http2::request_head::HeadLimits;
use crate::http::http2::stream_permits::StreamPermits;
use crate::http::request_limits::MAX_REFUSALS;
use crate::http::service::{Http, request_timeout};
use crate::net::http2_stream::{Http2Connection, SessionStream};
use crate::net::lingering_close::{ReclaimOnDrop, lingering_close};
use crate::net::stream::Stream;
use crate::routes::{Call, Outcome, RequestStream};

/// The flow-control window of a stream, in bytes: as much as a session reads at once.
const STREAM_WINDOW: u32 = 16 << 10;

/// Bytes that h2 buffers of a session's output: one frame of [`transport::Http2Stream`].
const SEND_BUFFER_BYTES: usize = 4 << 10;

/// The maximum number of streams that the client has reset and the server has not accepted yet; and of
/// streams that the server has reset for a stream error, over the connection's life. More are an attack
/// (RFC 9113, section 10.5).
const MAX_RESET_STREAMS: usize = 64;

/// The first of these limits for a proxy, whose clients may come and go during a stall of the server.
/// The second does not apply there: a proxy forwards some malformed requests, such as those with
/// malformed trailers.
const MAX_SHARED_RESET_STREAMS: usize = 4096;

/// How long h2 ignores frames in flight for a stream that the server has reset.
const RESET_STREAM_DURATION: Duration = Duration::from_secs(1);

/// Small frames that h2 queues per stream. After a stall all streams of a proxy may receive some at
/// once, and h2's default would be a hundred for the whole connection.
const SMALL_FRAMES_PER_STREAM: usize = 64;

/// The cost of a small frame in h2's `data_frame_budget`.
const SMALL_FRAME_COST: usize = 256;

impl Http {
    /// Serves HTTP/2 until the client closes the connection; or until it has no session at `deadline`,
    /// or for the handshake timeout after its last one; or until a shutdown aborts.
    pub(crate) async fn serve_http2(
        &self,
        stream: Stream,
        client: Client,
        permit: Result<Permit, Rejection>,
        deadline: Instant,
        config: &Config,
    ) {
        let token = client.token.clone();
        let refusal_deadline = permit.is_err().then_some(deadline);
        let (stream, mut returned) = ReclaimOnDrop::new(stream);
        let result = tokio::select! {
            result = self.serve_streams(stream, &client, permit, deadline, config) => result,
            _ = token.past(Phase::Draining) => Ok(()),
        };
        let stream = returned.try_recv().ok();
        match result {
            Err(Some(rejection)) => self.router.record_rejected(rejection, &client),
            // h2 only reports that reading failed.
            Ok(()) | Err(None) if stream.as_ref().is_some_and(Stream::has_tls_error) => {
                self.router.record_rejected(Rejection::BadTls, &client);
            }
            Ok(()) => {}
            Err(None) => return,
        }
        if let Some(stream) = stream {
            let closed =
                timeout_at(close_deadline(refusal_deadline, config), lingering_close(stream));
            // Polled first, so that the write half is shut down even if the shutdown has aborted.
            tokio::select! {
                biased;
                _ = closed => {}
                _ = token.past(Phase::Draining) => {}
            }
        }
    }

    /// Answers a request, or refuses it with the rejection that the head check has found. Returns what
    /// became of it once the response is sent, or the client has reset the stream.
    async fn answer_request(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        rejection: Option<Rejection>,
        client: &Client,
        permits: &StreamPermits,
        shared: &Arc<Http2Connection>,
    ) -> Outcome {
        let (head, receiver) = request.into_parts();
        let request = Request::from_parts(head, ());
        let config = self.configs.borrow().clone();
        let (requester, client_ip) = self.resolve_client(request.headers(), client, &config);
        let is_client = !config.client_addr.uses_forwarded_header(client.peer);
        let deadline = Instant::now() + config.handshake_timeout;
        let context = RequestContext::new(client, deadline, config);
        let mut acquire_permit = || {
            let config = &context.config;
            let mut permit =
                permits.acquire(|| self.acquire_permit(client.peer, is_client, config));
            self.take_for_address(&mut permit, client_ip, config)
        };
        let wrap = |stream| Stream::from(SessionStream::new(stream, Arc::clone(shared)));
        let stream = RequestStream { receiver, respond, wrap: &wrap };
        if let Some(rejection) = rejection {
            self.router.refuse_http2(rejection, &request, &requester, stream);
            return Outcome::Refused;
        }
        let call =
            Call { client: &requester, context: &context, acquire_permit: &mut acquire_permit };
        self.router.answer_http2(&request, call, stream).await
    }

    /// Serves the streams of a connection.
    ///
    /// # Errors
    ///
    /// A rejection, or `None` if the client has closed the connection or its deadline has passed.
    async fn serve_streams(
        &self,
        stream: ReclaimOnDrop,
        client: &Client,
        permit: Result<Permit, Rejection>,
        mut deadline: Instant,
        config: &Config,
    ) -> Result<(), Option<Rejection>> {
        // Without a permit, the connection is closed after one response.
        let has_permit = permit.is_ok();
        let max_refusals = if has_permit { MAX_REFUSALS } else { 1 };
        let permits = StreamPermits::new(permit);
        // A trusted proxy sends requests of many clients on one connection, and no client may end the
        // sessions of the others, so there is no frame budget. A client behind it has no more means of
        // attack than over HTTP/1.1: SETTINGS, PING and the connection's window are the proxy's own, and
        // the proxy is trusted.
        let is_shared = config.client_addr.uses_forwarded_header(client.peer);
        let streams = (!is_shared).then_some(config.http2_max_streams);
        let budget = Arc::new(FrameBudget::new(streams));
        let stream = BacklogStream::new(stream, Arc::clone(budget.connection()));
        let stream = BudgetedStream::new(stream, Arc::clone(&budget));
        // h2 gets no request for which it would end the connection.
        let faults = Arc::new(Faults::default());
        let limits = HeadLimits { bytes: config.max_header_bytes, fields: config.max_headers };
        let stream = CheckedHttp2Stream::new(stream, Arc::clone(&faults), limits);
        let close_timeout = config.policy.session.timing.close_timeout;
        let refusal_deadline = (!has_permit).then_some(deadline);
        let timed_out = request_timeout(client.token.clone(), deadline, config);
        let mut connection: Connection<_, Bytes> = tokio::select! {
            connection = builder(config, is_shared).handshake(stream) => {
                connection.map_err(|error| rejection_of_error(&error))?
            }
            () = timed_out => return Err(None),
        };
        let (mut phase, mut is_closing, mut refusals) = (Phase::Serving, false, 0);
        let mut had_session = false;
        // Requests that are being answered. The application may take its time for one, and no other
        // stream waits for it.
        let mut answers = FuturesUnordered::new();
        let reason = loop {
            tokio::select! {
                biased;
                next_phase = client.token.past(phase) => {
                    phase = next_phase;
                    deadline = deadline.min(Instant::now() + close_timeout);
                }
                () = budget.exhausted() => break Reason::ENHANCE_YOUR_CALM,
                reason = faults.connection_error() => break reason,
                // A request refused by the per-address limit holds a permit for a moment; it does not
                // extend the deadline.
                () = permits.emptied() => if permits.is_empty() && mem::take(&mut had_session) {
                    let timeout = if is_closing { close_timeout } else { config.handshake_timeout };
                    deadline = Instant::now() + timeout;
                },
                Some(outcome) = answers.next() => match outcome {
                    Outcome::Opened => had_session = true,
                    Outcome::Refused => refusals += 1,
                    Outcome::Reset => {}
                },
                accepted = connection.accept() => match accepted {
                    Some(request) => {
                        let (request, respond) = request.map_err(|error| rejection_of_error(&error))?;
                        let rejection = faults.take_rejection(respond.stream_id());
                        let shared = budget.connection();
                        answers.push(
                            self.answer_request(request, respond, rejection, client, &permits, shared),
                        );
                    }
                    None => return Ok(()),
                },
                () = sleep_until(deadline), if permits.is_empty() => {
                    if is_closing || !has_permit {
                        return Err(None);
                    }
                    deadline = Instant::now() + close_timeout;
                    is_closing = true;
                    connection.graceful_shutdown();
                }
            }
            // After too many refusals or in a shutdown, GOAWAY tells the client to open no more streams
            // (RFC 9113, section 6.8). Its sessions continue, and it may reconnect.
            let must_close = phase != Phase::Serving || refusals >= max_refusals;
            if must_close && !mem::replace(&mut is_closing, true) {
                connection.graceful_shutdown();
            }
            // Requests in flight when GOAWAY was sent are still answered: up to all streams, twice. A
            // client that sends more ignores GOAWAY.
            let in_flight = usize::try_from(config.http2_max_streams).unwrap_or(usize::MAX);
            let max_total_refusals = in_flight.saturating_mul(2).saturating_add(MAX_REFUSALS);
            if !is_shared && refusals > max_total_refusals {
                break Reason::ENHANCE_YOUR_CALM;
            }
        };
        connection.abrupt_shutdown(reason);
        let closed = poll_fn(|cx| connection.poll_closed(cx));
        let _ = timeout_at(close_deadline(refusal_deadline, config), closed).await;
        Err(Some(rejection_of_reason(reason)))
    }
}

/// Returns the deadline for closing a connection: the close timeout from now, but no later than
/// `refusal_deadline`. A connection that is only refused holds a refusal permit, which others wait for.
fn close_deadline(refusal_deadline: Option<Instant>, config: &Config) -> Instant {
    let deadline = Instant::now() + config.policy.session.timing.close_timeout;
    refusal_deadline.map_or(deadline, |refusal_deadline| deadline.min(refusal_deadline))
}

/// Configures h2. Everything that grows with a client's input has an explicit limit, which does not
/// depend on h2's defaults. If many clients share the connection, the limits allow for the worst case of
/// each.
fn builder(config: &Config, is_shared: bool) -> Builder {
    let streams = config.http2_max_streams;
    let (max_pending_resets, max_error_resets, small_frames) = if is_shared {
        // A window may be full of frames of one byte.
        (MAX_SHARED_RESET_STREAMS, None, usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX))
    } else {
        (MAX_RESET_STREAMS, Some(MAX_RESET_STREAMS), SMALL_FRAMES_PER_STREAM)
    };
    let mut builder = Builder::new();
    //= rfc8441#3-1 rfc8441#3-2
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW)
        // A session that does not read must not exhaust the connection's window for the others.
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams.max(4)))
        .max_frame_size(MAX_FRAME_SIZE.into())
        .max_header_list_size(
            u32::try_from(max_decoded_bytes(config.max_header_bytes)).unwrap_or(u32::MAX),
        )
        .header_table_size(TABLE_SIZE.into())
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(max_pending_resets)
        .max_local_error_reset_streams(max_error_resets)
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        .reset_stream_duration(RESET_STREAM_DURATION)
        .data_frame_budget(
            usize::try_from(streams).unwrap_or(usize::MAX) * small_frames * SMALL_FRAME_COST,
        );
    builder
}

/// Returns the rejection for an error of h2, or `None` if the client has closed the connection.
fn rejection_of_error(error: &h2::Error) -> Option<Rejection> {
    error.reason().filter(|_| error.is_library()).map(rejection_of_reason)
}

/// Returns the rejection for a connection error (RFC 9113, section 5.4.1).
fn rejection_of_reason(reason: Reason) -> Rejection {
    match reason {
        Reason::ENHANCE_YOUR_CALM => Rejection::TooManyFrames,
        _ => Rejection::Malformed,
    }
}
