//! Why a handshake was not answered with 101. The server's own refusals begin with a word, which names the
//! cause; any other answer is from something on the way.

use transport::Rejection;

use crate::admin::Counters;
use crate::client::{Attempt, NoHead, Refused};
use crate::context::Context;
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::probes::tls::late_failure;
use crate::remedies::Remedy;

/// How a record with an alert begins (RFC 8446, section 5.1).
const TLS_ALERT: &[u8] = &[0x15, 0x03];

/// What the admin listener counted during a handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// It cannot be read, or counted several.
    Unknown,
    /// No handshake.
    Nothing,
    Opened,
    Refused(Rejection),
}

impl Counted {
    /// Requests a session once more if only the counters say what became of it: another client may have been
    /// counted in its place.
    pub(super) async fn confirmed(self, context: &Context<'_>, attempt: &Attempt) -> Self {
        if said(attempt).is_some() || matches!(self, Self::Unknown) {
            return self;
        }
        let before = context.counters().await;
        let _ = context.open().await;
        let again = Self::since(context, before.as_ref()).await;
        if again == self { self } else { Self::Unknown }
    }

    pub(super) async fn since(context: &Context<'_>, before: Option<&Counters>) -> Self {
        let (Some(before), Some(after)) = (before, context.counters().await) else {
            return Self::Unknown;
        };
        let refused = after.refused_since(before);
        match refused.as_slice() {
            [] if after.opened > before.opened => Self::Opened,
            [] => Self::Nothing,
            [word] => rejection(word).map_or(Self::Unknown, Self::Refused),
            [_, ..] => Self::Unknown,
        }
    }
}

/// Explains an attempt that did not open a session. `origin` is what was sent.
pub(super) fn explain(
    question: Question,
    attempt: &Attempt,
    counted: &Counted,
    context: &Context<'_>,
    origin: Option<&str>,
) -> Finding {
    let answer = match attempt {
        Attempt::Refused(refused) => describe(refused),
        Attempt::NoAnswer(failure) => failure.to_string(),
        Attempt::HeldBack | Attempt::Open(_) => "the answer was held back".to_owned(),
    };
    if let Some(rejection) = said(attempt) {
        let (sentence, remedies) = of_server(rejection, attempt, context, origin);
        let sentence = format!("the server refuses the handshake ({answer}): {sentence}");
        return Finding::failure(question, word(rejection, origin), sentence, remedies);
    }
    if let Counted::Refused(rejection) = *counted {
        let (sentence, remedies) = of_server(rejection, attempt, context, origin);
        let sentence = format!(
            "the server refused the request as {rejection}, and what arrived is: {answer}. {sentence}"
        );
        return Finding::failure(question, word(rejection, origin), sentence, remedies);
    }
    let (word, cause, mut remedies) = match attempt {
        Attempt::Refused(refused)
            if question != Question::Upgrade && matches!(refused.head.status, 429 | 503) =>
        {
            let cause = "earlier handshakes were accepted, so something on the way limits how many one client may try";
            ("limited", cause.to_owned(), vec![limit_of_requests()])
        }
        Attempt::Refused(refused) => of_status(refused),
        Attempt::NoAnswer(NoHead::NotHttp(bytes)) if bytes.starts_with(TLS_ALERT) => {
            speaks_tls(context.dialer.target.is_tls)
        }
        Attempt::NoAnswer(failure) => {
            if let NoHead::Failed(error) = failure
                && let Some(finding) = late_failure(error)
            {
                return finding;
            }
            of_silence(failure)
        }
        Attempt::HeldBack | Attempt::Open(_) => (
            "answer_held_back",
            "the 101 arrived only after further bytes were sent".to_owned(),
            vec![Remedy::ForwardAtOnce],
        ),
    };
    let seen = match counted {
        Counted::Nothing => {
            remedies.retain(|remedy| *remedy != Remedy::Forward);
            remedies.insert(0, Remedy::Forward);
            "; the server of --admin counted no request, so it did not reach that server"
        }
        Counted::Opened => {
            "; the server of --admin opened a session meanwhile, so its answer may have been replaced"
        }
        Counted::Unknown | Counted::Refused(_) => "",
    };
    Finding::failure(question, word, format!("{answer}: {cause}{seen}"), remedies)
}

