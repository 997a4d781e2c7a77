//! The negotiation of permessage-deflate (RFC 7692): which offer is accepted, with which response.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::sync::Arc;

use endpoint::{AdmitBy, Fixture, REQUEST, response_head, valid_request};
use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, USER_AGENT};
use transport::{
    Admission, Admit, Compression, CompressionOptions, Denial, Discard, Handshake, Permission,
    Policy,
};

/// The response to an offer without parameters that the server answers.
const PLAIN: &str = "permessage-deflate; client_no_context_takeover";

/// Other responses are `PLAIN` with one of these.
const FRESH: &str = "; server_no_context_takeover";
const BITS: &str = "; server_max_window_bits=15";

fn options(mode: Compression) -> CompressionOptions {
    CompressionOptions { mode: Some(mode), webkit: Permission::Refuse }
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    headers
}

/// The session's mode and the response, if these header lines have an acceptable offer.
fn negotiate(mode: Compression, lines: &[&str]) -> Option<(Compression, String)> {
    let (compression, response) = options(mode).negotiate(&headers(lines))?;
    Some((compression, response.to_str().unwrap().to_owned()))
}

/// The parameters that the response adds to `PLAIN` if sessions are `Shared`.
fn accepted(lines: &[&str]) -> Option<String> {
    let (compression, response) = negotiate(Compression::Shared, lines)?;
    assert_eq!(compression == Compression::Fresh, response.contains(FRESH), "{lines:?}");
    Some(response.strip_prefix(PLAIN).unwrap().to_owned())
}

//= rfc6455#9-2 rfc6455#9.1-2 rfc6455#9.1-4 rfc7692#5-1 rfc7692#5-2 rfc7692#5-4 test
//= rfc7692#7.1.1.1-1 rfc7692#7.1.1.1-2 rfc7692#7.1.1.2-1 rfc7692#7.1.2.1-1 rfc7692#7.1.2.1-2 test
//= rfc7692#7.1.2.2-1 rfc7692#7.2.2-2 test
#[test]
fn each_acceptable_offer_has_its_response() {
    #[rustfmt::skip]
    let table: &[(&[&str], &[&str])] = &[
        (&["permessage-deflate"], &[]),
        // Chrome and Firefox, and Python's websockets.
        (&["permessage-deflate; client_max_window_bits"], &[]),
        (&["permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", "permessage-deflate"], &[]),
        (&["permessage-deflate; client_no_context_takeover"], &[]),
        (&["permessage-deflate; server_no_context_takeover"], &[FRESH]),
        (&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], &[FRESH]),
        (&["permessage-deflate; client_no_context_takeover; server_no_context_takeover"], &[FRESH]),
        (&["permessage-deflate; server_max_window_bits=15"], &[BITS]),
        (&["permessage-deflate; server_max_window_bits=15; server_no_context_takeover"], &[FRESH, BITS]),
        (&["permessage-deflate; client_max_window_bits=8"], &[]),
        (&["permessage-deflate; client_max_window_bits=15"], &[]),
        // Whitespace between words and separators (RFC 2616, section 2.1).
        (&["permessage-deflate;server_max_window_bits=15"], &[BITS]),
        (&[" \tpermessage-deflate\t ;  server_max_window_bits \t=  15\t "], &[BITS]),
        // A value may be quoted, and characters in quotes be escaped.
        (&["permessage-deflate; server_max_window_bits=\"15\""], &[BITS]),
        (&["permessage-deflate; server_max_window_bits = \"1\\5\" "], &[BITS]),
        (&["permessage-deflate; client_max_window_bits=\"\\1\\0\""], &[]),
        // Empty elements of the list.
        (&[", ,permessage-deflate,,", "", ","], &[]),
        // Other extensions, whatever their parameters.
        (&["x-webkit-deflate-frame, permessage-deflate"], &[]),
        (&["permessage-bzip2; a=1; a=2; b=\"c\"; d, permessage-deflate; server_no_context_takeover"], &[FRESH]),
        (&["permessage-deflate", "other; a"], &[]),
        // The first acceptable offer is the one that the client prefers.
        (&["permessage-deflate; server_no_context_takeover, permessage-deflate"], &[FRESH]),
        (&["permessage-deflate, permessage-deflate; server_no_context_takeover"], &[]),
        (&["permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=15"], &[BITS]),
        (&["permessage-deflate; mux, permessage-deflate; server_no_context_takeover, permessage-deflate"], &[FRESH]),
        (&["other", "permessage-deflate; server_no_context_takeover", "permessage-deflate"], &[FRESH]),
    ];
    for (lines, added) in table {
        assert_eq!(accepted(lines), Some(added.concat()), "{lines:?}");
        // Without context takeover the mode decides nothing else.
        let bits = if added.contains(&BITS) { BITS } else { "" };
        let fresh = (Compression::Fresh, [PLAIN, FRESH, bits].concat());
        assert_eq!(negotiate(Compression::Fresh, lines), Some(fresh), "{lines:?}");
        assert_eq!(CompressionOptions::default().negotiate(&headers(lines)), None);
    }
}

