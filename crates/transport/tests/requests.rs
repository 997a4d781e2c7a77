//! The table of requests and answers.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use hyper::http::request::Builder;
use hyper::{Request, Version};
use transport::{Origins, Permission, Rejection, Upgrade};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request that is right in everything, as a list of header lines.
const RIGHT: &[(&str, &str)] = &[
    ("host", "server.example"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

fn origins() -> Origins {
    Origins {
        allowed: vec!["https://app.example".parse().unwrap()],
        missing: Permission::Allow,
        null: Permission::Refuse,
    }
}

fn get() -> Builder {
    Request::get("http://server.example/ws/status")
}

/// Checks the request with these header lines in place of the right ones of the same name.
fn check(lines: &[(&str, &str)]) -> Result<Upgrade, Rejection> {
    check_with(get(), lines, &origins())
}

fn check_with(
    mut request: Builder,
    lines: &[(&str, &str)],
    origins: &Origins,
) -> Result<Upgrade, Rejection> {
    for (name, value) in RIGHT {
        if !lines.iter().any(|(replaced, _)| replaced == name) {
            request = request.header(*name, *value);
        }
    }
    // An empty value stands for a header that is left out.
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    Upgrade::check(&request.body(()).unwrap(), origins)
}

fn refusal(lines: &[(&str, &str)]) -> Option<Rejection> {
    check(lines).err()
}

#[test]
fn the_right_request_gets_the_101_of_the_rfc() {
    let response = check(&[]).unwrap().response();
    assert_eq!(response.status(), 101);
    let headers = response.headers();
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "Upgrade");
    // The example of RFC 6455, section 1.3.
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers.len(), 3, "nothing that was not asked for: {headers:?}");
}

#[test]
fn subprotocols_and_extensions_are_passed_over() {
    let offers = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let headers = check(&offers).unwrap().response().headers().clone();
    assert!(!headers.contains_key("sec-websocket-protocol"));
    assert!(!headers.contains_key("sec-websocket-extensions"));
}

#[test]
fn what_may_be_written_in_several_ways_is_taken_in_all_of_them() {
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
    ];
    for lines in accepted {
        assert_eq!(refusal(lines), None, "{lines:?}");
    }
}

