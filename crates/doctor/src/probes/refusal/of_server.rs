//! The refusals of the server: the cause of each, and what to change.

use transport::Rejection;

use crate::client::Attempt;
use crate::context::Context;
use crate::remedies::Remedy;

/// The cause of a refusal, and what to change.
pub(super) fn of_server(
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
            ("the request arrived with another method than GET", vec![Remedy::PassMethod])
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
            "the connection to the server does not begin with the header of the PROXY protocol that \
             it requires",
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
            "what arrived at the server is not a request: it begins with a PROXY header or with TLS \
             that the listener does not expect, or the proxy changed it",
            vec![Remedy::NoProxyHeader, Remedy::Upstream],
        ),
        Rejection::HeaderTooLarge | Rejection::UriTooLong => (
            "the head of the request is larger than the server takes; a proxy or cookies have added \
             to it",
            vec![server("WS_STATUS_MAX_HEADER_BYTES, or fewer headers")],
        ),
        Rejection::TooManyFrames => (
            "an HTTP/2 connection that many clients share counts as one client",
            vec![server(
                "WS_STATUS_TRUSTED_PROXIES with the proxy, and \
                 WS_STATUS_FORWARDED_HEADER=x-forwarded-for",
            )],
        ),
        Rejection::ConnectionLimit => (
            "all connections of the server are in use",
            vec![server(
                "WS_STATUS_MAX_CONNECTIONS and the limit of open files, or another server",
            )],
        ),
        Rejection::AddressLimit => (
            "all connections of one address are in use; behind a proxy that does not name its \
             clients, all clients share one",
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
        Attempt::HeldBack | Attempt::NoAnswer(_) | Attempt::Open(_) | Attempt::Shown(_) => {
            "".into()
        }
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