/// The word of an answer that the server itself gave.
pub(super) fn said(attempt: &Attempt) -> Option<Rejection> {
    let Attempt::Refused(refused) = attempt else { return None };
    let text = str::from_utf8(refused.body.get(..64).unwrap_or(&refused.body));
    let (word, _) = text.unwrap_or_default().split_once(": ")?;
    rejection(word).filter(|rejection| rejection.status() == refused.head.status)
}

fn rejection(word: &str) -> Option<Rejection> {
    Rejection::ALL.iter().copied().find(|rejection| rejection.as_str() == word)
}

fn word(rejection: Rejection, origin: Option<&str>) -> &'static str {
    match (rejection, origin) {
        (Rejection::OriginMissing, Some(_)) => "origin_dropped",
        (Rejection::OriginRefused, None) => "origin_added",
        _ => rejection.as_str(),
    }
}

fn describe(refused: &Refused) -> String {
    let first =
        refused.body.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let status = refused.head.status;
    match first {
        Some(line) => format!("{status}, \"{}\"", escape(line.trim_ascii())),
        None => format!("{status} without a text"),
    }
}

/// The cause of each refusal of the server, and what to change.
fn of_server(
    rejection: Rejection,
    attempt: &Attempt,
    context: &Context<'_>,
    origin: Option<&str>,
) -> (String, Vec<Remedy>) {
    let server = |text: &str| Remedy::Server(text.to_owned());
    let log = || server("its log has a line event=\"refused\" with the cause");
    let (sentence, remedies) = match rejection {
        Rejection::NotAnUpgrade => return not_an_upgrade(attempt),
        Rejection::HttpVersion => (
            "the request arrived as HTTP/1.0, and a WebSocket needs HTTP/1.1",
            vec![Remedy::Http11],
        ),
        Rejection::NotFound => ("the request arrived with another path", vec![Remedy::PassPath]),
        Rejection::MethodNotAllowed => {
            ("the request arrived with another method than GET", vec![Remedy::PassHandshake])
        }
        Rejection::BadHost => ("Host arrived changed, twice or not at all", vec![Remedy::PassHost]),
        Rejection::BadKey => {
            ("Sec-WebSocket-Key arrived changed, twice or not at all", vec![Remedy::PassHandshake])
        }
        Rejection::WebsocketVersion => {
            ("Sec-WebSocket-Version arrived changed or not at all", vec![Remedy::PassHandshake])
        }
        Rejection::BadOrigin => {
            ("Origin arrived twice, or as something else", vec![Remedy::PassOrigin])
        }
        Rejection::OriginMissing if origin.is_some() => {
            ("Origin was sent, and did not arrive", vec![Remedy::PassOrigin])
        }
        Rejection::OriginMissing => (
            "the server requires an Origin",
            vec![
                Remedy::Client("--origin with the origin of a page that has to be let in"),
                server("WS_STATUS_MISSING_ORIGIN=allow, if programs may connect"),
            ],
        ),
        Rejection::OriginRefused => return origin_refused(context, origin),
        Rejection::HasBody => (
            "the request arrived with a body, which something on the way has added",
            vec![
                Remedy::Network(
                    "no Content-Length or Transfer-Encoding may be added to a GET".to_owned(),
                ),
                log(),
            ],
        ),
        Rejection::BadProxyHeader => (
            "the connection to the server does not begin with the header of the PROXY protocol that it requires",
            vec![Remedy::SendProxyHeader],
        ),
        Rejection::BadTls => (
            "the connection to the server is not one of TLS that it accepts",
            vec![
                Remedy::Upstream,
                server("a plaintext listener in WS_STATUS_LISTEN, or TLS in the proxy towards it"),
            ],
        ),
        Rejection::Malformed => (
            "what arrived at the server is not a request: it begins with a PROXY header or with TLS that the listener does not expect, or the proxy changed it",
            vec![Remedy::NoProxyHeader, Remedy::Upstream],
        ),
        Rejection::HeaderTooLarge | Rejection::UriTooLong => (
            "the head of the request is larger than the server takes; a proxy or cookies have added to it",
            vec![server("WS_STATUS_MAX_HEADER_BYTES, or fewer headers")],
        ),
        Rejection::TooManyFrames => (
            "an HTTP/2 connection that many clients share counts as one client",
            vec![server(
                "WS_STATUS_TRUSTED_PROXIES with the proxy, and WS_STATUS_FORWARDED_HEADER=x-forwarded-for",
            )],
        ),
        Rejection::ConnectionLimit => (
            "all connections of the server are in use",
            vec![server(
                "WS_STATUS_MAX_CONNECTIONS and the limit of open files, or another server",
            )],
        ),
        Rejection::AddressLimit => (
            "all connections of one address are in use; behind a proxy that does not name its clients, all clients share one",
            vec![
                Remedy::ForwardAddress(String::new()),
                server("WS_STATUS_MAX_CONNECTIONS_PER_ADDRESS"),
            ],
        ),
        Rejection::Draining => (
            "the server is shutting down, and the proxy still sends requests to it",
            vec![
                Remedy::Upstream,
                server("WS_STATUS_DRAIN_DELAY_SECS=5, so that the proxy sees it first"),
            ],
        ),
        Rejection::Unauthenticated | Rejection::Forbidden => (
            "the server admits only clients that are authenticated",
            vec![
                Remedy::Client("--header with the cookie or the token of a user who may connect"),
                log(),
            ],
        ),
        Rejection::AdmissionTimeout | Rejection::AuthUnavailable => (
            "what authenticates clients does not answer",
            vec![server(
                "WS_STATUS_AUTH_URL and that service; its log has a line event=\"auth_unavailable\"",
            )],
        ),
        Rejection::Application => ("the application refuses this client", vec![log()]),
        Rejection::InternalError => {
            ("a part of the server failed", vec![server("its log has a line event=\"panicked\"")])
        }
        Rejection::UnknownProtocol | _ => ("the server says why in its answer", vec![log()]),
    };
    (sentence.to_owned(), remedies)
}

