//! The request to the service: what it receives of a handshake.

use hyper::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL,
    USER_AGENT,
};
use hyper::{Request, Uri, http};
use transport::{Handshake, Protocol};

/// The headers of the handshake that the service receives as they are.
const FORWARDED: [HeaderName; 4] = [AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL, USER_AGENT];

/// The target of the handshake, by the name that nginx's documentation of `auth_request` uses.
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// The client's address and the scheme, by the names that proxies use.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Creates the request about a handshake. Nothing of the client is in it besides the headers listed here, so
/// a client can neither upgrade this request nor state an identity in it.
pub(super) fn about(handshake: &Handshake<'_>, uri: &Uri) -> http::Result<Request<String>> {
    let mut request = Request::get(uri).body(String::new())?;
    let headers = request.headers_mut();
    for name in FORWARDED {
        for value in handshake.headers().get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(cookies) = joined_cookies(handshake.headers())? {
        headers.insert(COOKIE, cookies);
    }
    let query = handshake.query().map(|query| format!("?{query}")).unwrap_or_default();
    headers.insert(ORIGINAL_URI, format!("{}{query}", handshake.path()).try_into()?);
    // A peer on a Unix socket has no address.
    if let Some(address) = handshake.peer().ip() {
        headers.insert(FORWARDED_FOR, address.to_string().try_into()?);
    }
    let is_encrypted = matches!(handshake.protocol(), Protocol::Http1Tls | Protocol::Http2Tls);
    let scheme = if is_encrypted { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    Ok(request)
}

/// Joins the lines into one: over HTTP/2 a client may split its cookies (RFC 9113, section 8.2.3).
fn joined_cookies(headers: &HeaderMap) -> http::Result<Option<HeaderValue>> {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(HeaderValue::from_bytes(&lines.join(&b"; "[..]))?))
}
