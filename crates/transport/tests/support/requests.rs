//! Handshake requests and their checks. Not in `mod.rs`, which the tests of `broadcast` share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use hyper::http::request::Builder;
use hyper::{Request, Version};
use transport::{Origins, Permission, Protocol, Rejection, Upgrade};

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of a valid request.
pub(crate) const VALID_HEADERS: &[(&str, &str)] = &[
    ("host", "server.example"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

pub(crate) fn origins() -> Origins {
    Origins {
        allowed: vec!["https://app.example".parse().unwrap()],
        missing: Permission::Allow,
        null: Permission::Refuse,
    }
}

pub(crate) fn get() -> Builder {
    Request::get("/ws/status")
}

/// Checks a valid request whose headers of the same names are replaced by these.
pub(crate) fn check(lines: &[(&str, &str)]) -> Result<Upgrade, Rejection> {
    check_with(get(), lines, &origins())
}

pub(crate) fn check_with(
    mut request: Builder,
    lines: &[(&str, &str)],
    origins: &Origins,
) -> Result<Upgrade, Rejection> {
    for (name, value) in VALID_HEADERS {
        if !lines.iter().any(|(replaced, _)| replaced == name) {
            request = request.header(*name, *value);
        }
    }
    // An empty value leaves the header out.
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    Upgrade::check(&request.body(()).unwrap(), Protocol::Http1, origins)
}

pub(crate) fn refusal(lines: &[(&str, &str)]) -> Option<Rejection> {
    check(lines).err()
}

/// A valid extended CONNECT (RFC 8441, section 4) with these additional headers.
pub(crate) fn connect(protocol: Option<&'static str>, lines: &[(&str, &str)]) -> Request<()> {
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
