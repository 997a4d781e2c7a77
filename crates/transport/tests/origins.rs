//! Parsing, comparing and matching of origins.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use transport::{Origin, OriginPattern, ParseOriginError};

fn origin(text: &str) -> Origin {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pattern(text: &str) -> OriginPattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn an_origin_has_one_canonical_form() {
    for (text, canonical) in [
        ("https://example.com", "https://example.com"),
        ("HTTPS://EXAMPLE.com", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("http://example.com:0080", "http://example.com"),
        ("http://example.com:0", "http://example.com:0"),
        ("http://example.com:65535", "http://example.com:65535"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("http://[2001:DB8::A]", "http://[2001:db8::a]"),
        ("https://xn--mnchen-3ya.de", "https://xn--mnchen-3ya.de"),
        ("https://under_score.example", "https://under_score.example"),
        ("https://example.com.", "https://example.com."),
        ("chrome-extension://abcdefghij", "chrome-extension://abcdefghij"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("myapp+v1.0://host:80", "myapp+v1.0://host:80"),
        ("file://", "file://"),
        ("App://.", "app://."),
        ("app://A.b:80", "app://A.b:80"),
        ("app://[0::1]", "app://[::1]"),
    ] {
        assert_eq!(origin(text).to_string(), canonical, "{text}");
        assert_eq!(origin(canonical), origin(text));
    }
    assert_ne!(origin("https://example.com."), origin("https://example.com"));
}

#[test]
fn an_invalid_origin_is_refused_with_its_error() {
    use ParseOriginError::{Excess, Host, Port, Scheme, Wildcard};
    for (text, error) in [
        ("", Scheme),
        ("example.com", Scheme),
        ("://example.com", Scheme),
        ("1http://example.com", Scheme),
        ("ht tp://example.com", Scheme),
        ("null", Scheme),
        ("https:/example.com", Scheme),
        ("https://example.com/", Excess),
        ("https://example.com/path", Excess),
        ("https://example.com?query", Excess),
        ("https://example.com#fragment", Excess),
        ("https://user@example.com", Excess),
        ("https://user:secret@example.com", Excess),
        ("https://example.com\\@evil.com", Excess),
        ("https://", Host),
        ("https://:443", Host),
        ("https://exa mple.com", Host),
        ("https:// example.com", Host),
        ("https://example.com ", Host),
        ("https://a..b", Host),
        ("https://.a", Host),
        ("https://a,b", Host),
        ("https://münchen.de", Host),
        ("https://1.2.3", Host),
        ("https://1.2.3.4.5", Host),
        ("https://1.2.3.256", Host),
        ("https://01.2.3.4", Host),
        ("https://[::1", Host),
        ("https://::1]", Host),
        ("https://[::1%eth0]", Host),
        ("https://[::g]", Host),
        ("https://[1.2.3.4]", Host),
        ("https://[::1]x", Host),
        ("https://::1", Host),
        ("https://example.com:", Port),
        ("https://example.com:port", Port),
        ("https://example.com:+80", Port),
        ("https://example.com:-1", Port),
        ("https://example.com:65536", Port),
        ("https://example.com:80:80", Host),
        ("https://*.example.com", Wildcard),
        ("http://.", Host),
        ("https://a%2eb", Host),
        ("ws://", Host),
        ("app://*", Wildcard),
        ("app://a|b", Host),
        ("app://a\u{7f}", Host),
        ("app://a]", Host),
        ("app://a:b:80", Host),
        ("app://:", Port),
        ("app:///", Excess),
    ] {
        assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
    }
    let host = |length: usize| format!("https://{}.com", "a".repeat(length - 4));
    assert!(host(253).parse::<Origin>().is_ok());
    assert_eq!(host(254).parse::<Origin>(), Err(Host));
    assert!(Excess.to_string().contains("no slash"));
}

#[test]
fn a_wildcard_matches_exactly_one_whole_label() {
    let labels = pattern("https://*.example.com");
    assert!(labels.matches(&origin("https://a.example.com"), &[]));
    assert!(labels.matches(&origin("HTTPS://A.Example.com:443"), &[]));
    for other in [
        "https://example.com",
        "https://a.b.example.com",
        "https://aexample.com",
        "https://a.example.com.evil.com",
        "https://a.example.com:8443",
        "http://a.example.com",
        "https://a.example.co",
    ] {
        assert!(!labels.matches(&origin(other), &[]), "{other}");
    }
    assert!(pattern("http://*.localhost:3000").matches(&origin("http://app.localhost:3000"), &[]));
}

#[test]
fn a_wildcard_before_an_opaque_host_matches_one_whole_label() {
    let labels = pattern("app://*.example");
    assert!(labels.matches(&origin("app://a.example"), &[]));
    for other in ["app://.example", "app://a.b.example", "app://a.Example", "app://example"] {
        assert!(!labels.matches(&origin(other), &[]), "{other}");
    }
    assert_eq!("app://*.".parse::<OriginPattern>(), Err(ParseOriginError::Host));
    assert_eq!("app://*".parse::<OriginPattern>(), Err(ParseOriginError::Wildcard));
}

#[test]
fn the_pattern_any_matches_every_origin() {
    for text in ["https://example.com", "http://[::1]:1", "chrome-extension://abc"] {
        assert!(pattern("*").matches(&origin(text), &[]));
    }
}

#[test]
fn an_invalid_pattern_is_refused_with_its_error() {
    for (text, error) in [
        ("https://*", ParseOriginError::Wildcard),
        ("https://*example.com", ParseOriginError::Wildcard),
        ("https://a.*.com", ParseOriginError::Wildcard),
        ("https://*.*.com", ParseOriginError::Wildcard),
        ("https://example.*", ParseOriginError::Wildcard),
        ("*.example.com", ParseOriginError::Scheme),
        ("*://example.com", ParseOriginError::Scheme),
        ("https://*.1.2.3", ParseOriginError::Host),
        ("https://*.1.2.3.4", ParseOriginError::Host),
        ("https://*.[::1]", ParseOriginError::Host),
        ("https://example.com:*", ParseOriginError::Port),
        ("https://example.com/", ParseOriginError::Excess),
        ("wss://example.com", ParseOriginError::WebSocketScheme),
        ("ws://*.example.com", ParseOriginError::WebSocketScheme),
        ("", ParseOriginError::Scheme),
    ] {
        assert_eq!(text.parse::<OriginPattern>(), Err(error), "{text}");
    }
}
