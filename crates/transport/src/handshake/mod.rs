//! The opening handshake (RFC 6455, section 4.2, and RFC 8441): checks requests and makes responses.
//!
//! It decides from the head of a request alone. It knows no session, acquires no permit and sends
//! nothing: the endpoint does. Read this file first: it has the checks in their order. `authority` and
//! `origin` parse two of the headers, `extensions` negotiates compression, `rejection` has all refusals,
//! `denial` those of the application, and `protocol` the versions of HTTP.

mod authority;
mod denial;
mod extensions;
mod origin;
mod protocol;
mod rejection;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, GetAll, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

pub use self::authority::Authority;
pub use self::denial::Denial;
pub(crate) use self::denial::belongs_to_http;
pub use self::extensions::CompressionOptions;
pub(crate) use self::extensions::is_tchar;
pub use self::origin::{Origin, OriginPattern, Origins, ParseOriginError, Permission};
pub use self::protocol::Protocol;
pub use self::rejection::Rejection;

/// A valid opening handshake: the request may become a WebSocket.
///
/// ```
/// use hyper::Request;
/// use transport::{Origins, Permission, Protocol, Rejection, Upgrade};
///
/// let origins =
///     Origins { allowed: Vec::new(), missing: Permission::Allow, null: Permission::Refuse };
/// let plain = Request::get("/").header("host", "localhost").body(()).unwrap();
/// let refusal = Upgrade::check(&plain, Protocol::Http1, &origins).unwrap_err();
/// assert_eq!(refusal, Rejection::NotAnUpgrade);
///
/// let request = Request::get("/")
///     .header("host", "localhost")
///     .header("connection", "upgrade")
///     .header("upgrade", "websocket")
///     .header("sec-websocket-version", "13")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .body(())
///     .unwrap();
/// let response = Upgrade::check(&request, Protocol::Http1, &origins).unwrap().response();
/// assert_eq!(response.status(), 101);
/// assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct Upgrade {
    is_http2: bool,
    /// The value of `Sec-WebSocket-Accept`.
    accept: Option<String>,
}

impl Upgrade {
    /// Checks the head of a request. The number of sessions is not limited here.
    ///
    /// A valid request is a GET with `Upgrade` over HTTP/1.1 (RFC 6455, section 4.2.1), and an extended
    /// CONNECT over HTTP/2 (RFC 8441, section 5), whose `:protocol` h2 stores as an extension of the
    /// request. Offered subprotocols and extensions are ignored here: the response selects none, and
    /// RFC 6455, section 4.1, lets the client decide what that means. An [`Endpoint`](crate::Endpoint)
    /// adds the subprotocol of the [`Admission`](crate::Admission), and the extension that
    /// [`CompressionOptions`] accept.
    ///
    /// # Errors
    ///
    /// The first rule that the request violates, in the order of `docs/api/endpoint.md`.
    pub fn check<B>(
        request: &Request<B>,
        protocol: Protocol,
        origins: &Origins,
    ) -> Result<Self, Rejection> {
        //= rfc6455#4.2.1-1 rfc6455#10.7-1 rfc6455#10.7-3
        let authority = Authority::of(request)?;
        let headers = request.headers();
        let is_http2 = request.version() == Version::HTTP_2;
        if is_http2 {
            check_connect(request)?;
        } else {
            check_get(request)?;
        }
        if frames_body(headers) {
            return Err(Rejection::HasBody);
        }
        if !is_http2 && missing_for_upgrade(headers).next().is_some() {
            return Err(Rejection::NotAnUpgrade);
        }
        //= rfc6455#4.2.1-9 rfc6455#11.3.5-1 rfc8441#5-5
        if single(headers.get_all(SEC_WEBSOCKET_VERSION)) != Some(b"13") {
            return Err(Rejection::WebsocketVersion);
        }
        // Over HTTP/2 `:protocol` supersedes the key (RFC 8441, section 5). Some clients send a key all
        // the same, and fail if it is not answered.
        //= rfc8441#5-4
        let accept = accept_key(headers);
        if !is_http2 && accept.is_none() {
            return Err(Rejection::BadKey);
        }
        let server_origins =
            || authority.map_or_else(Vec::new, |authority| authority.origins(protocol));
        check_origin(headers, server_origins, origins)?;
        Ok(Self { is_http2, accept })
    }