/// The second line of the answer says which of the two headers is missing.
fn not_an_upgrade(attempt: &Attempt) -> (String, Vec<Remedy>) {
    let body = match attempt {
        Attempt::Refused(refused) => String::from_utf8_lossy(&refused.body),
        Attempt::HeldBack | Attempt::NoAnswer(_) | Attempt::Open(_) => "".into(),
    };
    let has = |text: &str| body.lines().skip(1).any(|line| line.contains(text));
    let (upgrade, connection) =
        (has("without Upgrade: websocket"), has("without Connection: Upgrade"));
    match (upgrade, connection) {
        (true, false) => {
            ("the request arrived without Upgrade: websocket".to_owned(), vec![Remedy::PassUpgrade])
        }
        (false, true) => (
            "the request arrived without Connection: Upgrade".to_owned(),
            vec![Remedy::PassConnection],
        ),
        (true, true) | (false, false) => (
            "the request arrived without Upgrade: websocket and Connection: Upgrade".to_owned(),
            vec![Remedy::PassUpgrade, Remedy::PassConnection],
        ),
    }
}

fn origin_refused(context: &Context<'_>, origin: Option<&str>) -> (String, Vec<Remedy>) {
    let Some(origin) = origin else {
        return (
            "no Origin was sent, and one arrived that the server does not let in".to_owned(),
            vec![Remedy::PassOrigin],
        );
    };
    let mut remedies = vec![Remedy::AllowOrigin(origin.to_owned())];
    let mut sentence = format!("{origin} is not let in");
    if context.dialer.target.own_origin().eq_ignore_ascii_case(origin) {
        sentence +=
            ", which is the server's own origin: \"self\" lets it in, if Host arrives unchanged";
        remedies.push(Remedy::PassHost);
    }
    (sentence, remedies)
}

