//! The check of the `Origin` header in the opening handshake.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/requests.rs"]
mod handshake;

use handshake::{VALID_HEADERS, check_with, connect, get, origins, refusal};
use transport::{Origins, Permission, Protocol, Rejection, Upgrade};

//= rfc6455#8.1-2 test
#[test]
fn an_origin_that_is_not_text_is_refused() {
    let origin = hyper::header::HeaderValue::from_bytes(b"https://\xff.example").unwrap();
    let mut request = get();
    for (name, value) in VALID_HEADERS {
        request = request.header(*name, *value);
    }
    let request = request.header("origin", origin).body(()).unwrap();
    assert_eq!(
        Upgrade::check(&request, Protocol::Http1, &origins()).err(),
        Some(Rejection::BadOrigin)
    );
}

#[test]
fn origins_without_a_domain_are_matched_by_their_exact_text() {
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
fn the_origin_self_is_the_host_and_port_of_the_request() {
    use Protocol::{Http1, Http1Tls, Http2, Http2Tls};
    let own = Origins { allowed: vec!["self".parse().unwrap()], ..origins() };
    let is_own = |protocol, host: &str, origin: &str| {
        let request = if matches!(protocol, Http2 | Http2Tls) {
            let mut request = connect(Some("websocket"), &[("origin", origin)]);
            *request.uri_mut() = format!("https://{host}/ws/status").parse().unwrap();
            request
        } else {
            let request = get().header("host", host).header("origin", origin);
            let rest = VALID_HEADERS.iter().filter(|(name, _)| *name != "host");
            rest.fold(request, |it, (name, value)| it.header(*name, *value)).body(()).unwrap()
        };
        match Upgrade::check(&request, protocol, &own).map(drop) {
            Ok(()) => true,
            Err(Rejection::OriginRefused) => false,
            Err(other) => panic!("{other}"),
        }
    };
    // Without TLS, a proxy may have terminated it.
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

//= rfc6455#4.2.1-10 test
#[test]
fn requests_without_an_origin_follow_the_configured_permission() {
    let strict = Origins { missing: Permission::Refuse, null: Permission::Allow, ..origins() };
    let refusal = |lines: &[(&str, &str)]| check_with(get(), lines, &strict).err();
    assert_eq!(refusal(&[]), Some(Rejection::OriginMissing));
    assert_eq!(refusal(&[("origin", "null")]), None);
    assert_eq!(refusal(&[("origin", "https://app.example")]), None);
}

#[test]
fn the_pattern_any_allows_neither_null_nor_a_missing_origin() {
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
