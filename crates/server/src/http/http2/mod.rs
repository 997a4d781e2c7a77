//! HTTP/2 on an accepted stream: many requests and many sessions at once, each on a stream of its own
//! (RFC 9113; RFC 8441).
//!
//! A stream in front of h2 checks heads (`head_check`, with `hpack`, `request_head` and `faults`) and
//! counts frames (`frame_budget`). `stream_permits` has the places of the connection's sessions.

mod backlog_stream;
mod faults;
pub(crate) mod frame;
mod frame_budget;
mod head_check;
mod hpack;
mod request_head;
mod stream_permits;

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use h2::server::{Builder, Connection};
use hyper::Request;
use hyper::body::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};
use transport::{Answer, Client, Handler, Permit, Phase, Rejection};

use crate::config::Config;
use crate::http::http2::backlog_stream::BacklogStream;
use crate::http::http2::faults::Faults;
use crate::http::http2::frame::FRAME_BYTES;
use crate::http::http2::frame_budget::{BudgetedStream, FrameBudget};
use crate::http::http2::head_check::{CheckedHttp2Stream, max_decoded_bytes};
use crate::http::http2::hpack::TABLE_SIZE;
use crate::http::http2::request_head::HeadLimits;
use crate::http::http2::stream_permits::StreamPermits;
use crate::http::request_limits::MAX_REFUSALS;
use crate::http::service::{Http, out_of_time};
use crate::net::http2_stream::SessionStream;
use crate::net::lingering_close::{ReclaimOnDrop, lingering_close};
use crate::net::stream::Stream;
use crate::telemetry::Telemetry;

/// What a client may send on a stream before we have read it: as much as a session reads at once.
const STREAM_WINDOW: u32 = 16 << 10;

/// What h2 takes of a session's output at once: one frame, as it is for [`transport::Http2Stream`].
const SEND_BUFFER: usize = 4 << 10;

/// Streams that the client ended before we had a look at them, and streams that we ended for a fault
/// of the client's, in all its life. More are an attack (RFC 9113, section 10.5).
const RESET_STREAMS: usize = 64;

/// The first of them behind a proxy, where clients may come and go while we are kept from looking. The
/// second are not counted there: a proxy passes on what is no fault to it, such as malformed trailers.
const SHARED_RESET_STREAMS: usize = 4096;

/// How long a stream that we have reset is remembered, because more may be on its way for it.
const RESET_STREAM_DURATION: Duration = Duration::from_secs(1);

/// Small frames that may wait to be read, for each stream. All streams of a proxy may bring some at
/// once after a stall, and h2's own limit would be a hundred for all together.
const SMALL_FRAMES: usize = 64;

/// What h2 takes a small frame to cost.
const SMALL_FRAME_COST: usize = 256;

impl<H: Handler + Clone + Sync> Http<H> {
    /// Serves HTTP/2 until the client is through, or has had no session until `deadline` or for as
    /// long as a handshake may take, or a shutdown is over.
    pub(crate) async fn serve_http2(
        &self,
        stream: Stream,
        client: Client,
        permit: Result<Permit, Rejection>,
        deadline: Instant,
        config: &Config,
    ) {
        let token = client.token.clone();
        let last_deadline = permit.is_err().then_some(deadline);
        let (stream, mut returned) = ReclaimOnDrop::new(stream);
        let ended = tokio::select! {
            ended = self.serve_streams(stream, &client, permit, deadline, config) => ended,
            _ = token.past(Phase::Draining) => Ok(()),
        };
        let stream = returned.try_recv().ok();
        match ended {
            Err(Some(rejection)) => self.router.record_rejected(rejection, &client),
            // h2 knows no more than that it could not read.
            Ok(()) | Err(None) if stream.as_ref().is_some_and(Stream::has_broken_tls) => {
                self.router.record_rejected(Rejection::BadTls, &client);
            }
            Ok(()) => {}
            Err(None) => return,
        }
        if let Some(stream) = stream {
            let lingering =
                timeout_at(final_deadline(last_deadline, config), lingering_close(stream));
            // It comes first, so that our side is ended even if nobody is waited for any more.
            tokio::select! {
                biased;
                _ = lingering => {}
                _ = token.past(Phase::Draining) => {}
            }
        }
    }

    /// Answers a request that came on a stream of an HTTP/2 connection, or refuses it for a fault that
    /// was found in its head.
    fn answer_on_stream(
        &self,
        request: &Request<()>,
        fault: Option<Rejection>,
        client: &Client,
        permits: &StreamPermits,
    ) -> Answer<H, Telemetry> {
        let config = self.configs.borrow().clone();
        let (requester, client_ip) = self.client_of(request.headers(), client, &config);
        if let Some(rejection) = fault {
            return self.router.refuse(rejection, request, &requester);
        }
        let is_client = !config.trust.names_clients_in_requests(client.peer);
        self.router.answer(request, &requester, &config.policy, || {
            let mut own = permits.take(|| self.permit(client.peer, is_client, &config));
            self.assign_address(&mut own, client_ip, &config)
        })
    }