    /// Returns the 101 that opens the WebSocket (RFC 6455, section 4.2.2), or over HTTP/2 the 200
    /// (RFC 8441, section 5). Both answer a valid key.
    ///
    /// # Panics
    ///
    /// Never: base64 is always a valid header value.
    #[must_use = "the client waits for the response"]
    pub fn response(&self) -> Response<String> {
        let mut response = Response::new(String::new());
        //= rfc6455#4.2.2-9
        if !self.is_http2 {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        if let Some(accept) = &self.accept {
            let accept = HeaderValue::from_str(accept).expect("base64 is a valid header value");
            //= rfc6455#11.3.3-1
            response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

fn check_get<B>(request: &Request<B>) -> Result<(), Rejection> {
    //= rfc6455#4.2.1-2
    if request.method() != Method::GET {
        return Err(Rejection::MethodNotAllowed);
    }
    if request.version() < Version::HTTP_11 {
        return Err(Rejection::HttpVersion);
    }
    Ok(())
}

fn check_connect<B>(request: &Request<B>) -> Result<(), Rejection> {
    let protocol = request.extensions().get::<h2::ext::Protocol>();
    match (request.method(), protocol) {
        // In any case, because a proxy may copy the value from the `Upgrade` header of an HTTP/1.1
        // client (RFC 9110, section 7.8).
        //= rfc8441#4-2 rfc8441#5-1
        (&Method::CONNECT, Some(name)) if name.as_str().eq_ignore_ascii_case("websocket") => Ok(()),
        // RFC 9220, section 3, defines the response, for HTTP/2 as well.
        (&Method::CONNECT, Some(_)) => Err(Rejection::UnknownProtocol),
        (&Method::GET, _) => Err(Rejection::NotAnUpgrade),
        _ => Err(Rejection::MethodNotAllowed),
    }
}

/// Returns the value of `Sec-WebSocket-Accept`, if the request has one valid key.
fn accept_key(headers: &HeaderMap) -> Option<String> {
    //= rfc6455#4.2.2-10 rfc6455#11.3.1-1
    single(headers.get_all(SEC_WEBSOCKET_KEY)).filter(|key| is_key(key)).map(derive_accept_key)
}

fn check_origin(
    headers: &HeaderMap,
    server_origins: impl FnOnce() -> Vec<Origin>,
    origins: &Origins,
) -> Result<(), Rejection> {
    //= rfc6455#4.2.1-10
    let lines = headers.get_all(ORIGIN);
    if lines.iter().next().is_none() {
        return match origins.missing {
            Permission::Allow => Ok(()),
            Permission::Refuse => Err(Rejection::OriginMissing),
        };
    }
    let origin = single(lines).ok_or(Rejection::BadOrigin)?;
    //= rfc6455#4.2.2-2 rfc6455#10.2-1
    let is_allowed = if origin == b"null" {
        origins.null == Permission::Allow
    } else {
        //= rfc6455#8.1-2
        let origin = str::from_utf8(origin).map_err(|_| Rejection::BadOrigin)?;
        let origin = origin.parse::<Origin>().map_err(|_| Rejection::BadOrigin)?;
        origins.allow(&origin, &server_origins())
    };
    if is_allowed { Ok(()) } else { Err(Rejection::OriginRefused) }
}

/// Returns what a request over HTTP/1.1 lacks to ask for an upgrade to WebSocket (RFC 6455, section 4.2.1):
/// `Upgrade: websocket`, `Connection: Upgrade`, both or nothing.
pub fn missing_for_upgrade(headers: &HeaderMap) -> impl Iterator<Item = &'static str> {
    //= rfc6455#4.2.1-6 rfc6455#4.2.1-7
    let needed = [
        (UPGRADE, "websocket", "Upgrade: websocket"),
        (CONNECTION, "upgrade", "Connection: Upgrade"),
    ];
    let missing = needed.into_iter().filter(|(name, token, _)| !has_token(headers, name, token));
    missing.map(|(_, _, line)| line)
}

/// Returns whether the headers of a request frame a body, or may do so for another recipient (RFC 9112,
/// section 6.3).
///
/// One `Content-Length: 0` frames no body and is unambiguous (RFC 9110, section 8.6). Anything else can
/// smuggle a request, and its connection should be closed.
#[must_use]
pub fn frames_body(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map_or(&b"0"[..], |line| line.as_bytes().trim_ascii());
    let is_zero = !length.is_empty() && length.iter().all(|byte| *byte == b'0');
    headers.contains_key(TRANSFER_ENCODING) || !is_zero || lengths.next().is_some()
}

/// Returns the value of a header that occurs exactly once.
fn single(lines: GetAll<'_, HeaderValue>) -> Option<&[u8]> {
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    if lines.next().is_some() { None } else { Some(line.as_bytes().trim_ascii()) }
}

/// Returns whether a list header has a token. A list may span several field lines (RFC 9110,
/// section 5.3).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns whether a key is 16 bytes in base64: 22 characters, and two of padding.
///
/// The unused bits of the last character may be set, as in the example of a key in RFC 6455,
/// section 4.1.
fn is_key(key: &[u8]) -> bool {
    //= rfc6455#4.2.1-8
    key.strip_suffix(b"==").is_some_and(|characters| {
        characters.len() == 22
            && characters.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/'))
    })
}
