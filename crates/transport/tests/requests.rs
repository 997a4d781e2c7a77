//! The opening handshake over HTTP/1.1: accepted requests, refusals and their responses.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/requests.rs"]
mod handshake;

use handshake::{KEY, check, check_with, connect, get, origins, refusal};
use hyper::{Request, Version};
use transport::{Authority, Protocol, Rejection, Upgrade};

//= rfc6455#4.2.2-9 rfc6455#4.2.2-10 rfc6455#11.3.3-1 test
#[test]
fn a_valid_request_gets_the_101_of_the_rfc() {
    let response = check(&[]).unwrap().response();
    assert_eq!(response.status(), 101);
    let headers = response.headers();
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "Upgrade");
    // The example of RFC 6455, section 1.3.
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers.len(), 3, "no other headers: {headers:?}");
}

#[test]
fn subprotocols_and_extensions_are_not_accepted() {
    let offers = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let headers = check(&offers).unwrap().response().headers().clone();
    assert!(!headers.contains_key("sec-websocket-protocol"));
    assert!(!headers.contains_key("sec-websocket-extensions"));
}

//= rfc6455#4.2.1-6 rfc6455#4.2.1-7 test
#[test]
fn each_valid_form_of_a_header_is_accepted() {
    let accepted: &[&[(&str, &str)]] = &[
        &[("connection", "keep-alive, Upgrade")],
        &[("connection", "keep-alive"), ("connection", "upgrade")],
        &[("connection", "UPGRADE")],
        &[("connection", " , upgrade ,")],
        &[("upgrade", "WebSocket")],
        &[("upgrade", "h2c, websocket")],
        &[("upgrade", "h2c"), ("upgrade", "websocket")],
        &[("sec-websocket-version", " 13 ")],
        &[("host", "a:")],
        &[("host", "a:8080")],
        &[("host", "[::1]:8080")],
        // RFC 9110, section 8.6: a length of zero is no content.
        &[("content-length", "0")],
        &[("content-length", " 00 ")],
    ];
    for lines in accepted {
        assert_eq!(refusal(lines), None, "{lines:?}");
    }
}

