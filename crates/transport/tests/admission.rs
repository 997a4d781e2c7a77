//! What an application decides about a handshake: the session's handler, its subprotocol, headers of the
//! response, and denials.
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

use std::future::ready;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use endpoint::{
    AdmitBy, Fixture, PERMITS, Sends, request_head, request_with, request_with_version,
    response_head, valid_request,
};
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER,
    SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::{Request, StatusCode};
use support::{TEXT, in_time};
use transport::{Admission, Admit, Answer, Denial, Discard, DrainOptions, Handshake, Rejection};

type Decision<H = Discard> = Result<Admission<H>, Denial>;

/// Decides at once.
fn admit_by<H: transport::Handler>(
    decide: impl Fn(&Handshake<'_>) -> Decision<H> + Send + Sync + 'static,
) -> impl Admit<Handler = H> {
    AdmitBy(move |handshake: &Handshake<'_>| ready(decide(handshake)))
}

/// Returns the response to a valid request with these headers, for HTTP libraries to send.
async fn response(
    fixture: &Fixture<impl Admit + 'static>,
    headers: &[(&'static str, &'static str)],
) -> hyper::Response<String> {
    let mut request = valid_request();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    match fixture.answer(&request).await {
        Answer::Open(opening) => opening.response(),
        Answer::Refuse(response) => response,
        Answer::RefuseVisibly(refusal) => refusal.response(),
    }
}

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_opens_with_the_handler_that_was_made_for_its_request() {
    let fixture = Fixture::with(admit_by(|handshake| {
        let cookie = handshake.headers()["cookie"].to_str().unwrap();
        let subprotocols: Vec<&str> = handshake.subprotocols().collect();
        Ok(Admission::new(Sends::new([format!(
            "{} {} {} {cookie} {} {} {subprotocols:?} {:?}",
            handshake.protocol().as_str(),
            handshake.path(),
            handshake.query().unwrap(),
            handshake.peer(),
            handshake.certificate_name().unwrap(),
            handshake.identity(),
        )])))
    }));
    let seen = r#"/ room=7 user=alice 192.0.2.7:4711 device-7 ["chat", "v2"] None"#;

    let mut peer = fixture.connect();
    let lines = "Cookie: user=alice\r\nSec-WebSocket-Protocol: chat, v2\r\n";
    peer.send(request_with("/?room=7", lines).as_bytes()).await;
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(peer.frame().await, (TEXT, format!("http/1.1 {seen}").into_bytes()));

    let client = fixture.connect_http2().await;
    let headers = [("cookie", "user=alice"), ("sec-websocket-protocol", "chat, v2")];
    let (response, mut stream) = client.connect_with("/?room=7", &headers).await;
    assert_eq!(response.status(), 200);
    stream.expect(TEXT, format!("http/2 {seen}").as_bytes()).await;
}

#[tokio::test]
async fn an_application_sees_what_the_http_server_has_attached_to_the_request() {
    let mut request = valid_request();
    request.extensions_mut().insert("attached");
    let client = Fixture::with(Discard).client();
    assert_eq!(Handshake::new(&request, &client).extensions().get(), Some(&"attached"));
}

//= rfc6455#11.3.4-2 rfc8441#5-5 test
#[tokio::test(start_paused = true)]
async fn the_selected_subprotocol_and_added_headers_are_in_the_response_that_opens_a_session() {
    let fixture = Fixture::with(admit_by(|handshake| {
        let v1 = handshake.subprotocol("v1").unwrap();
        let v2 = handshake.subprotocol("v2").unwrap();
        let cookie = HeaderValue::from_static;
        // The latest selection counts, and headers of one name are all kept.
        Ok(Admission::new(Discard)
            .subprotocol(v1)
            .subprotocol(v2)
            .header(SET_COOKIE, cookie("a=1"))
            .header(SET_COOKIE, cookie("b=2"))
            .map_handler(|Discard| Discard))
    }));
    let mut peer = fixture.connect();
    peer.send(request_with("/", "Sec-WebSocket-Protocol: v1, v2\r\n").as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(head.matches("sec-websocket-protocol: v2\r\n").count(), 1, "{head}");
    assert_eq!(head.matches("sec-websocket-protocol").count(), 1, "{head}");
    assert!(head.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"), "{head}");

    let client = fixture.connect_http2().await;
    let (response, mut stream) =
        client.connect_with("/", &[("sec-websocket-protocol", "v1, v2")]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(lines(response.headers(), &SEC_WEBSOCKET_PROTOCOL), ["v2"]);
    assert_eq!(lines(response.headers(), &SET_COOKIE), ["a=1", "b=2"]);
    stream.expect_pong().await;
}

//= rfc6455#4.2.2-6 test
#[tokio::test(start_paused = true)]
async fn no_subprotocol_is_selected_by_default() {
    let fixture = Fixture::new();
    let response = response(&fixture, &[("sec-websocket-protocol", "chat")]).await;
    assert_eq!(response.status(), 101);
    assert_eq!(lines(response.headers(), &SEC_WEBSOCKET_PROTOCOL), [""; 0]);
}

//= rfc6455#4.2.1-11 rfc6455#4.2.2-5 rfc6455#4.2.2-7 rfc6455#11.3.4-1 test
#[tokio::test(start_paused = true)]
async fn only_an_offered_subprotocol_can_be_selected_and_only_a_token_is_offered() {
    let fixture = Fixture::new();
    let client = fixture.client();
    let cases: &[(&[&[u8]], &[&str])] = &[
        (&[], &[]),
        (&[b""], &[]),
        (&[b"chat"], &["chat"]),
        (&[b"b, a", b"d,c"], &["b", "a", "d", "c"]),
        (&[b" \t x\t,,\ty ,"], &["x", "y"]),
        (&[b"two words, (a), a/b, \"q\", ok"], &["ok"]),
        // Bytes above 0x7f are allowed in a header, and in no token.
        (&[b"chat, caf\xc3\xa9, \xff", b"v2"], &["chat", "v2"]),
        (&[b"!#$%&'*+-.^_`|~09AZaz"], &["!#$%&'*+-.^_`|~09AZaz"]),
    ];
    for (lines, expected) in cases {
        let mut request = valid_request();
        for line in *lines {
            let line = HeaderValue::from_bytes(line).unwrap();
            request.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, line);
        }
        let handshake = Handshake::new(&request, &client);
        let offered: Vec<&str> = handshake.subprotocols().collect();
        assert_eq!(offered, *expected, "{lines:?}");
        assert!(offered.iter().all(|name| handshake.subprotocol(name).is_some()));
        for other in ["", "CHAT", "chat,", "chat, v2", "caf\u{e9}", "two words", "other"] {
            assert_eq!(handshake.subprotocol(other), None, "{other} of {lines:?}");
        }
    }
}

const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "te",
    "transfer-encoding",
    "upgrade",
];

//= rfc6455#11.3.2-1 rfc6455#11.3.3-1 rfc6455#11.3.4-2 test
#[tokio::test(start_paused = true)]
async fn an_admission_with_a_reserved_header_is_a_500_for_that_request_only() {
    let fixture = Fixture::with(admit_by(|handshake| {
        let admission = Admission::new(Discard);
        let Some(name) = handshake.headers().get("x-name") else { return Ok(admission) };
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        Ok(admission.header(name, HeaderValue::from_static("x")))
    }));
    let client = fixture.connect_http2().await;
    let mut before = client.open().await;
    fixture.log.take();
    for name in RESERVED {
        let (response, _) = client.connect_with("/", &[("x-name", name)]).await;
        assert_eq!(response.status(), 500, "{name}");
        assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 internal_error"], "{name}");
    }
    let (response, _stream) = client.connect_with("/", &[("x-name", "x-other")]).await;
    assert_eq!(
        (response.status(), &response.headers()["x-other"]),
        (StatusCode::OK, &"x".parse().unwrap())
    );
    before.expect_pong().await;
    assert_eq!(fixture.permits.available_permits(), PERMITS - 2);
}

fn not_in_team() -> Denial {
    Denial::forbidden("not_in_team", format!("user {} is in another team", 7))
        .header(RETRY_AFTER, HeaderValue::from_static("60"))
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_answered_with_its_status_headers_word_and_sentence() {
    assert_eq!(not_in_team().sentence(), "user 7 is in another team");
    let fixture = Fixture::with(admit_by(|_| Decision::<Discard>::Err(not_in_team())));
    let body = "not_in_team: user 7 is in another team\n";
    let mut peer = fixture.connect();
    let head = request_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    for line in
        ["content-type: text/plain; charset=utf-8", "cache-control: no-store", "retry-after: 60"]
    {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    assert_eq!(peer.bytes(body.len()).await, body.as_bytes());
    assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 application not_in_team"]);
    assert_eq!(fixture.permits.available_permits(), PERMITS);
    // The connection can be used again.
    assert!(request_head(&mut peer).await.starts_with("HTTP/1.1 403 "));

    let client = fixture.connect_http2().await;
    fixture.log.take();
    let (response, mut stream) = client.connect().await;
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::FORBIDDEN, &"60".parse().unwrap())
    );
    assert_eq!(stream.data().await.unwrap().unwrap(), body);
    assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 application not_in_team"]);
    assert_eq!(fixture.permits.available_permits(), PERMITS);
}

#[tokio::test(start_paused = true)]
async fn a_401_has_every_challenge_that_the_denial_has() {
    let fixture = Fixture::with(admit_by(|_| {
        let denial = Denial::unauthorized("no_session", "log in first", "Bearer");
        Decision::<Discard>::Err(
            denial.header(WWW_AUTHENTICATE, HeaderValue::from_static("Cookie")),
        )
    }));
    let response = response(&fixture, &[]).await;
    assert_eq!(response.status(), 401);
    assert_eq!(lines(response.headers(), &WWW_AUTHENTICATE), ["Bearer", "Cookie"]);
    assert_eq!(response.body(), "no_session: log in first\n");
}

#[tokio::test(start_paused = true)]
async fn a_header_of_a_denial_replaces_one_that_every_refusal_has() {
    let fixture = Fixture::with(admit_by(|_| {
        let problem = HeaderValue::from_static("application/problem+json");
        let private = HeaderValue::from_static("private");
        let denial = not_in_team().header(CONTENT_TYPE, problem).header(CACHE_CONTROL, private);
        Decision::<Discard>::Err(denial)
    }));
    let response = response(&fixture, &[]).await;
    assert_eq!(lines(response.headers(), &CONTENT_TYPE), ["application/problem+json"]);
    assert_eq!(lines(response.headers(), &CACHE_CONTROL), ["private"]);
}

#[test]
fn a_header_of_a_denial_that_frames_the_body_or_belongs_to_the_connection_panics() {
    for name in [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
    ] {
        let add = || not_in_team().header(HeaderName::from_static(name), "1".parse().unwrap());
        assert!(catch_unwind(add).is_err(), "{name}");
    }
}

#[test]
fn a_denial_has_a_status_of_4xx_or_503() {
    for code in 100..=599 {
        let status = StatusCode::from_u16(code).unwrap();
        let denial = catch_unwind(|| Denial::new(status, "word", "sentence").status());
        let may_deny = (400..=499).contains(&code) || code == 503;
        assert_eq!(denial.ok(), may_deny.then_some(status), "{code}");
    }
    assert_eq!(Denial::unavailable("store_down", "try later").status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_denial_made_of_a_rejection_is_that_rejection() {
    for rejection in Rejection::ALL {
        let fixture =
            Fixture::with(admit_by(move |_| Decision::<Discard>::Err((*rejection).into())));
        let response = response(&fixture, &[]).await;
        let expected = rejection.response();
        assert_eq!(response.status(), expected.status());
        assert_eq!(response.headers(), expected.headers());
        assert_eq!(response.body(), expected.body());
        assert_eq!(response.extensions().get(), Some(rejection));
        let word = if *rejection == Rejection::Application { " application" } else { "" };
        assert_eq!(fixture.log.take(), [format!("refused 192.0.2.7:4711 {rejection}{word}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_anyway_is_not_decided_by_the_application() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fixture = Fixture::with(admit_by(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Admission::new(Discard))
    }));
    let status = async |request: &Request<()>| match fixture.answer(request).await {
        Answer::Open(_) => 101,
        Answer::Refuse(response) => response.status().as_u16(),
        Answer::RefuseVisibly(refusal) => refusal.response().status().as_u16(),
    };
    let mut refused_origin = valid_request();
    refused_origin.headers_mut().insert(ORIGIN, HeaderValue::from_static("null"));
    assert_eq!(status(&request_with_version("7")).await, 426);
    assert_eq!(status(&refused_origin).await, 403);
    let permits = fixture.permits.try_acquire_many(100).unwrap();
    assert_eq!(status(&valid_request()).await, 503);
    drop(permits);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(status(&valid_request()).await, 101);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    fixture.drain.start(DrainOptions::default());
    assert_eq!(status(&valid_request()).await, 503);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(
        fixture.log.take(),
        ["websocket_version", "origin_refused", "connection_limit", "draining"]
            .map(|word| format!("refused 192.0.2.7:4711 {word}"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_admit_that_wraps_another_tells_it_the_identity() {
    let inner = Arc::new(admit_by(|handshake| {
        let identity = handshake.identity().unwrap().clone();
        Ok(Admission::new(Sends::new([identity.to_string()])).or_identity(identity))
    }));
    let alice = transport::Identity::try_from("alice").unwrap();
    let outer = {
        let alice = alice.clone();
        AdmitBy(move |handshake: &Handshake<'_>| {
            let decision = in_the_first_poll(inner.admit(&handshake.with_identity(&alice)));
            ready(decision.map(|admission| admission.or_identity("bob".try_into().unwrap())))
        })
    };
    let fixture = Fixture::with(outer);
    let mut peer = fixture.connect();
    request_head(&mut peer).await;
    assert_eq!(in_time(peer.frame()).await, (TEXT, b"alice".to_vec()));
    let opened = "opened 1 192.0.2.7:4711 https://app.example test of alice";
    assert_eq!(fixture.log.take(), [opened]);
}

/// Returns the output of a future that is ready.
fn in_the_first_poll<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is ready"),
    }
}