//= rfc6455#9.1-2 rfc6455#9.1-3 rfc7692#5-3 rfc7692#7-1 rfc7692#7-2 rfc7692#7-3 rfc7692#7-4 test
//= rfc7692#7.2.1-4 test
#[test]
fn an_offer_with_an_unknown_repeated_or_invalid_parameter_is_declined() {
    let parameters = [
        "unknown",
        "unknown=1",
        "Server_no_context_takeover",
        "server_no_context_takeover=1",
        "server_no_context_takeover=\"true\"",
        "client_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=15; server_max_window_bits=15",
        "server_max_window_bits",
        "server_max_window_bits=8",
        "server_max_window_bits=14",
        "server_max_window_bits=16",
        "server_max_window_bits=015",
        "server_max_window_bits=+15",
        "server_max_window_bits=15a",
        "server_max_window_bits=1",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=0",
        "client_max_window_bits=-9",
        "client_max_window_bits=8.0",
        "client_max_window_bits=\"08\"",
        "client_max_window_bits=99999999999999999999999999",
    ];
    for parameter in parameters {
        let offer = format!("permessage-deflate; {parameter}");
        assert_eq!(accepted(&[&offer]), None, "{offer}");
        let beside_others =
            format!("permessage-deflate; client_no_context_takeover; {parameter}; unknown");
        assert_eq!(accepted(&[&beside_others]), None, "{beside_others}");
        // The client's next offer stands for itself.
        let next = format!("{offer}, permessage-deflate; server_max_window_bits=15");
        assert_eq!(accepted(&[&next]).as_deref(), Some(BITS), "{next}");
    }
    for name in ["deflate", "permessage-deflate2", "permessage", "Permessage-Deflate", "x"] {
        assert_eq!(accepted(&[name]), None, "{name}");
    }
    assert_eq!(accepted(&[]), None);
    assert_eq!(accepted(&["", " , ,\t,"]), None);
}

