//! Negotiates any offers of extensions. The first line is `User-Agent`, each further one a line of
//! `Sec-WebSocket-Extensions`.

#[path = "../../crates/transport/tests/support/naive_extensions.rs"]
mod naive_extensions;

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, USER_AGENT};
use naive_extensions::{naive, parse};
use transport::{Compression, CompressionOptions, Permission};

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    let user_agent = String::from_utf8_lossy(lines.next().unwrap_or_default());
    if let Ok(value) = HeaderValue::from_bytes(user_agent.as_bytes()) {
        headers.insert(USER_AGENT, value);
    }
    let mut sent = Vec::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
            sent.push(line.to_vec());
        }
    }

    let accepted = naive(&sent);
    if parse(&sent).is_none() {
        assert_eq!(accepted, None);
    }
    let is_webkit = user_agent.contains("AppleWebKit/")
        && !user_agent.contains("Chrome/")
        && !user_agent.contains("Chromium/")
        && headers.contains_key(USER_AGENT);
    for mode in [Compression::Fresh, Compression::Shared] {
        for webkit in [Permission::Allow, Permission::Refuse] {
            let options = CompressionOptions { mode: Some(mode), webkit };
            let is_declined = webkit == Permission::Refuse && is_webkit;
            let expected = accepted.filter(|_| !is_declined).map(|(offers_fresh, has_bits)| {
                let compression = if offers_fresh { Compression::Fresh } else { mode };
                (compression, has_bits)
            });
            let negotiated = options.negotiate(&headers).map(|(compression, response)| {
                let response = response.to_str().expect("the response is ASCII");
                let mut parts = response.split("; ");
                assert_eq!(parts.next(), Some("permessage-deflate"));
                assert_eq!(parts.next(), Some("client_no_context_takeover"));
                let is_fresh = response.contains("server_no_context_takeover");
                assert_eq!(is_fresh, compression == Compression::Fresh);
                (compression, response.ends_with("; server_max_window_bits=15"))
            });
            assert_eq!(negotiated, expected);
        }
    }
    assert_eq!(CompressionOptions::default().negotiate(&headers), None);
}
