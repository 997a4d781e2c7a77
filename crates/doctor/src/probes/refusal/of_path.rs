//! Answers that are not the server's: something on the way answers, or nothing does.

use crate::client::{NoHead, Refused};
use crate::escape::escape;
use crate::remedies::Remedy;

/// How a record with an alert begins (RFC 8446, section 5.1).
pub(super) const TLS_ALERT: &[u8] = &[0x15, 0x03];

/// An answer, by its status.
pub(super) fn of_status(refused: &Refused) -> (&'static str, String, Vec<Remedy>) {
    let body = String::from_utf8_lossy(&refused.body).to_ascii_lowercase();
    let upgrade = || vec![Remedy::PassUpgrade, Remedy::PassConnection, Remedy::Http11];
    let (word, cause, remedies) = match refused.head.status {
        400 if body.contains("http request was sent to https") => (
            "speaks_tls",
            "the port speaks TLS",
            vec![Remedy::Client("a URL that begins with wss://")],
        ),
        200..=299 => (
            "plain_answer",
            "something on the way answers the request itself, or passes it on as a plain one to \
             another server",
            vec![Remedy::Forward, Remedy::PassUpgrade],
        ),
        300..=399 => {
            let location = refused.head.header("location").unwrap_or_default();
            let cause =
                format!("it redirects to \"{}\", and browsers do not follow", escape(location));
            return ("redirected", cause, vec![Remedy::Redirect]);
        }
        // The server answers so what is neither HTTP/1.1 nor HTTP/2; proxies have a text of their own.
        400 if body.is_empty() => (
            "bad_request",
            "the server, or something on the way, takes what arrives for no request: a PROXY header \
             or TLS that it does not expect, or a request without Upgrade",
            [vec![Remedy::NoProxyHeader, Remedy::Upstream], upgrade()].concat(),
        ),
        400 => (
            "bad_request",
            "something on the way, or the server behind it, does not accept the request; Upgrade may \
             not be passed on, or a PROXY header is not expected",
            [upgrade(), vec![Remedy::NoProxyHeader]].concat(),
        ),
        401 | 403 | 407 => (
            "access_denied",
            "something on the way lets only some clients through",
            vec![Remedy::Access],
        ),
        404 | 405 | 410 | 421 => (
            "not_forwarded",
            "something on the way does not know this path or host, and does not pass it on to the \
             server",
            vec![Remedy::Forward, Remedy::PassPath],
        ),
        413 | 414 | 431 => (
            "head_limit",
            "something on the way takes only smaller requests",
            vec![Remedy::Network(
                "its limit for the head of requests (nginx: \
                                  large_client_header_buffers; HAProxy: tune.bufsize)"
                    .to_owned(),
            )],
        ),
        426 | 501 => {
            ("upgrade_required", "the request did not arrive as an upgrade to WebSocket", upgrade())
        }
        429 => ("limited", "something on the way limits requests", vec![Remedy::RateLimit]),
        503 => (
            "upstream_unavailable",
            "something on the way has no server for the request: none is configured for this path, \
             or its checks find none healthy",
            vec![Remedy::Upstream, Remedy::Forward, Remedy::SendProxyHeader],
        ),
        408 | 502 | 504 => (
            "upstream_unavailable",
            "something on the way gets no answer from the server: it is down, unhealthy, at another \
             address, or closes the connection because it expects TLS or a PROXY header",
            vec![Remedy::Upstream, Remedy::SendProxyHeader],
        ),
        505 => (
            "http_version",
            "the request arrived in a version of HTTP that is too old",
            vec![Remedy::Http11],
        ),
        _ => (
            "other_answer",
            "this is not an answer of the server",
            vec![Remedy::Forward, Remedy::Network("the log of what answers".to_owned())],
        ),
    };
    (word, cause.to_owned(), remedies)
}

/// The request was answered with an alert of TLS, because it has reached a port of TLS as plaintext.
pub(super) fn speaks_tls(is_tls: bool) -> (&'static str, String, Vec<Remedy>) {
    if is_tls {
        let cause = "it is an alert of TLS from the server, which a proxy passes on: the server \
                     expects TLS";
        return ("upstream_speaks_tls", cause.to_owned(), vec![Remedy::Upstream]);
    }
    let url = Remedy::Client("a URL that begins with wss://");
    ("speaks_tls", "it is an alert of TLS".to_owned(), vec![url, Remedy::Upstream])
}

/// No answer.
pub(super) fn of_silence(failure: &NoHead) -> (&'static str, String, Vec<Remedy>) {
    let (word, cause, remedies) = match failure {
        NoHead::NotHttp(_) => (
            "not_http",
            "something else than HTTP/1.1 listens there",
            vec![Remedy::Client("the port of the endpoint in the URL"), Remedy::Upstream],
        ),
        NoHead::Ended(0) => (
            "closed_without_answer",
            "the listener expects a PROXY header or TLS, or a firewall ended the connection",
            vec![
                Remedy::SendProxyHeader,
                Remedy::Client("a URL that begins with wss://"),
                Remedy::Upstream,
            ],
        ),
        NoHead::Failed(_) => (
            "connection_failed",
            "something on the way ended the connection",
            vec![
                Remedy::Upstream,
                Remedy::Network("a firewall that resets connections with Upgrade".to_owned()),
            ],
        ),
        NoHead::Ended(_) => {
            ("answer_cut", "what answers broke off", vec![Remedy::Upstream, Remedy::ForwardAtOnce])
        }
        NoHead::TimedOut(0) => (
            "no_answer",
            "the request is not forwarded, or the answer is held back",
            vec![Remedy::Upstream, Remedy::ForwardAtOnce],
        ),
        NoHead::TimedOut(_) => (
            "slow_answer",
            "the answer arrives byte by byte, or its end is held back",
            vec![Remedy::ForwardAtOnce],
        ),
        NoHead::TooLarge => (
            "endless_head",
            "what answers adds headers without an end",
            vec![Remedy::Network("fewer or smaller headers in the answer".to_owned())],
        ),
    };
    (word, cause.to_owned(), remedies)
}