//= rfc6455#4.3-1 rfc6455#9.1-1 test
#[test]
fn nothing_is_negotiated_if_a_line_of_the_header_is_malformed() {
    let malformed = [
        ";",
        "=",
        "a;",
        "a; ",
        "a;;b",
        "a; ;b",
        "a; =1",
        "a; b=",
        "a; b==1",
        "a; b=c=d",
        "a; b=,c",
        "a; b=\"",
        "a; b=\"\"",
        "a; b=\"c",
        "a; b=c\"",
        "a; b=\"c\"d",
        "a; b=\"c\"\"d\"",
        "a; b=\"c d\"",
        "a; b=\"c,d\"",
        "a; b=\"c;d\"",
        "a; b=\"\\\"",
        "a; b=\"\\\"\"",
        "a; b=\"\\\\\"",
        "a; b=\"c\\\\d\"",
        "a; b=\"c\\ d\"",
        "a; b=\\c",
        "\"a\"",
        "a b",
        "a; b c",
        "a=1",
        "a; b/c",
        "a; (b)",
        "caf\u{e9}",
        "a; b=caf\u{e9}",
        "a; b=\"caf\u{e9}\"",
        "a; b=\"c\\\u{e9}\"",
    ];
    let offer = "permessage-deflate";
    assert_eq!(accepted(&["a", offer, "a; b=\"c\""]).as_deref(), Some(""));
    for line in malformed {
        let with_semicolon = format!("{offer}; {line}");
        let (before, after) = (format!("{offer}, {line}"), format!("{line}, {offer}"));
        let [before, after] = [before.as_str(), after.as_str()];
        for lines in [&[line, offer][..], &[offer, line], &[before], &[after], &["x", after, "y"]] {
            assert_eq!(accepted(lines), None, "{lines:?}");
        }
        assert_eq!(accepted(&[&with_semicolon]), None, "{with_semicolon}");
    }
}

#[test]
fn webkit_without_chrome_is_compressed_only_if_it_is_allowed() {
    const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) \
                          AppleWebKit/605.1.15 (KHTML, like Gecko)";
    const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
    let table = [
        ("Safari", format!("{MAC} (KHTML, like Gecko) Version/18.0 Safari/605.1.15"), true),
        ("Safari on iOS", format!("{IPHONE} Version/18.0 Mobile/15E148 Safari/604.1"), true),
        ("Chrome on iOS", format!("{IPHONE} CriOS/130.0 Mobile/15E148 Safari/604.1"), true),
        ("Firefox on iOS", format!("{IPHONE} FxiOS/130.0 Mobile/15E148 Safari/604.1"), true),
        ("an app's web view on iOS", format!("{IPHONE} Mobile/15E148"), true),
        ("GNOME Web", format!("{LINUX} Version/18.0 Safari/537.36"), true),
        ("Chrome", format!("{LINUX} Chrome/130.0.0.0 Safari/537.36"), false),
        ("Chromium", format!("{LINUX} Chromium/130.0.0.0 Safari/537.36"), false),
        ("Edge", format!("{LINUX} Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0"), false),
        ("Chrome without a window", format!("{LINUX} HeadlessChrome/130.0 Safari/537.36"), false),
        ("Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101".into(), false),
        ("a library", "Python/3.13 websockets/14.0".into(), false),
        ("nothing", String::new(), false),
    ];
    let line = |text: &str| HeaderValue::from_str(text).unwrap();
    for (browser, user_agent, is_webkit) in &table {
        let mut headers = headers(&["permessage-deflate"]);
        headers.insert(USER_AGENT, line(user_agent));
        let refused = options(Compression::Shared).negotiate(&headers);
        assert_eq!(refused.is_none(), *is_webkit, "{browser}");
        let allow =
            CompressionOptions { webkit: Permission::Allow, ..options(Compression::Shared) };
        assert!(allow.negotiate(&headers).is_some(), "{browser}");
        // One line says Chrome, and another does not.
        headers.append(USER_AGENT, line("Chrome/130.0.0.0"));
        let refused = options(Compression::Shared).negotiate(&headers);
        assert_eq!(refused.is_none(), *is_webkit, "{browser}");
    }
    let mut headers = headers(&["permessage-deflate"]);
    headers.insert(USER_AGENT, HeaderValue::from_bytes(b"\xff AppleWebKit/1 \xff").unwrap());
    assert_eq!(options(Compression::Shared).negotiate(&headers), None);
}

impl<A: Admit + 'static> Fixture<A> {
    fn compress(mut self, compression: CompressionOptions) -> Self {
        self.policy = Arc::new(Policy { compression, ..(*self.policy).clone() });
        self
    }
}