    /// What goes wrong without a rejection is that the client has gone, or its time is over.
    async fn serve_streams(
        &self,
        stream: ReclaimOnDrop,
        client: &Client,
        permit: Result<Permit, Rejection>,
        mut deadline: Instant,
        config: &Config,
    ) -> Result<(), Option<Rejection>> {
        // Without a place, a connection is for one answer.
        let has_place = permit.is_ok();
        let most_refusals = if has_place { MAX_REFUSALS } else { 1 };
        let permits = StreamPermits::new(permit);
        // A trusted proxy brings many clients by one connection, and none of them may end the sessions
        // of the others. Each of them can do no more to us than over HTTP/1.1: settings, pings and the
        // windows of the connection are the proxy's own, and whom we trust does not flood us.
        let is_shared = config.trust.names_clients_in_requests(client.peer);
        let streams = (!is_shared).then_some(config.http2_max_streams);
        let budget = Arc::new(FrameBudget::new(streams));
        let stream = BacklogStream::new(stream, Arc::clone(budget.connection()));
        let stream = BudgetedStream::new(stream, Arc::clone(&budget));
        // Whatever is wrong with a request, h2 learns of nothing that it would end the connection for.
        let faults = Arc::new(Faults::default());
        let limits = HeadLimits { bytes: config.max_header_bytes, lines: config.max_headers };
        let stream = CheckedHttp2Stream::new(stream, Arc::clone(&faults), limits);
        let close_timeout = config.policy.session.timing.close_timeout;
        let last_deadline = (!has_place).then_some(deadline);
        let over = out_of_time(client.token.clone(), deadline, config);
        let mut connection: Connection<_, Bytes> = tokio::select! {
            connection = builder(config, is_shared).handshake(stream) => {
                connection.map_err(|error| refusal(&error))?
            }
            () = over => return Err(None),
        };
        let (mut phase, mut is_leaving, mut refusals) = (Phase::Serving, false, 0);
        let mut had_session = false;
        let reason = loop {
            tokio::select! {
                biased;
                later = client.token.past(phase) => {
                    phase = later;
                    deadline = deadline.min(Instant::now() + close_timeout);
                }
                () = budget.exhausted() => break Reason::ENHANCE_YOUR_CALM,
                reason = faults.of_connection() => break reason,
                // Requests whose client has had its share are guests, too, but give nobody more time.
                () = permits.emptied() => if permits.is_empty() && mem::take(&mut had_session) {
                    let rest = if is_leaving { close_timeout } else { config.handshake_timeout };
                    deadline = Instant::now() + rest;
                },
                accepted = connection.accept() => match accepted {
                    Some(request) => {
                        let (request, respond) = request.map_err(|error| refusal(&error))?;
                        let (head, receiver) = request.into_parts();
                        let request = Request::from_parts(head, ());
                        let fault = faults.take(respond.stream_id());
                        let answer = self.answer_on_stream(&request, fault, client, &permits);
                        match answer {
                            Answer::Open(_) => had_session = true,
                            Answer::Refuse(_) => refusals += 1,
                        }
                        let shared = Arc::clone(budget.connection());
                        let wrap = |stream| Stream::from(SessionStream::new(stream, shared));
                        answer.over_http2(request.method(), receiver, respond, wrap);
                    }
                    None => return Ok(()),
                },
                () = sleep_until(deadline), if permits.is_empty() => {
                    if is_leaving || !has_place {
                        return Err(None);
                    }
                    deadline = Instant::now() + close_timeout;
                    is_leaving = true;
                    connection.graceful_shutdown();
                }
            }
            // A client that was refused so often may come back, and one that we take leave of may not
            // ask for more (RFC 9113, section 6.8). Its sessions go on.
            let is_over = phase != Phase::Serving || refusals >= most_refusals;
            if is_over && !mem::replace(&mut is_leaving, true) {
                connection.graceful_shutdown();
            }
            // What was on its way when it was told so is still answered, and all streams may have been
            // under way, twice. Who asks even more does not listen.
            let on_their_way = usize::try_from(config.http2_max_streams).unwrap_or(usize::MAX);
            let most_in_all = on_their_way.saturating_mul(2).saturating_add(MAX_REFUSALS);
            if !is_shared && refusals > most_in_all {
                break Reason::ENHANCE_YOUR_CALM;
            }
        };
        connection.abrupt_shutdown(reason);
        let closed = poll_fn(|cx| connection.poll_closed(cx));
        let _ = timeout_at(final_deadline(last_deadline, config), closed).await;
        Err(Some(fault_of(reason)))
    }
}

/// How long a client is waited for at its end. Who was only to be refused has no more than its deadline, since
/// others wait to be told the same.
fn final_deadline(deadline: Option<Instant>, config: &Config) -> Instant {
    let usual = Instant::now() + config.policy.session.timing.close_timeout;
    deadline.map_or(usual, |deadline| usual.min(deadline))
}

/// Everything that a client can make grow has a limit of ours, whatever h2's own may be. Where many
/// clients share the connection, the limits leave room for what each of them can do at its worst.
fn builder(config: &Config, is_shared: bool) -> Builder {
    let streams = config.http2_max_streams;
    let (unseen_resets, faults, small_frames) = if is_shared {
        // A window may be full of the smallest.
        (SHARED_RESET_STREAMS, None, usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX))
    } else {
        (RESET_STREAMS, Some(RESET_STREAMS), SMALL_FRAMES)
    };
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW)
        // A session that does not read must not use up the window of the others.
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams.max(4)))
        .max_frame_size(FRAME_BYTES.into())
        .max_header_list_size(
            u32::try_from(max_decoded_bytes(config.max_header_bytes)).unwrap_or(u32::MAX),
        )
        .header_table_size(TABLE_SIZE.into())
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(unseen_resets)
        .max_local_error_reset_streams(faults)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_STREAM_DURATION)
        .data_frame_budget(
            usize::try_from(streams).unwrap_or(usize::MAX) * small_frames * SMALL_FRAME_COST,
        );
    builder
}

/// What an error of h2 says about the client, if it is not that it has gone.
fn refusal(error: &h2::Error) -> Option<Rejection> {
    error.reason().filter(|_| error.is_library()).map(fault_of)
}

/// What it says about the client that its connection ends for this reason.
fn fault_of(reason: Reason) -> Rejection {
    match reason {
        Reason::ENHANCE_YOUR_CALM => Rejection::TooManyFrames,
        _ => Rejection::Malformed,
    }
}