//= rfc6455#4.2.1-1 rfc6455#4.2.1-4 rfc6455#4.2.1-6 rfc6455#4.2.1-7 rfc6455#4.2.1-8 test
//= rfc6455#4.2.1-9 rfc6455#4.2.2-2 rfc6455#10.2-1 rfc6455#11.3.1-1 rfc6455#11.3.5-1 test
#[test]
fn each_invalid_request_has_its_refusal() {
    use Rejection::*;
    let long_key = format!("{KEY}=");
    let table: &[(&[(&str, &str)], Rejection)] = &[
        (&[("host", "")], BadHost),
        (&[("host", "a"), ("host", "a")], BadHost),
        (&[("host", "a"), ("host", "b")], BadHost),
        (&[("host", "user@a")], BadHost),
        (&[("host", "a b")], BadHost),
        (&[("host", "a/b")], BadHost),
        (&[("host", ":80")], BadHost),
        (&[("host", "a:b")], BadHost),
        (&[("host", "a:65536")], BadHost),
        (&[("host", "[::1")], BadHost),
        (&[("host", "[]")], BadHost),
        (&[("host", "[::1]x:80")], BadHost),
        (&[("host", "a[::1]:80")], BadHost),
        (&[("host", "a[1]")], BadHost),
        (&[("host", "a:+80")], BadHost),
        (&[("host", "[::1]:+80")], BadHost),
        (&[("host", "[zz]")], BadHost),
        (&[("host", "[::1]x")], BadHost),
        (&[("host", "[::1]]")], BadHost),
        (&[("host", "[::1]:80]")], BadHost),
        (&[("host", "a@a")], BadHost),
        (&[("content-length", "5")], HasBody),
        (&[("content-length", "+0")], HasBody),
        (&[("content-length", "-0")], HasBody),
        (&[("content-length", "0x0")], HasBody),
        (&[("content-length", "0, 0")], HasBody),
        (&[("content-length", " ")], HasBody),
        (&[("content-length", "0"), ("content-length", "0")], HasBody),
        (&[("content-length", "0"), ("content-length", "5")], HasBody),
        (&[("content-length", "0"), ("transfer-encoding", "chunked")], HasBody),
        (&[("transfer-encoding", "chunked")], HasBody),
        (&[("transfer-encoding", "identity")], HasBody),
        (&[("upgrade", "")], NotAnUpgrade),
        (&[("connection", "")], NotAnUpgrade),
        (&[("connection", "keep-alive")], NotAnUpgrade),
        (&[("connection", "not-an-upgrade")], NotAnUpgrade),
        (&[("connection", "upgraded")], NotAnUpgrade),
        (&[("upgrade", "h2c")], NotAnUpgrade),
        (&[("upgrade", "websockets")], NotAnUpgrade),
        (&[("upgrade", "websocket/13")], NotAnUpgrade),
        (&[("sec-websocket-version", "")], WebsocketVersion),
        (&[("sec-websocket-version", "8")], WebsocketVersion),
        (&[("sec-websocket-version", "130")], WebsocketVersion),
        (&[("sec-websocket-version", "8, 13")], WebsocketVersion),
        (&[("sec-websocket-version", "13"), ("sec-websocket-version", "13")], WebsocketVersion),
        (&[("sec-websocket-key", "")], BadKey),
        (&[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)], BadKey),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], BadKey),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=")], BadKey),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j")], BadKey),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ===")], BadKey),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j!!==")], BadKey),
        (&[("sec-websocket-key", &long_key)], BadKey),
        (&[("origin", "https://app.example"), ("origin", "https://app.example")], BadOrigin),
        (&[("origin", "https://app.example"), ("origin", "https://evil.example")], BadOrigin),
        (&[("origin", "app.example")], BadOrigin),
        (&[("origin", "https://app.example/")], BadOrigin),
        (&[("origin", "https://app.example https://evil.example")], BadOrigin),
        (&[("origin", "https://user@app.example")], BadOrigin),
        (&[("origin", "Null")], BadOrigin),
        (&[("origin", "*")], BadOrigin),
        (&[("origin", "https://*.example")], BadOrigin),
        (&[("origin", "https://evil.example")], OriginRefused),
        (&[("origin", "http://app.example")], OriginRefused),
        (&[("origin", "https://app.example:8443")], OriginRefused),
        (&[("origin", "https://app.example.evil")], OriginRefused),
        (&[("origin", "https://notapp.example")], OriginRefused),
        (&[("origin", "null")], OriginRefused),
    ];
    for (lines, expected) in table {
        assert_eq!(refusal(lines), Some(*expected), "{lines:?}");
    }
    assert_eq!(refusal(&[("origin", "https://app.example")]), None);
    assert_eq!(refusal(&[("origin", "HTTPS://APP.example:443")]), None);
}

#[test]
fn the_key_of_the_rfc_with_nonzero_trailing_bits_is_accepted() {
    // RFC 6455, section 4.1; strict base64 decoders refuse it.
    assert_eq!(refusal(&[("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEC==")]), None);
}

//= rfc6455#4.2.1-2 test
#[test]
fn only_get_over_http_1_1_is_accepted() {
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "get"] {
        let request = get().method(method);
        let refusal = check_with(request, &[], &origins()).err();
        assert_eq!(refusal, Some(Rejection::MethodNotAllowed), "{method}");
    }
    for version in [Version::HTTP_09, Version::HTTP_10] {
        let refusal = check_with(get().version(version), &[], &origins()).err();
        assert_eq!(refusal, Some(Rejection::HttpVersion), "{version:?}");
    }
}

#[test]
fn the_host_of_an_absolute_target_must_equal_the_host_header() {
    // RFC 9113, section 8.3.1, and RFC 9110, section 4.2.3.
    for (target, host, is_same) in [
        ("http://a", "a", true),
        ("http://a:80", "a", true),
        ("http://a", "A:80", true),
        ("http://a:", "a:80", true),
        ("http://a:080", "a", true),
        ("https://a:443", "a", true),
        ("wss://a:443", "a", true),
        ("http://[::1]:80", "[0:0::1]", true),
        ("http://a", "b", false),
        ("http://a:443", "a", false),
        ("https://a:80", "a", false),
        ("http://a:8080", "a", false),
        ("http://a:8080", "a:8081", false),
        ("coap://a:80", "a", false),
        ("http://a.", "a", false),
        ("http://user@a", "a", false),
    ] {
        let uri = format!("{target}/ws/status");
        let expected = (!is_same).then_some(Rejection::BadHost);
        let over_http1 = check_with(Request::get(&uri), &[("host", host)], &origins()).err();
        assert_eq!(over_http1, expected, "{target} and {host}");
        let mut request = connect(Some("websocket"), &[("host", host)]);
        *request.uri_mut() = uri.parse().unwrap();
        let over_http2 = Upgrade::check(&request, Protocol::Http2, &origins()).err();
        assert_eq!(over_http2, expected, "{target} and {host}");
    }
    // RFC 9112, section 3.2: the host of the target does not replace the header.
    let target = "http://a/ws/status";
    let refusal = check_with(Request::get(target), &[("host", "")], &origins()).err();
    assert_eq!(refusal, Some(Rejection::BadHost));
}

