//! Why a request is refused, and what the client is told.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// Why a request is not upgraded. Each is a fault of the request or a state of the server; only
/// [`InternalError`](Self::InternalError) is an error of ours.
///
/// ```
/// use transport::Rejection;
///
/// let response = Rejection::Draining.response();
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "1");
/// assert!(response.body().starts_with("draining: "));
/// assert!(Rejection::ALL.contains(&Rejection::Draining));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// As many connections of this client's address are open as there may be.
    AddressLimit,
    /// `Host` is missing, doubled or no host, or is not what the target names (RFC 9112, section 3.2).
    BadHost,
    /// `Sec-WebSocket-Key` is missing, doubled or not 16 bytes in base64 (RFC 6455, section 4.2.1).
    BadKey,
    /// `Origin` is doubled, or its value is no origin (RFC 6454, section 7.1).
    BadOrigin,
    /// There is no header of the PROXY protocol where there has to be one, or a bad one. Whoever
    /// accepts says this, and hangs up without an answer, as that protocol wants it.
    BadProxyHeader,
    /// The TLS handshake failed. Whoever accepts says this; the client got an alert, if it can read one
    /// (RFC 8446, section 6).
    BadTls,
    /// As many connections are open as there may be.
    ConnectionLimit,
    /// The server is shutting down.
    Draining,
    /// The request has a body, or a header that frames one or may do so to somebody else (RFC 9112,
    /// section 6). Where there are two `Content-Length` over HTTP/1.1, whoever serves it says this.
    HasBody,
    /// The head of the request is too large, or has too many header lines (RFC 6585, section 5). Over
    /// HTTP/1.1 hyper answers this by itself.
    HeaderTooLarge,
    /// The HTTP version is below 1.1 (RFC 6455, section 4.2.1).
    HttpVersion,
    /// Code that was called for the session panicked before it could begin; there is a bug in it.
    InternalError,
    /// The client broke a rule of HTTP/1.1 (RFC 9112, section 2.2) or HTTP/2 (RFC 9113, sections 5.4.1 and
    /// 8.1.1). Over HTTP/1.1 hyper answers this by itself, and over HTTP/2 it is the end of the connection
    /// unless it is the fault of one request.
    Malformed,
    /// The method is not GET (RFC 6455, section 4.2.1), or over HTTP/2 no extended CONNECT (RFC 8441,
    /// section 4).
    MethodNotAllowed,
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing (RFC 6455, section 4.2.1), or it is a GET
    /// over HTTP/2.
    NotAnUpgrade,
    /// There is nothing at this path. The router says this, not the upgrade check.
    NotFound,
    /// There is no `Origin`, and the operator wants one.
    OriginMissing,
    /// The origin is not one of those the operator allows.
    OriginRefused,
    /// An HTTP/2 connection brought more than it may besides messages (RFC 9113, section 10.5). It ends
    /// with `ENHANCE_YOUR_CALM`, which whoever accepts sees to.
    TooManyFrames,
    /// The extended CONNECT is for another protocol than WebSocket (RFC 9220, section 3).
    UnknownProtocol,
    /// The target of the request is too long (RFC 9112, section 3), which whoever serves HTTP says.
    UriTooLong,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455, section 4.4).
    WebsocketVersion,
}

