//! The reasons to refuse a request, and the response to each.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The reason why a request is refused: an error of the request, or a state of the server. Only
/// [`InternalError`](Self::InternalError) is an error of the server.
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
    /// The client's address has reached its limit of open connections.
    AddressLimit,
    /// Whether the session may open was not decided in time.
    AdmissionTimeout,
    /// The application refused the request ([`Denial`](crate::Denial)). The response has the status and
    /// the word of the application.
    Application,
    /// The service that authenticates clients did not answer, or not as it has to. Reported by the server.
    AuthUnavailable,
    /// `Host` is missing, duplicated or invalid, or differs from the target (RFC 9112, section 3.2).
    BadHost,
    /// `Sec-WebSocket-Key` is missing, duplicated or not 16 bytes in base64 (RFC 6455, section 4.2.1).
    BadKey,
    /// `Origin` is duplicated, or its value is not an origin (RFC 6454, section 7.1).
    BadOrigin,
    /// A required header of the PROXY protocol is missing or invalid. Reported by the server that
    /// accepts connections, which closes the connection without a response, as that protocol demands.
    BadProxyHeader,
    /// The TLS handshake failed. Reported by the server that accepts connections. The client receives an
    /// alert, if it speaks TLS (RFC 8446, section 6).
    BadTls,
    /// The server has reached its limit of open connections.
    ConnectionLimit,
    /// The server is shutting down.
    Draining,
    /// The client is authenticated, and may not connect. Reported by the server.
    Forbidden,
    /// The request has a body, or a header that frames one or may do so for another recipient (RFC 9112,
    /// section 6). Two `Content-Length` headers over HTTP/1.1 are reported by the HTTP server.
    HasBody,
    /// The header section of the request is too large, or has too many fields (RFC 6585, section 5).
    /// Over HTTP/1.1 hyper sends this response itself.
    HeaderTooLarge,
    /// The HTTP version is below 1.1 (RFC 6455, section 4.2.1).
    HttpVersion,
    /// Code that was called for the session panicked before it opened, which is a bug in that code.
    InternalError,
    /// The client violated HTTP/1.1 (RFC 9112, section 2.2) or HTTP/2 (RFC 9113, sections 5.4.1 and
    /// 8.1.1). Over HTTP/1.1 hyper sends this response itself. Over HTTP/2 the connection ends, unless
    /// the error is one of a single request.
    Malformed,
    /// The method is not GET (RFC 6455, section 4.2.1), or over HTTP/2 no extended CONNECT (RFC 8441,
    /// section 4).
    MethodNotAllowed,
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing (RFC 6455, section 4.2.1), or the
    /// request is a GET over HTTP/2.
    NotAnUpgrade,
    /// No endpoint has this path. Reported by the router, not by the upgrade check.
    NotFound,
    /// `Origin` is missing, and the operator requires one.
    OriginMissing,
    /// The operator does not allow this origin.
    OriginRefused,
    /// An HTTP/2 connection carried more requests and frames than its messages need (RFC 9113,
    /// section 10.5). The server that accepts connections ends it with `ENHANCE_YOUR_CALM`.
    TooManyFrames,
    /// The client is not authenticated. Reported by the server.
    Unauthenticated,
    /// The extended CONNECT is for a protocol other than WebSocket (RFC 9220, section 3).
    UnknownProtocol,
    /// The request target is too long (RFC 9112, section 3). Reported by the HTTP server.
    UriTooLong,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455, section 4.4).
    WebsocketVersion,
}

