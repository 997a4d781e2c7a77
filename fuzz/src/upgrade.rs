//! Checks any upgrade request. The first line is the method, the second the version and the permissions,
//! the third the allowed origins; the others are header lines, including pseudo-headers of HTTP/2.

use std::net::Ipv6Addr;

use crate::naive_origin::NaiveOrigin;
use h2::ext::Protocol;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Version};
use transport::{OriginPattern, Origins, Permission, Protocol as HttpProtocol, Upgrade};

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let method = line();
    let setup = line();
    let allowed: Vec<&str> = str::from_utf8(line()).unwrap_or_default().split(' ').collect();
    let allowed = allowed.into_iter().filter(|text| text.parse::<OriginPattern>().is_ok());
    let allowed: Vec<&str> = allowed.collect();

    let mut request = Request::new(());
    if let Ok(method) = Method::from_bytes(method) {
        *request.method_mut() = method;
    }
    *request.version_mut() = match setup.first() {
        Some(b'0') => Version::HTTP_09,
        Some(b'1') => Version::HTTP_10,
        Some(b'3') => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let permission = |index: usize| match setup.get(index) {
        Some(b'+') => Permission::Allow,
        _ => Permission::Refuse,
    };
    let origins = Origins {
        allowed: allowed.iter().filter_map(|text| text.parse().ok()).collect(),
        missing: permission(1),
        null: permission(2),
    };
    for line in lines {
        let text = str::from_utf8(line).unwrap_or_default();
        if let Some(protocol) = text.strip_prefix(":protocol:") {
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        if let Some(authority) = text.strip_prefix(":authority:")
            && let Ok(uri) = format!("https://{authority}/ws/status").parse()
        {
            *request.uri_mut() = uri;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }

    let headers = request.headers().clone();
    let is_http2 = request.version() == Version::HTTP_2;
    let is_encrypted = setup.get(3) == Some(&b'+');
    let http_protocol = match (is_http2, is_encrypted) {
        (false, false) => HttpProtocol::Http1,
        (false, true) => HttpProtocol::Http1Tls,
        (true, false) => HttpProtocol::Http2,
        (true, true) => HttpProtocol::Http2Tls,
    };
    let Ok(upgrade) = Upgrade::check(&request, http_protocol, &origins) else { return };
    let host = headers.contains_key("host").then(|| only(&headers, "host"));
    let authority = request.uri().authority().map(|authority| authority.to_string());
    let named: Vec<&String> = authority.iter().chain(&host).collect();
    for name in &named {
        check_host(name);
        // The scheme of the target is `https` here.
        assert_eq!(origin_at("https", name), origin_at("https", named[0]));
    }
    if is_http2 {
        assert_eq!(request.method(), "CONNECT");
        let protocol =
            request.extensions().get::<Protocol>().expect("an extended CONNECT has a protocol");
        assert!(protocol.as_str().eq_ignore_ascii_case("websocket"));
        assert!(!named.is_empty());
    } else {
        assert_eq!(request.method(), "GET");
        assert!(request.version() >= Version::HTTP_11);
        assert!(host.is_some());
        assert!(elements(&headers, "upgrade").contains(&"websocket".to_owned()));
        assert!(elements(&headers, "connection").contains(&"upgrade".to_owned()));
        let key = only(&headers, "sec-websocket-key");
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        assert!(key[..22].chars().all(is_base64), "{key}");
    }
    if headers.contains_key("content-length") {
        let length = only(&headers, "content-length");
        assert!(!length.is_empty() && length.bytes().all(|digit| digit == b'0'), "{length}");
    }
    assert!(!headers.contains_key("transfer-encoding"));
    assert_eq!(only(&headers, "sec-websocket-version"), "13");
    if headers.contains_key("origin") {
        match only(&headers, "origin").as_str() {
            "null" => assert_eq!(origins.null, Permission::Allow),
            origin => {
                let naive = NaiveOrigin::parse(origin);
                let is_own = naive == origin_at("https", named[0])
                    || !is_encrypted && naive == origin_at("http", named[0]);
                let is_allowed = allowed.iter().any(|pattern| naive.matches_pattern(pattern));
                assert!(is_allowed || is_own && allowed.contains(&"self"), "{origin}");
            }
        }
    } else {
        assert_eq!(origins.missing, Permission::Allow);
    }

    let response = upgrade.response();
    if is_http2 {
        assert_eq!(response.status(), 200);
        let answered = response.headers().contains_key("sec-websocket-accept");
        assert_eq!(response.headers().len(), usize::from(answered));
        assert!(!answered || only(&headers, "sec-websocket-key").len() == 24);
    } else {
        assert_eq!(response.status(), 101);
        assert_eq!(only(response.headers(), "sec-websocket-accept").len(), 28);
    }
}

/// Checks a host (RFC 9112, section 3.2, and RFC 3986, section 3.2.2).
fn check_host(host: &str) {
    assert!(!host.is_empty() && !host.contains(['@', '/', '?', '#', ' ', '\\']), "{host}");
    let port = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').expect("brackets are closed");
            address.parse::<Ipv6Addr>().expect("brackets hold an address");
            port
        }
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            assert!(!name.is_empty() && !name.contains(['[', ']']), "{host}");
            port
        }
    };
    match port.strip_prefix(':') {
        None => assert_eq!(port, "", "{host}"),
        Some("") => {}
        Some(number) => {
            assert!(number.bytes().all(|digit| digit.is_ascii_digit()), "{host}");
            assert!(number.parse::<u16>().is_ok(), "{host}");
        }
    }
}

/// The origin of a host with an optional port, which may be empty.
fn origin_at(scheme: &str, host: &str) -> NaiveOrigin {
    NaiveOrigin::parse(&format!("{scheme}://{}", host.strip_suffix(':').unwrap_or(host)))
}

/// Returns the value of the only header line with this name.
fn only(headers: &HeaderMap, name: &str) -> String {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    assert_eq!(lines.len(), 1, "{name}");
    String::from_utf8(lines[0].as_bytes().trim_ascii().to_vec()).expect("the value is UTF-8")
}

/// Returns the list elements of all header lines with this name, in lower case.
fn elements(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    let text = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let list = text.collect::<Vec<_>>().join(",").to_ascii_lowercase();
    list.split(',').map(|element| element.trim().to_owned()).collect()
}
