//! The table of requests and answers.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use hyper::http::request::Builder;
use hyper::{Request, Version};
use transport::{Authority, Origins, Permission, Protocol, Rejection, Upgrade};

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
    Request::get("/ws/status")
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
    Upgrade::check(&request.body(()).unwrap(), Protocol::Http1, origins)
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
        // RFC 9110, section 8.6: no content is zero bytes of it.
        &[("content-length", "0")],
        &[("content-length", " 00 ")],
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
fn an_origin_that_is_not_text_is_refused() {
    let origin = hyper::header::HeaderValue::from_bytes(b"https://\xff.example").unwrap();
    let mut request = get();
    for (name, value) in RIGHT {
        request = request.header(*name, *value);
    }
    let request = request.header("origin", origin).body(()).unwrap();
    assert_eq!(
        Upgrade::check(&request, Protocol::Http1, &origins()).err(),
        Some(Rejection::BadOrigin)
    );
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
    let response = Upgrade::check(&connect(Some("websocket"), &[]), Protocol::Http2, &origins())
        .unwrap()
        .response();
    assert_eq!(response.status(), 200);
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

#[test]
fn over_http_2_a_good_key_is_answered_and_any_other_passed_over() {
    let answer = |lines: &[(&str, &str)]| {
        let headers =
            Upgrade::check(&connect(Some("websocket"), lines), Protocol::Http2, &origins())
                .unwrap()
                .response()
                .into_parts()
                .0
                .headers;
        assert!(headers.len() < 2, "nothing else: {headers:?}");
        headers.get("sec-websocket-accept").map(|accept| accept.to_str().unwrap().to_owned())
    };
    // Node.js 26 sends a key by every version of HTTP, and wants its answer.
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

#[test]
fn over_http_2_each_mistake_has_its_refusal() {
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
fn a_target_that_names_a_host_names_that_of_the_host_header() {
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
    // RFC 9112, section 3.2: that the target names it is not enough.
    let target = "http://a/ws/status";
    let refusal = check_with(Request::get(target), &[("host", "")], &origins()).err();
    assert_eq!(refusal, Some(Rejection::BadHost));
}

#[test]
fn only_http_1_0_knows_requests_without_a_host() {
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
fn origins_without_a_domain_are_allowed_by_their_text_and_refused_without() {
    let sent = [
        "file://",
        "app://.",
        "qrc://",
        "content://",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "app://-",
        "app://obsidian.md",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://0b5cb0a4-4c2c-4d4e-8f2e-0a5e5a5e5a5e",
        "safari-web-extension://0B5CB0A4-4C2C-4D4E-8F2E-0A5E5A5E5A5E",
        "vscode-webview://1a2b{3c}",
        "ms-appx-web://microsoft.example_cw5n1h2txyewy",
        "app://127.0.0.1:3000",
        "app://[::1]:3000",
    ];
    for text in sent {
        assert_eq!(refusal(&[("origin", text)]), Some(Rejection::OriginRefused), "{text}");
        for allowed in [text, "*"] {
            let origins = Origins { allowed: vec![allowed.parse().unwrap()], ..origins() };
            assert_eq!(check_with(get(), &[("origin", text)], &origins).err(), None, "{text}");
            for other in ["https://evil.example", "file://other", "App://Other"] {
                let refusal = check_with(get(), &[("origin", other)], &origins).err();
                assert_eq!(refusal.is_none(), allowed == "*", "{other}");
            }
        }
    }
    for text in ["file:", "file:///", "file:///a", "app://a/", "app://a b", "app://ä", "app://a:b"]
    {
        assert_eq!(refusal(&[("origin", text)]), Some(Rejection::BadOrigin), "{text}");
    }
}

#[test]
fn the_servers_own_origin_is_the_host_and_port_that_the_request_names() {
    use Protocol::{Http1, Http1Tls, Http2, Http2Tls};
    let own = Origins { allowed: vec!["self".parse().unwrap()], ..origins() };
    let is_own = |protocol, host: &str, origin: &str| {
        let request = if matches!(protocol, Http2 | Http2Tls) {
            let mut request = connect(Some("websocket"), &[("origin", origin)]);
            *request.uri_mut() = format!("https://{host}/ws/status").parse().unwrap();
            request
        } else {
            let request = get().header("host", host).header("origin", origin);
            let rest = RIGHT.iter().filter(|(name, _)| *name != "host");
            rest.fold(request, |it, (name, value)| it.header(*name, *value)).body(()).unwrap()
        };
        match Upgrade::check(&request, protocol, &own).map(drop) {
            Ok(()) => true,
            Err(Rejection::OriginRefused) => false,
            Err(other) => panic!("{other}"),
        }
    };
    // Without TLS a proxy may have ended it.
    for (host, origin, without_tls, within_tls) in [
        ("a", "https://a", true, true),
        ("a", "http://a", true, false),
        ("A", "https://a:443", true, true),
        ("a:443", "https://a", true, true),
        ("a:80", "http://a", true, false),
        ("a:8080", "http://a:8080", true, false),
        ("a:8443", "https://A:8443", true, true),
        ("[::1]:8080", "http://[0::1]:8080", true, false),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", true, false),
        ("a:8080", "http://a", false, false),
        ("a", "http://a:8080", false, false),
        ("a", "https://a:80", false, false),
        ("a", "https://b", false, false),
        ("a", "https://b.a", false, false),
        ("a.", "https://a", false, false),
        ("a", "app://a", false, false),
        ("a", "wss://a", false, false),
        ("a", "null", false, false),
    ] {
        for protocol in [Http1, Http2] {
            assert_eq!(is_own(protocol, host, origin), without_tls, "{host} {origin} {protocol:?}");
        }
        for protocol in [Http1Tls, Http2Tls] {
            assert_eq!(is_own(protocol, host, origin), within_tls, "{host} {origin} {protocol:?}");
        }
    }
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
    assert_eq!(check_with(old, &mistakes, &origins()).err(), Some(Rejection::BadHost));
    let old = get().method("POST").version(Version::HTTP_10);
    let left = &mistakes[1..];
    assert_eq!(check_with(old, left, &origins()).err(), Some(Rejection::MethodNotAllowed));
    let old = get().version(Version::HTTP_10);
    assert_eq!(check_with(old, left, &origins()).err(), Some(Rejection::HttpVersion));
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
    assert_eq!(header(Rejection::ConnectionLimit, "retry-after").unwrap(), "5");
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