//= rfc6455#4.2.2-8 rfc6455#9-1 rfc7692#5-2 rfc7692#5-5 test
#[tokio::test(start_paused = true)]
async fn an_accepted_offer_is_answered_in_the_101() {
    let request = |extra: &str| REQUEST.replacen("\r\n", &format!("\r\n{extra}"), 1);
    let offer = request("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let refused = offer.replace("Version: 13", "Version: 12");
    let webkit = offer.replacen("\r\n", "\r\nUser-Agent: AppleWebKit/605.1.15 Safari\r\n", 1);
    let webkit = webkit.replace("User-Agent: test\r\n", "");
    let fresh = [PLAIN, FRESH].concat();
    for (options, request, status, expected) in [
        (options(Compression::Shared), &offer, 101, Some(PLAIN)),
        (options(Compression::Fresh), &offer, 101, Some(&*fresh)),
        (options(Compression::Shared), &REQUEST.to_owned(), 101, None),
        (options(Compression::Shared), &request("Sec-WebSocket-Extensions: a;\r\n"), 101, None),
        (options(Compression::Shared), &webkit, 101, None),
        (options(Compression::Shared), &refused, 426, None),
        (CompressionOptions::default(), &offer, 101, None),
    ] {
        let fixture = Fixture::new().compress(options);
        let mut peer = fixture.connect();
        peer.send(request.as_bytes()).await;
        let head = response_head(&mut peer).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let value = lines.find(|(name, _)| *name == "sec-websocket-extensions");
        assert_eq!(value.map(|(_, value)| value), expected, "{request}{head}");
    }
}

//= rfc6455#11.3.2-1 rfc8441#5-5 test
#[tokio::test(start_paused = true)]
async fn an_accepted_offer_is_answered_in_the_200_of_http2() {
    const NAME: &str = "sec-websocket-extensions";
    let fixture = Fixture::new().compress(options(Compression::Shared));
    let client = fixture.connect_http2().await;
    let fresh = [PLAIN, FRESH].concat();
    for (lines, expected) in [
        (&[][..], None),
        (&[(NAME, "permessage-deflate; client_max_window_bits")], Some(PLAIN)),
        (&[(NAME, "permessage-deflate; server_no_context_takeover")], Some(&*fresh)),
        (&[(NAME, "permessage-deflate; server_max_window_bits=10")], None),
        (&[(NAME, "other"), (NAME, "permessage-deflate")], Some(PLAIN)),
        (&[(NAME, "permessage-deflate"), (NAME, "other;")], None),
        (&[(NAME, "permessage-deflate"), ("user-agent", "AppleWebKit/605.1.15")], None),
    ] {
        let (response, _stream) = client.connect_with("/", lines).await;
        assert_eq!(response.status(), 200, "{lines:?}");
        let value = response.headers().get(NAME).map(|value| value.to_str().unwrap());
        assert_eq!(value, expected, "{lines:?}");
        let answers = response.headers().get_all(NAME).iter().count();
        assert_eq!(answers, usize::from(expected.is_some()), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_and_the_subprotocol_of_an_application_stand_beside_the_extension() {
    let admit = AdmitBy(|handshake: &Handshake<'_>| {
        let subprotocol = handshake.subprotocol("chat").unwrap();
        let (name, value) = ("x-other".parse().unwrap(), HeaderValue::from_static("1"));
        let admission = Admission::new(Discard).subprotocol(subprotocol).header(name, value);
        std::future::ready(Ok::<_, Denial>(admission))
    });
    let fixture = Fixture::with(admit).compress(options(Compression::Fresh));
    let mut request = valid_request();
    let lines =
        [("sec-websocket-protocol", "chat"), ("sec-websocket-extensions", "permessage-deflate")];
    for (name, value) in lines {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let response = fixture.opening(&request).await.response();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-other"], "1");
    assert_eq!(response.headers()["sec-websocket-extensions"], [PLAIN, FRESH].concat());
}