#[test]
fn only_http_1_0_allows_requests_without_a_host() {
    let authority = |version, host: &str| {
        let request = Request::get("/else").version(version);
        let request = if host.is_empty() { request } else { request.header("host", host) };
        Authority::of(&request.body(()).unwrap())
    };
    assert_eq!(authority(Version::HTTP_10, ""), Ok(None));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(authority(version, ""), Err(Rejection::BadHost), "{version:?}");
    }
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(authority(version, "a b"), Err(Rejection::BadHost), "{version:?}");
        let authority = authority(version, "[::1]:80").unwrap().unwrap();
        assert_eq!((authority.host(), authority.ip()), ("[::1]", "::1".parse().ok()));
    }
    let named = authority(Version::HTTP_11, "LocalHost:80").unwrap().unwrap();
    assert_eq!((named.host(), named.ip()), ("localhost", None));
}

#[test]
fn the_refusal_is_that_of_the_first_failed_check() {
    // Every check fails; then one after another passes, in the documented order.
    let mistakes = [
        ("host", "a b"),
        ("content-length", "1"),
        ("upgrade", "h2c"),
        ("sec-websocket-version", "12"),
        ("sec-websocket-key", "short"),
        ("origin", "none"),
    ];
    let expected = [
        Rejection::BadHost,
        Rejection::HasBody,
        Rejection::NotAnUpgrade,
        Rejection::WebsocketVersion,
        Rejection::BadKey,
        Rejection::BadOrigin,
    ];
    let old = get().method("POST").version(Version::HTTP_10);
    assert_eq!(check_with(old, &mistakes, &origins()).err(), Some(Rejection::BadHost));
    let old = get().method("POST").version(Version::HTTP_10);
    let left = &mistakes[1..];
    assert_eq!(check_with(old, left, &origins()).err(), Some(Rejection::MethodNotAllowed));
    let old = get().version(Version::HTTP_10);
    assert_eq!(check_with(old, left, &origins()).err(), Some(Rejection::HttpVersion));
    for (position, expected) in expected.into_iter().enumerate() {
        let left = mistakes.get(position..).unwrap();
        assert_eq!(refusal(left), Some(expected));
    }
}

//= rfc6455#4.4-1 test
#[test]
fn the_body_of_each_refusal_is_its_word_and_one_sentence() {
    for &rejection in Rejection::ALL {
        let response = rejection.response();
        assert_eq!(response.status(), rejection.status());
        assert!(response.status().is_client_error() || response.status().is_server_error());
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = response.body();
        assert!(body.starts_with(&format!("{rejection}: ")), "{body}");
        assert_eq!(body.lines().count(), 1, "{body}");
    }
    let header = |rejection: Rejection, name| {
        rejection.response().headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(Rejection::MethodNotAllowed, "allow").unwrap(), "GET");
    assert_eq!(header(Rejection::ConnectionLimit, "retry-after").unwrap(), "5");
    assert_eq!(header(Rejection::Draining, "retry-after").unwrap(), "1");
    assert_eq!(header(Rejection::WebsocketVersion, "sec-websocket-version").unwrap(), "13");
    for rejection in [Rejection::NotAnUpgrade, Rejection::WebsocketVersion] {
        assert_eq!(header(rejection, "upgrade").unwrap(), "websocket");
        assert_eq!(header(rejection, "connection").unwrap(), "Upgrade");
    }
}

#[test]
fn the_words_of_refusals_are_unique_and_sorted() {
    let words: Vec<&str> = Rejection::ALL.iter().map(|rejection| rejection.as_str()).collect();
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
}
