//! HTTP/1.1 on an accepted stream (RFC 9112): requests one after the other, until one is upgraded.
//!
//! A stream in front of hyper checks heads (`head_check`).

mod head_check;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::timeout;
use transport::{Client, Handler, Permit, Phase, Rejection, frames_body};

use crate::config::Config;
use crate::http::http1::head_check::{CheckedHttp1Stream, reclaim};
use crate::http::request_limits::MAX_REFUSALS;
use crate::http::service::Http;
use crate::net::lingering_close::{ReclaimOnDrop, lingering_close, refuse_and_close};
use crate::net::stream::Stream;

impl<H: Handler + Clone + Sync> Http<H> {
    /// Serves HTTP/1.1 until the connection is upgraded or ends.
    pub(crate) async fn serve_http1(
        &self,
        stream: Stream,
        client: Client,
        permit: Result<Permit, Rejection>,
        config: &Config,
    ) {
        let had_place = permit.is_ok();
        let permit = Mutex::new(permit);
        let answers = AtomicUsize::new(0);
        let (stream, mut returned) = ReclaimOnDrop::new(stream);
        let (stream, checks) = CheckedHttp1Stream::new(stream, config.max_header_bytes);
        let service = service_fn(|mut request| {
            // The settings may have changed since the connection was accepted.
            let config = self.configs.borrow().clone();
            let (requester, client_ip) = self.client_of(request.headers(), &client, &config);
            let mut has_place = had_place;
            let answer = self.router.answer(&request, &requester, &config.policy, || {
                let permit = self.assign_address(&mut permit.lock(), client_ip, &config);
                has_place &= permit.is_ok();
                permit
            });
            let mut response = answer.over_http1(&mut request, reclaim);
            // In a shutdown, or without a slot, a connection is for one answer.
            let is_refused = !has_place || client.token.phase() != Phase::Serving;
            let answers = answers.fetch_add(1, Ordering::Relaxed) + 1;
            // What one takes for a body may be a request to another, so none is looked for there.
            let is_last = is_refused || answers >= MAX_REFUSALS || frames_body(request.headers());
            if is_last {
                close_after(&mut response);
            }
            if is_last || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                checks.end();
            }
            async { Ok::<_, Infallible>(response) }
        });
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(config.max_header_bytes)
            .max_headers(config.max_headers)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // What goes wrong here is the client's fault, and no session has begun.
        let ended = http.await;
        let found = checks.found();
        match (found, ended) {
            (Some(rejection), _) => self.router.record_rejected(rejection, &client),
            (None, Err(error)) if error.is_parse_too_large() => {
                self.router.record_rejected(Rejection::HeaderTooLarge, &client);
            }
            (None, Err(error)) if error.is_parse() => {
                self.router.record_rejected(Rejection::Malformed, &client);
            }
            (None, Ok(()) | Err(_)) => {}
        }
        // It comes back unless it was upgraded.
        if let Ok(stream) = returned.try_recv() {
            if stream.has_broken_tls() {
                self.router.record_rejected(Rejection::BadTls, &client);
            }
            let last = async {
                match found {
                    Some(rejection) => refuse_and_close(stream, rejection.status()).await,
                    None => lingering_close(stream).await,
                }
            };
            let _ = timeout(config.policy.session.timing.close_timeout, last).await;
        }
    }
}

/// Ends the connection with this answer, unless it is an upgrade.
fn close_after<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}
