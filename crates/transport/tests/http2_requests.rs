//! The opening handshake over HTTP/2 (RFC 8441).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/requests.rs"]
mod handshake;

use handshake::{KEY, connect, origins};
use hyper::Request;
use transport::{Protocol, Rejection, Upgrade};

#[test]
fn an_extended_connect_gets_a_200_without_headers() {
    let response = Upgrade::check(&connect(Some("websocket"), &[]), Protocol::Http2, &origins())
        .unwrap()
        .response();
    assert_eq!(response.status(), 200);
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

//= rfc8441#5-4 test
#[test]
fn a_valid_key_over_http_2_is_answered_and_an_invalid_one_ignored() {
    let answer = |lines: &[(&str, &str)]| {
        let headers =
            Upgrade::check(&connect(Some("websocket"), lines), Protocol::Http2, &origins())
                .unwrap()
                .response()
                .into_parts()
                .0
                .headers;
        assert!(headers.len() < 2, "no other headers: {headers:?}");
        headers.get("sec-websocket-accept").map(|accept| accept.to_str().unwrap().to_owned())
    };
    // Node.js 26 sends a key over every version of HTTP and requires the answer.
    let accept = answer(&[("sec-websocket-key", KEY)]);
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for lines in [
        &[][..],
        &[("sec-websocket-key", "short")],
        &[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)],
    ] {
        assert_eq!(answer(lines), None, "{lines:?}");
    }
}

//= rfc8441#4-2 rfc8441#5-1 rfc8441#5-3 rfc8441#5-5 test
#[test]
fn each_invalid_request_over_http_2_has_its_refusal() {
    use Rejection::*;
    let refusal =
        |request: &Request<()>| Upgrade::check(request, Protocol::Http2, &origins()).err();
    for (protocol, expected) in [
        (Some("websocket"), None),
        // RFC 9110, section 7.8
        (Some("WebSocket"), None),
        (Some("WEBSOCKET"), None),
        (Some("websockets"), Some(UnknownProtocol)),
        (Some("connect-udp"), Some(UnknownProtocol)),
        (None, Some(MethodNotAllowed)),
    ] {
        assert_eq!(refusal(&connect(protocol, &[])), expected, "{protocol:?}");
    }
    for (method, expected) in
        [("GET", NotAnUpgrade), ("HEAD", MethodNotAllowed), ("POST", MethodNotAllowed)]
    {
        let mut request = connect(Some("websocket"), &[]);
        *request.method_mut() = method.parse().unwrap();
        assert_eq!(refusal(&request), Some(expected), "{method}");
    }
    for (lines, expected) in [
        (&[("host", "server.example")][..], None),
        (&[("host", "other.example")], Some(BadHost)),
        (&[("host", "Server.Example")], None),
        (&[("host", "server.example"), ("host", "server.example")], Some(BadHost)),
        (&[("content-length", "0")], None),
        (&[("content-length", "1")], Some(HasBody)),
        (&[("content-length", "0"), ("content-length", "0")], Some(HasBody)),
        (&[("sec-websocket-version", "")], Some(WebsocketVersion)),
        (&[("sec-websocket-version", "12")], Some(WebsocketVersion)),
        // HTTP/2 has no key, so one is ignored (RFC 8441, section 5).
        (&[("sec-websocket-key", "short")], None),
        (&[("origin", "https://app.example")], None),
        (&[("origin", "https://evil.example")], Some(OriginRefused)),
        (&[("origin", "nothing")], Some(BadOrigin)),
    ] {
        assert_eq!(refusal(&connect(Some("websocket"), lines)), expected, "{lines:?}");
    }
    let mut request = connect(Some("websocket"), &[]);
    *request.uri_mut() = "/ws/status".parse().unwrap();
    assert_eq!(refusal(&request), Some(BadHost), "no host");
    request.headers_mut().insert("host", "server.example".parse().unwrap());
    assert_eq!(refusal(&request), None);
    *request.uri_mut() = "https://user@server.example/ws/status".parse().unwrap();
    request.headers_mut().remove("host");
    assert_eq!(refusal(&request), Some(BadHost));
}