/// An answer that is not the server's, by its status.
fn of_status(refused: &Refused) -> (&'static str, String, Vec<Remedy>) {
    let body = String::from_utf8_lossy(&refused.body).to_ascii_lowercase();
    let upgrade = || vec![Remedy::PassUpgrade, Remedy::PassConnection, Remedy::Http11];
    let (word, cause, remedies) = match refused.head.status {
        400 if body.contains("http request was sent to https") => {
            ("speaks_tls", "the port speaks TLS", vec![Remedy::Client("a URL that begins with wss://")])
        }
        200..=299 => (
            "plain_answer",
            "something on the way answers the request itself, or passes it on as a plain one to another server",
            vec![Remedy::Forward, Remedy::PassUpgrade],
        ),
        300..=399 => {
            let location = refused.head.header("location").unwrap_or_default();
            let cause = format!("it redirects to \"{}\", and browsers do not follow", escape(location));
            let url = Remedy::Client("the URL to which it redirects, with wss:// for https://");
            return ("redirected", cause, vec![url, Remedy::Forward]);
        }
        400 => (
            "bad_request",
            "something on the way, or the server behind it, does not accept the request; Upgrade may not be passed on, or a PROXY header is not expected",
            [upgrade(), vec![Remedy::NoProxyHeader]].concat(),
        ),
        401 | 403 | 407 => (
            "access_denied",
            "something on the way lets only some clients through",
            vec![Remedy::Client("--header with the credentials of a user who may connect"), Remedy::Network("the access rules (nginx: auth_request, allow, deny; HAProxy: http-request deny; a web application firewall) for this path".to_owned())],
        ),
        404 | 405 | 410 | 421 => (
            "not_forwarded",
            "something on the way does not know this path or host, and does not pass it on to the server",
            vec![Remedy::Forward, Remedy::PassPath],
        ),
        413 | 414 | 431 => (
            "head_limit",
            "something on the way takes only smaller requests",
            vec![Remedy::Network("its limit for the head of requests (nginx: large_client_header_buffers; HAProxy: tune.bufsize)".to_owned())],
        ),
        426 | 501 => (
            "upgrade_required",
            "the request did not arrive as an upgrade to WebSocket",
            upgrade(),
        ),
        429 => (
            "limited",
            "something on the way limits requests",
            vec![limit_of_requests()],
        ),
        503 => (
            "upstream_unavailable",
            "something on the way has no server for the request: none is configured for this path, or its checks find none healthy",
            vec![Remedy::Upstream, Remedy::Forward, Remedy::SendProxyHeader],
        ),
        408 | 502 | 504 => (
            "upstream_unavailable",
            "something on the way gets no answer from the server: it is down, unhealthy, at another address, or closes the connection because it expects TLS or a PROXY header",
            vec![Remedy::Upstream, Remedy::SendProxyHeader],
        ),
        505 => ("http_version", "the request arrived in a version of HTTP that is too old", vec![Remedy::Http11]),
        _ => (
            "other_answer",
            "this is not an answer of the server",
            vec![Remedy::Forward, Remedy::Network("the log of what answers".to_owned())],
        ),
    };
    (word, cause.to_owned(), remedies)
}

fn limit_of_requests() -> Remedy {
    let text = "its limit of requests or connections (nginx: limit_req, limit_conn; HAProxy: a stick-table)";
    Remedy::Network(text.to_owned())
}

/// The request was answered with an alert of TLS, because it has reached a port of TLS as plaintext.
fn speaks_tls(is_tls: bool) -> (&'static str, String, Vec<Remedy>) {
    if is_tls {
        let cause = "it is an alert of TLS from the server, which a proxy passes on: the server expects TLS";
        return ("upstream_speaks_tls", cause.to_owned(), vec![Remedy::Upstream]);
    }
    let url = Remedy::Client("a URL that begins with wss://");
    ("speaks_tls", "it is an alert of TLS".to_owned(), vec![url, Remedy::Upstream])
}

/// No answer.
fn of_silence(failure: &NoHead) -> (&'static str, String, Vec<Remedy>) {
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
