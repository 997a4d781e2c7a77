//! The opening handshake (RFC 6455, section 4.2): what a request must say, and the 101.

use std::io;
use std::net::Ipv6Addr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, GetAll, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::Authority;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use crate::origin::{Origin, Origins, Permission};
use crate::rejection::Rejection;

/// A request that may become a WebSocket.
///
/// The [`response`](Self::response) has to be sent; then [`finish`](Self::finish) gives the stream.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct Upgrade {
    accept: String,
    stream: OnUpgrade,
}

impl Upgrade {
    /// Checks everything that the request says. Whether there is room is not asked here.
    ///
    /// Offered subprotocols and extensions are passed over: the response names none, and RFC 6455,
    /// section 4.1, lets the client decide what that means.
    ///
    /// # Errors
    ///
    /// The first rule that the request breaks, in the order of the API specification.
    pub fn check<B>(request: &mut Request<B>, origins: &Origins) -> Result<Self, Rejection> {
        let headers = request.headers();
        if request.method() != Method::GET {
            return Err(Rejection::MethodNotAllowed);
        }
        if request.version() < Version::HTTP_11 {
            return Err(Rejection::HttpVersion);
        }
        check_host(headers)?;
        // Even `Content-Length: 0` is refused: two readers of one stream that disagree about where
        // a request ends are how requests are smuggled, and no client needs it.
        if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
            return Err(Rejection::HasBody);
        }
        if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
            return Err(Rejection::NotAnUpgrade);
        }
        if only(headers.get_all(SEC_WEBSOCKET_VERSION)) != Some(b"13") {
            return Err(Rejection::WebsocketVersion);
        }
        let key = only(headers.get_all(SEC_WEBSOCKET_KEY)).filter(|key| is_key(key));
        let accept = derive_accept_key(key.ok_or(Rejection::BadKey)?);
        check_origin(headers, origins)?;
        Ok(Self { accept, stream: hyper::upgrade::on(request) })
    }

    /// The 101 that opens the WebSocket (RFC 6455, section 4.2.2).
    ///
    /// # Panics
    ///
    /// Never: base64 is always a good header value.
    #[must_use = "the client waits for the response"]
    pub fn response(&self) -> Response<String> {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a good header value");
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    /// The stream behind the 101, once that is sent.
    ///
    /// What the client sent right behind its request comes out of it first.
    ///
    /// # Errors
    ///
    /// The connection ended before the response was sent.
    pub async fn finish(self) -> io::Result<Upgraded> {
        self.stream.await.map_err(io::Error::other)
    }
}

/// RFC 9112, section 3.2: a server answers 400 unless there is one `Host` and it is good.
fn check_host(headers: &HeaderMap) -> Result<(), Rejection> {
    let host = only(headers.get_all(HOST)).ok_or(Rejection::BadHost)?;
    let authority = Authority::try_from(host).map_err(|_| Rejection::BadHost)?;
    // The library leaves a user name in front, an empty host and an impossible port to us.
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).ok_or(Rejection::BadHost)?;
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.trim_end_matches(']').parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(['[', ']']),
    };
    let is_port = match port.strip_prefix(':') {
        // `u16::from_str` takes a plus sign as well, and a port may be empty.
        Some(digits) => {
            digits.chars().all(|c| c.is_ascii_digit())
                && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    if is_host && is_port { Ok(()) } else { Err(Rejection::BadHost) }
}

fn check_origin(headers: &HeaderMap, origins: &Origins) -> Result<(), Rejection> {
    let lines = headers.get_all(ORIGIN);
    if lines.iter().next().is_none() {
        return match origins.missing {
            Permission::Allow => Ok(()),
            Permission::Refuse => Err(Rejection::OriginMissing),
        };
    }
    let origin = only(lines).ok_or(Rejection::BadOrigin)?;
    let allowed = if origin == b"null" {
        origins.null == Permission::Allow
    } else {
        let origin = str::from_utf8(origin).map_err(|_| Rejection::BadOrigin)?;
        origins.allow(&origin.parse::<Origin>().map_err(|_| Rejection::BadOrigin)?)
    };
    if allowed { Ok(()) } else { Err(Rejection::OriginRefused) }
}

/// The value of a header that may occur only once.
fn only(lines: GetAll<'_, HeaderValue>) -> Option<&[u8]> {
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    if lines.next().is_some() { None } else { Some(line.as_bytes().trim_ascii()) }
}

/// Whether a header holds a token. A list may be spread over several lines (RFC 9110, section 5.3).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// 16 bytes in base64 are 22 characters and two of padding.
///
/// The last character's unused bits may be anything: RFC 6455's own example of a key, in section
/// 4.1, has some of them set.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|characters| {
        characters.len() == 22
            && characters.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/'))
    })
}
