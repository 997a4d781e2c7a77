//! HTTP/1.1 on an accepted stream (RFC 9112): one request after the other, until one is upgraded.
//!
//! A stream wrapped around the socket checks the request heads before hyper reads them (`head_check`).

mod head_check;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout};
use transport::{Client, Permit, Phase, Rejection, frames_body};

use crate::admission::RequestContext;
use crate::config::Config;
use crate::http::http1::head_check::{CheckedHttp1Stream, reclaim};
use crate::http::request_limits::MAX_REFUSALS;
use crate::http::service::Http;
use crate::net::lingering_close::{ReclaimOnDrop, lingering_close};
use crate::net::stream::Stream;
use crate::routes::Call;

impl Http {
    /// Serves HTTP/1.1 until the connection is upgraded or ends.
    pub(crate) async fn serve_http1(
        &self,
        stream: Stream,
        client: Client,
        permit: Result<Permit, Rejection>,
        deadline: Instant,
        config: &Config,
    ) {
        let had_permit = permit.is_ok();
        let permit = Mutex::new(permit);
        let responses = AtomicUsize::new(0);
        let (stream, mut returned) = ReclaimOnDrop::new(stream);
        let (stream, findings) = CheckedHttp1Stream::new(stream, config.max_header_bytes);
        let answer = async |mut request: Request<()>| {
            // The settings may have changed since the connection was accepted.
            let config = self.configs.borrow().clone();
            let (requester, client_ip) = self.resolve_client(request.headers(), &client, &config);
            let context = RequestContext::new(&client, deadline, config);
            let (mut has_permit, mut was_valid) = (had_permit, false);
            let mut acquire_permit = || {
                let permit = self.take_for_address(&mut permit.lock(), client_ip, &context.config);
                has_permit &= permit.is_ok();
                was_valid = permit.is_ok();
                if was_valid {
                    // While the application decides, hyper reads ahead: what follows is for the session.
                    findings.stop_checking();
                }
                permit
            };
            let call =
                Call { client: &requester, context: &context, acquire_permit: &mut acquire_permit };
            let mut response = self.router.answer_http1(&mut request, call, reclaim).await;
            let is_upgraded = is_upgrade(&response);
            if was_valid && !is_upgraded {
                // The session's permit is released, and the connection is still open.
                *permit.lock() = self.acquire_permit(client.peer, false, &context.config);
            }
            // The connection is closed after one response during a shutdown, and without a permit; and after
            // a denial, because the bytes behind its request were not checked.
            let is_refused = !has_permit || was_valid || client.token.phase() != Phase::Serving;
            let responses = responses.fetch_add(1, Ordering::Relaxed) + 1;
            // Bytes that one implementation takes for a body may be a request to another, so no request
            // is read after a head that frames a body.
            let is_last = is_refused || responses >= MAX_REFUSALS || frames_body(request.headers());
            if is_last {
                close_after(&mut response);
            }
            if is_last || is_upgraded {
                findings.stop_checking();
            }
            response
        };
        let service = service_fn(|request: Request<Incoming>| {
            findings.hold();
            let answer = answer(request.map(drop));
            async {
                let mut answer = pin!(answer);
                let begun = poll_fn(|cx| {
                    findings.release();
                    let begun = answer.as_mut().poll(cx);
                    // Unless it is upgraded, hyper has to read on: the next request, or that the client
                    // leaves while the application decides.
                    if !matches!(&begun, Poll::Ready(response) if is_upgrade(response)) {
                        cx.waker().wake_by_ref();
                    }
                    Poll::Ready(begun)
                });
                Ok::<_, Infallible>(match begun.await {
                    Poll::Ready(response) => response,
                    Poll::Pending => answer.await,
                })
            }
        });
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // An error here is caused by the client, and no session has begun.
        let result = http.await;
        let violation = findings.violation();
        match (violation, result) {
            (Some(rejection), _) => self.router.record_rejected(rejection, &client),
            (None, Err(error)) if error.is_parse_too_large() => {
                self.router.record_rejected(Rejection::HeaderTooLarge, &client);
            }
            (None, Err(error)) if error.is_parse() => {
                self.router.record_rejected(Rejection::Malformed, &client);
            }
            (None, Ok(()) | Err(_)) => {}
        }
        // hyper has dropped the stream, which returned it, unless it was upgraded.
        if let Ok(stream) = returned.try_recv() {
            if stream.has_tls_error() {
                self.router.record_rejected(Rejection::BadTls, &client);
            }
            let closed = async {
                match violation {
                    Some(rejection) => refuse_and_close(stream, rejection.status()).await,
                    None => lingering_close(stream).await,
                }
            };
            let _ = timeout(config.policy.session.timing.close_timeout, closed).await;
        }
    }
}

fn is_upgrade<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Has hyper close the connection after this response, unless it is an upgrade.
fn close_after<B>(response: &mut Response<B>) {
    if !is_upgrade(response) {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Sends the response in place of hyper, followed by a lingering close. It has no body, as hyper's own
/// response to a request that it cannot parse.
async fn refuse_and_close(mut stream: Stream, status: StatusCode) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n"
    );
    let mut rest = head.as_bytes();
    while !rest.is_empty()
        && let Ok(count @ 1..) = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, rest)).await
    {
        rest = rest.get(count..).unwrap_or_default();
    }
    lingering_close(stream).await;
}