impl Rejection {
    /// All variants, in the order of their words.
    pub const ALL: &'static [Self] = &[
        Self::AddressLimit,
        Self::AdmissionTimeout,
        Self::Application,
        Self::AuthUnavailable,
        Self::BadHost,
        Self::BadKey,
        Self::BadOrigin,
        Self::BadProxyHeader,
        Self::BadTls,
        Self::ConnectionLimit,
        Self::Draining,
        Self::Forbidden,
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
        Self::Unauthenticated,
        Self::UnknownProtocol,
        Self::UriTooLong,
        Self::WebsocketVersion,
    ];

    /// Returns its word, the same in logs, responses and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.template().word
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.template().status
    }

    /// Returns the sentence of the response.
    pub(crate) const fn sentence(self) -> &'static str {
        self.template().sentence
    }

    /// Returns the response: the status, its headers, and a body of one sentence. The rejection itself is an
    /// extension of the response, for callers that add to the body.
    #[must_use]
    pub fn response(self) -> Response<String> {
        let ResponseTemplate { word, status, headers, sentence } = self.template();
        let mut response = Response::new(format!("{word}: {sentence}\n"));
        *response.status_mut() = status;
        response.extensions_mut().insert(self);
        let common = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")];
        for (name, value) in common.iter().chain(headers) {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            response.headers_mut().insert(name, value);
        }
        response
    }

    const fn template(self) -> ResponseTemplate {
        match self {
            Self::AddressLimit => ResponseTemplate {
                word: "address_limit",
                status: StatusCode::TOO_MANY_REQUESTS,
                headers: &[("retry-after", "5")],
                sentence: "this server has reached its connection limit for your address; try again later",
            },
            Self::AdmissionTimeout => ResponseTemplate {
                word: "admission_timeout",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "5")],
                sentence: "this server could not decide in time whether you may connect; try again later",
            },
            // A `Denial` replaces the status and the body.
            Self::Application => ResponseTemplate {
                word: "application",
                status: StatusCode::FORBIDDEN,
                headers: &[],
                sentence: "the application refuses the request",
            },
            Self::AuthUnavailable => ResponseTemplate {
                word: "auth_unavailable",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "5")],
                sentence: "the service that authenticates clients is not available; try again later",
            },
            Self::BadHost => ResponseTemplate {
                word: "bad_host",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the request must have one Host header, which must name a host, and the request \
                           target must name no other host",
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
                sentence: "the Origin header must occur at most once, and be scheme://host or \
                           scheme://host:port",
            },
            Self::BadProxyHeader => ResponseTemplate {
                word: "bad_proxy_header",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the connection must begin with a valid header of the PROXY protocol",
            },
            Self::BadTls => ResponseTemplate {
                word: "bad_tls",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the connection must begin with a successful TLS handshake",
            },
            Self::ConnectionLimit => ResponseTemplate {
                word: "connection_limit",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "5")],
                sentence: "this server has reached its connection limit; try again later",
            },
            Self::Draining => ResponseTemplate {
                word: "draining",
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &[("retry-after", "1")],
                sentence: "this server is shutting down; try again, and another server will answer",
            },
            Self::Forbidden => ResponseTemplate {
                word: "forbidden",
                status: StatusCode::FORBIDDEN,
                headers: &[],
                sentence: "you may not connect",
            },
            Self::HasBody => ResponseTemplate {
                word: "has_body",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the request must have no body, no Transfer-Encoding, and no Content-Length \
                           other than 0",
            },
            Self::HeaderTooLarge => ResponseTemplate {
                word: "header_too_large",
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                headers: &[],
                sentence: "the header section of the request is too large, or has too many fields",
            },
            Self::HttpVersion => ResponseTemplate {
                word: "http_version",
                status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                headers: &[],
                sentence: "a WebSocket is opened with HTTP/1.1 or HTTP/2; a proxy in front may have to be \
                           configured for one of them",
            },
            Self::InternalError => ResponseTemplate {
                word: "internal_error",
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers: &[],
                sentence: "an internal error occurred in this server; its log has the details",
            },
            Self::Malformed => ResponseTemplate {
                word: "malformed",
                status: StatusCode::BAD_REQUEST,
                headers: &[],
                sentence: "the received bytes are not a valid request of HTTP/1.1 or HTTP/2",
            },
            Self::MethodNotAllowed => ResponseTemplate {
                word: "method_not_allowed",
                status: StatusCode::METHOD_NOT_ALLOWED,
                headers: &[("allow", "GET")],
                sentence: "a WebSocket is opened with GET over HTTP/1.1, and with an extended CONNECT over \
                           HTTP/2",
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
            //= rfc6455#4.2.2-2 rfc6455#10.2-2
            Self::OriginRefused => ResponseTemplate {
                word: "origin_refused",
                status: StatusCode::FORBIDDEN,
                headers: &[],
                sentence: "pages of this origin may not connect; the operator of the server decides which \
                           may",
            },
            Self::TooManyFrames => ResponseTemplate {
                word: "too_many_frames",
                status: StatusCode::TOO_MANY_REQUESTS,
                headers: &[],
                sentence: "the connection carried more requests and frames than its messages need",
            },
            Self::Unauthenticated => ResponseTemplate {
                word: "unauthenticated",
                status: StatusCode::UNAUTHORIZED,
                headers: &[],
                sentence: "the request does not say who you are, or not validly",
            },
            Self::UnknownProtocol => ResponseTemplate {
                word: "unknown_protocol",
                status: StatusCode::NOT_IMPLEMENTED,
                headers: &[],
                sentence: "the only supported :protocol of an extended CONNECT is websocket",
            },
            Self::UriTooLong => ResponseTemplate {
                word: "uri_too_long",
                status: StatusCode::URI_TOO_LONG,
                headers: &[],
                sentence: "the request target is too long",
            },
            // RFC 6455, section 4.4, requires the version; RFC 9110, section 15.5.22, the upgrade.
            //= rfc6455#4.2.2-3 rfc6455#4.4-1
            Self::WebsocketVersion => ResponseTemplate {
                word: "websocket_version",
                status: StatusCode::UPGRADE_REQUIRED,
                headers: &[
                    ("sec-websocket-version", "13"),
                    ("upgrade", "websocket"),
                    ("connection", "Upgrade"),
                ],
                sentence: "the request must have the header Sec-WebSocket-Version: 13",
            },
        }
    }
}

/// `ALL` is complete: metrics and the check of the documents rely on it.
#[expect(clippy::as_conversions, reason = "there is no other access to a discriminant")]
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
    /// Header names, in lower case, and values.
    headers: &'static [(&'static str, &'static str)],
    sentence: &'static str,
}