#[test]
fn each_mistake_has_its_refusal() {
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
        (&[("content-length", "5")], HasBody),
        (&[("content-length", "0")], HasBody),
        (&[("transfer-encoding", "chunked")], HasBody),
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
fn an_origin_that_is_not_text_is_refused() {
    let origin = hyper::header::HeaderValue::from_bytes(b"https://\xff.example").unwrap();
    let mut request = get();
    for (name, value) in RIGHT {
        request = request.header(*name, *value);
    }
    let request = request.header("origin", origin).body(()).unwrap();
    assert_eq!(Upgrade::check(&request, &origins()).err(), Some(Rejection::BadOrigin));
}

#[test]
fn the_key_of_the_rfc_is_taken_although_its_last_bits_are_set() {
    // RFC 6455, section 4.1; strict base64 decoders refuse it.
    assert_eq!(refusal(&[("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEC==")]), None);
}

#[test]
fn only_get_over_http_1_1_is_taken() {
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

/// An extended CONNECT (RFC 8441, section 4) that is right in everything, and these lines besides.
fn connect(protocol: Option<&'static str>, lines: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method("CONNECT")
        .version(Version::HTTP_2)
        .uri("https://server.example/ws/status");
    if let Some(protocol) = protocol {
        request = request.extension(h2::ext::Protocol::from_static(protocol));
    }
    if !lines.iter().any(|(name, _)| *name == "sec-websocket-version") {
        request = request.header("sec-websocket-version", "13");
    }
    let sent = lines.iter().filter(|(_, value)| !value.is_empty());
    sent.fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

#[test]
fn over_http_2_an_extended_connect_gets_a_200_without_what_http_2_has_no_need_of() {
    let response = Upgrade::check(&connect(Some("websocket"), &[]), &origins()).unwrap().response();
    assert_eq!(response.status(), 200);
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

#[test]
fn over_http_2_each_mistake_has_its_refusal() {
    use Rejection::*;
    let refusal = |request: &Request<()>| Upgrade::check(request, &origins()).err();
    for (protocol, expected) in [
        (Some("websocket"), None),
        (Some("WebSocket"), Some(UnknownProtocol)),
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
        (&[("content-length", "0")], Some(HasBody)),
        (&[("sec-websocket-version", "")], Some(WebsocketVersion)),
        (&[("sec-websocket-version", "12")], Some(WebsocketVersion)),
        // There is no key over HTTP/2, so one that is there says nothing (RFC 8441, section 5).
        (&[("sec-websocket-key", "short")], None),
        (&[("origin", "https://app.example")], None),
        (&[("origin", "https://evil.example")], Some(OriginRefused)),
        (&[("origin", "nothing")], Some(BadOrigin)),
    ] {
        assert_eq!(refusal(&connect(Some("websocket"), lines)), expected, "{lines:?}");
    }
    let mut request = connect(Some("websocket"), &[]);
    *request.uri_mut() = "/ws/status".parse().unwrap();
    assert_eq!(refusal(&request), Some(BadHost), "nobody says which host");
    request.headers_mut().insert("host", "server.example".parse().unwrap());
    assert_eq!(refusal(&request), None);
    *request.uri_mut() = "https://user@server.example/ws/status".parse().unwrap();
    request.headers_mut().remove("host");
    assert_eq!(refusal(&request), Some(BadHost));
}

#[test]
fn what_becomes_of_requests_without_an_origin_is_the_operators_choice() {
    let strict = Origins { missing: Permission::Refuse, null: Permission::Allow, ..origins() };
    let refusal = |lines: &[(&str, &str)]| check_with(get(), lines, &strict).err();
    assert_eq!(refusal(&[]), Some(Rejection::OriginMissing));
    assert_eq!(refusal(&[("origin", "null")]), None);
    assert_eq!(refusal(&[("origin", "https://app.example")]), None);
}

#[test]
fn any_origin_does_not_mean_null_or_none() {
    let any = Origins {
        allowed: vec!["*".parse().unwrap()],
        missing: Permission::Refuse,
        null: Permission::Refuse,
    };
    let refusal = |lines: &[(&str, &str)]| check_with(get(), lines, &any).err();
    assert_eq!(refusal(&[("origin", "http://anything.example:1234")]), None);
    assert_eq!(refusal(&[("origin", "null")]), Some(Rejection::OriginRefused));
    assert_eq!(refusal(&[]), Some(Rejection::OriginMissing));
    assert_eq!(refusal(&[("origin", "anything")]), Some(Rejection::BadOrigin));
}

#[test]
fn the_first_rule_that_is_broken_is_the_one_that_is_named() {
    // Everything is wrong; then one thing after the other is put right, in the documented order.
    let mistakes = [
        ("host", "a b"),
        ("content-length", "1"),
        ("upgrade", "h2c"),
        ("sec-websocket-version", "12"),
        ("sec-websocket-key", "short"),
        ("origin", "none"),
    ];
    let named = [
        Rejection::BadHost,
        Rejection::HasBody,
        Rejection::NotAnUpgrade,
        Rejection::WebsocketVersion,
        Rejection::BadKey,
        Rejection::BadOrigin,
    ];
    let old = get().method("POST").version(Version::HTTP_10);
    assert_eq!(check_with(old, &mistakes, &origins()).err(), Some(Rejection::MethodNotAllowed));
    let old = get().version(Version::HTTP_10);
    assert_eq!(check_with(old, &mistakes, &origins()).err(), Some(Rejection::HttpVersion));
    for (position, expected) in named.into_iter().enumerate() {
        let left = mistakes.get(position..).unwrap();
        assert_eq!(refusal(left), Some(expected));
    }
}

#[test]
fn each_refusal_is_one_sentence_with_its_word_in_front_and_its_headers() {
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
    assert_eq!(header(Rejection::Full, "retry-after").unwrap(), "5");
    assert_eq!(header(Rejection::Draining, "retry-after").unwrap(), "1");
    assert_eq!(header(Rejection::WebsocketVersion, "sec-websocket-version").unwrap(), "13");
    for rejection in [Rejection::NotAnUpgrade, Rejection::WebsocketVersion] {
        assert_eq!(header(rejection, "upgrade").unwrap(), "websocket");
        assert_eq!(header(rejection, "connection").unwrap(), "Upgrade");
    }
}

#[test]
fn each_refusal_has_a_word_of_its_own_and_the_words_are_in_order() {
    let words: Vec<&str> = Rejection::ALL.iter().map(|rejection| rejection.as_str()).collect();
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
}