impl Rejection {
    /// Every rejection, in the order of its word.
    pub const ALL: &'static [Self] = &[
        Self::AddressLimit,
        Self::BadHost,
        Self::BadKey,
        Self::BadOrigin,
        Self::BadProxyHeader,
        Self::BadTls,
        Self::ConnectionLimit,
        Self::Draining,
        Self::HasBody,
        Self::HeaderTooLarge,
        Self::HttpVersion,
        Self::InternalError,
        Self::Malformed,
        Self::MethodNotAllowed,
        Self::NotAnUpgrade,
        Self::NotFound,
        Self::OriginMissing,
        Self::OriginRefused,
        Self::TooManyFrames,
        Self::UnknownProtocol,
        Self::UriTooLong,
        Self::WebsocketVersion,
    ];

    /// The word for it, the same in logs, answers and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.answer().word
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.answer().status
    }

    /// The answer: the status, the headers that go with it, and one sentence.
    #[must_use]
    pub fn response(self) -> Response<String> {
        let ResponseTemplate { word, status, headers, sentence } = self.answer();
        let mut response = Response::new(format!("{word}: {sentence}\n"));
        *response.status_mut() = status;
        let common = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")];
        for (name, value) in common.iter().chain(headers) {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// The one place where a refusal becomes an answer.
    const fn answer(self) -> ResponseTemplate {
        match self {
            Self::AddressLimit => ResponseTemplate {
                word: "address_limit",
                status: StatusCode::TOO_MANY_REQUESTS,
                headers: &[("retry-after", "5")],
                sentence: "as many connections of your address are open as this server takes; \
                           try again later",
            },
            Self::BadHost => ResponseTemplate {
                word: "bad_host",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the request must have one Host header, it must name a host, and the target no other",
            },
            Self::BadKey => ResponseTemplate {
                word: "bad_key",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the request must have one Sec-WebSocket-Key header with 16 bytes in base64",
            },
            Self::BadOrigin => ResponseTemplate {
                word: "bad_origin",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "Origin must occur once at most and be scheme://host or scheme://host:port",
            },
            Self::BadProxyHeader => ResponseTemplate {
                word: "bad_proxy_header",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the connection must begin with a good header of the PROXY protocol",
            },
            Self::BadTls => ResponseTemplate {
                word: "bad_tls",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the connection must begin with a TLS handshake that both sides agree on",
            },
            Self::ConnectionLimit => ResponseTemplate {
                word: "connection_limit",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "5")],
                sentence: "as many connections are open as this server takes; try again later",
            },
            Self::Draining => ResponseTemplate {
                word: "draining",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "1")],
                sentence: "this server is shutting down; try again, and another one will answer",
            },
            Self::HasBody => ResponseTemplate {
                word: "has_body",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the request must have no body, no Transfer-Encoding, and no Content-Length but 0",
            },
            Self::HeaderTooLarge => ResponseTemplate {
                word: "header_too_large",
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                headers: &[],
                sentence: "the head of the request is too large, or has too many header lines",
            },
            Self::HttpVersion => ResponseTemplate {
                word: "http_version",
                status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                headers: &[],
                sentence: "a WebSocket is opened with HTTP/1.1 or HTTP/2; a proxy in front may need to be \
                           told so",
            },
            Self::InternalError => ResponseTemplate {
                word: "internal_error",
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers: &[],
                sentence: "something in this server failed, and its log says what",
            },
            Self::Malformed => ResponseTemplate {
                word: "malformed",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "what came is not a request of HTTP/1.1 or HTTP/2",
            },
            Self::MethodNotAllowed => ResponseTemplate {
                word: "method_not_allowed",
                status: StatusCode::METHOD_NOT_ALLOWED,
                headers: &[("allow", "GET")],
                sentence: "a WebSocket is opened with GET, and over HTTP/2 with an extended CONNECT",
            },
            Self::NotAnUpgrade => ResponseTemplate {
                word: "not_an_upgrade",
                status: StatusCode::UPGRADE_REQUIRED,
                headers: &[("upgrade", "websocket"), ("connection", "Upgrade")],
                sentence: "this is a WebSocket endpoint: the request must say Upgrade: websocket and \
                           Connection: Upgrade, and a proxy in front must pass both on; over HTTP/2 \
                           it is a CONNECT with the protocol websocket",
            },
            Self::NotFound => ResponseTemplate {
                word: "not_found",
                status: StatusCode::NOT_FOUND,
                headers: &[],
                sentence: "there is nothing at this path",
            },
            Self::OriginMissing => ResponseTemplate {
                word: "origin_missing",
                status: StatusCode::FORBIDDEN,
                headers: &[],
                sentence: "the request must have an Origin header",
            },
            Self::OriginRefused => ResponseTemplate {
                word: "origin_refused",
                status: StatusCode::FORBIDDEN,
                headers: &[],
                sentence: "pages of this origin may not connect; the server's operator says which may",
            },
            Self::TooManyFrames => ResponseTemplate {
                word: "too_many_frames",
                status: StatusCode::TOO_MANY_REQUESTS,
                headers: &[],
                sentence: "the connection brought more requests and frames than messages need",
            },
            Self::UnknownProtocol => ResponseTemplate {
                word: "unknown_protocol",
                status: StatusCode::NOT_IMPLEMENTED,
                headers: &[],
                sentence: "the only protocol to connect with is websocket",
            },
            Self::UriTooLong => ResponseTemplate {
                word: "uri_too_long",
                status: StatusCode::URI_TOO_LONG,
                headers: &[],
                sentence: "the target of the request is too long",
            },
            // RFC 6455, section 4.4, wants the version; RFC 9110, section 15.5.22, the upgrade.
            Self::WebsocketVersion => ResponseTemplate {
                word: "websocket_version",
                status: StatusCode::UPGRADE_REQUIRED,
                headers: &[
                    ("sec-websocket-version", "13"),
                    ("upgrade", "websocket"),
                    ("connection", "Upgrade"),
                ],
                sentence: "the request must say Sec-WebSocket-Version: 13",
            },
        }
    }
}

/// Whoever counts rejections, or compares the documents with them, goes by the list.
#[expect(clippy::as_conversions, reason = "the last one's number is known in no other way")]
const _: () = assert!(Rejection::ALL.len() == Rejection::WebsocketVersion as usize + 1);

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Rejection {}

struct ResponseTemplate {
    word: &'static str,
    status: StatusCode,
    /// Names in lower case, and values.
    headers: &'static [(&'static str, &'static str)],
    sentence: &'static str,
}
