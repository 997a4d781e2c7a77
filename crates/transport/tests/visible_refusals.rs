//! Refusals that a page can see: what it gets, who gets them, and that they are bounded.
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
use std::sync::Arc;
use std::time::Duration;

use endpoint::{AdmitBy, Fixture, REQUEST, request_with, response_head, valid_request};
use hyper::StatusCode;
use hyper::header::{HeaderValue, ORIGIN};
use support::{CLOSE, PING, Peer, SIZES, TEXT, close, close_payload, frame, in_time};
use tokio::time::Instant;
use transport::{
    Admission, Admit, Answer, Denial, Discard, DrainOptions, Handshake, MAX_VISIBLE_REFUSALS,
    Origins, Permission, Policy,
};

const ORIGIN_OF_PAGE: &[(&str, &str)] = &[("origin", "https://app.example")];

/// An application that denies by the path, and a policy with visible refusals.
fn fixture() -> Fixture<impl Admit<Handler = Discard>> {
    let decide = |handshake: &Handshake<'_>| {
        let sentence = "the application refuses";
        let denial =
            |status, word| Denial::new(StatusCode::from_u16(status).unwrap(), word, sentence);
        ready(match handshake.path() {
            "/401" => Err(Denial::unauthorized("no_ticket", sentence, "Ticket")),
            "/403" => Err(Denial::forbidden("not_in_team", sentence)),
            "/404" => Err(denial(404, "no_such_room")),
            "/429" => Err(denial(429, "too_often")),
            "/503" => Err(Denial::unavailable("store_down", sentence)),
            "/panics" => panic!("the application panics"),
            _ => Ok(Admission::new(Discard)),
        })
    };
    let mut fixture = Fixture::with(AdmitBy(decide));
    fixture.policy = Arc::new(Policy { visible_refusals: true, ..Policy::clone(&fixture.policy) });
    fixture
}

/// Sends a request with this target, and expects a 101.
async fn upgraded(fixture: &Fixture<impl Admit + 'static>, target: &str) -> Peer {
    let mut peer = fixture.connect();
    peer.send(request_with(target, "").as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    peer
}

/// Sends a request, and expects a response with this status.
async fn refused(fixture: &Fixture<impl Admit + 'static>, request: &str, status: u16) {
    let mut peer = fixture.connect();
    peer.send(request.as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_page_sees_the_code_and_the_word_of_each_denial() {
    let fixture = fixture();
    let http2 = fixture.connect_http2().await;
    for (path, code, word) in [
        ("/401", 3000, "no_ticket"),
        ("/403", 3003, "not_in_team"),
        ("/404", 3003, "no_such_room"),
        ("/429", 1013, "too_often"),
        ("/503", 1013, "store_down"),
    ] {
        let mut peer = upgraded(&fixture, path).await;
        peer.expect_close(code, word).await;
        peer.send(&close(code, "")).await;
        peer.expect_end().await;
        let (response, mut stream) = http2.connect_with(path, ORIGIN_OF_PAGE).await;
        assert_eq!(response.status(), 200);
        stream.expect(CLOSE, &close_payload(code, word)).await;
        stream.send(&close(code, ""));
        stream.expect_end().await;
        let refused = format!("refused 192.0.2.7:4711 application {word} by {code}");
        assert_eq!(fixture.log.take(), [refused.clone(), refused]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_sees_that_the_server_is_full_and_the_permit_is_not_needed_for_it() {
    let fixture = fixture();
    let all = fixture.permits.available_permits();
    let held = Arc::clone(&fixture.permits).try_acquire_many_owned(u32::try_from(all).unwrap());
    let mut peer = upgraded(&fixture, "/").await;
    peer.expect_close(1013, "connection_limit").await;
    drop(held);
    // The first is not over yet.
    let mut denied = upgraded(&fixture, "/403").await;
    assert_eq!(fixture.permits.available_permits(), all);
    denied.expect_close(3003, "not_in_team").await;
}

//= rfc6455#4.2.1-10 test
#[tokio::test(start_paused = true)]
async fn only_a_page_of_an_allowed_origin_sees_a_refusal() {
    let mut fixture = fixture();
    let no_origin = request_with("/403", "").replace("Origin: https://app.example\r\n", "");
    refused(&fixture, &no_origin, 403).await;
    // A request that is invalid is no page's.
    refused(&fixture, &request_with("/403", "").replace("Version: 13", "Version: 12"), 426).await;
    // An error of the server is no refusal.
    refused(&fixture, &request_with("/panics", ""), 500).await;
    let origins = Origins {
        allowed: vec!["https://other.example".parse().unwrap()],
        missing: Permission::Allow,
        null: Permission::Refuse,
    };
    fixture.policy = Arc::new(Policy { origins, ..Policy::clone(&fixture.policy) });
    refused(&fixture, &request_with("/403", ""), 403).await;
    assert_eq!(
        fixture.log.take(),
        [
            "refused 192.0.2.7:4711 application not_in_team",
            "refused 192.0.2.7:4711 websocket_version",
            "refused 192.0.2.7:4711 internal_error",
            "refused 192.0.2.7:4711 origin_refused",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn by_default_a_denial_is_a_response() {
    let mut fixture = fixture();
    fixture.policy = Arc::new(Policy { visible_refusals: false, ..Policy::clone(&fixture.policy) });
    refused(&fixture, &request_with("/403", ""), 403).await;
    fixture.drain.start(DrainOptions::default());
    refused(&fixture, REQUEST, 503).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_sees_that_the_server_is_draining_and_the_drain_waits_for_it() {
    // With a spread, a session would be closed later, and with another code.
    for spread in [Duration::ZERO, Duration::from_secs(10)] {
        let fixture = fixture();
        let session = upgraded(&fixture, "/").await;
        fixture.drain.start(DrainOptions { spread, ..DrainOptions::default() });
        let mut peer = upgraded(&fixture, "/").await;
        drop(session);
        peer.expect_close(1013, "draining").await;
        let began = Instant::now();
        in_time(fixture.drain.closed()).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_drain_waits_for_no_page() {
    let fixture = fixture();
    let mut peer = upgraded(&fixture, "/403").await;
    peer.expect_close(3003, "not_in_team").await;
    fixture.drain.abort();
    let began = Instant::now();
    in_time(fixture.drain.closed()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_offers_subprotocols_gets_the_first() {
    let fixture = fixture();
    let mut peer = fixture.connect();
    let lines =
        "Sec-WebSocket-Protocol: chat, v2\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    peer.send(request_with("/403", lines).as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.contains("\r\nsec-websocket-protocol: chat\r\n"), "{head}");
    assert!(!head.contains("permessage-deflate"), "{head}");
    peer.expect_close(3003, "not_in_team").await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_after_a_second_whatever_the_client_does() {
    let fixture = fixture();
    let silent = upgraded(&fixture, "/403").await;
    let mut busy = upgraded(&fixture, "/403").await;
    busy.send(&[frame(TEXT, b"hello"), frame(PING, b"?")].concat()).await;
    let mut half_open = upgraded(&fixture, "/403").await;
    half_open.send(&frame(TEXT, &[b'x'; 100])[..20]).await;
    for mut peer in [silent, busy, half_open] {
        let began = Instant::now();
        peer.expect_close(3003, "not_in_team").await;
        peer.expect_end().await;
        assert!(began.elapsed() <= Duration::from_secs(1));
    }
    assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 application not_in_team by 3003"; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_a_page_sends_at_once_does_not_cost_it_the_closing_handshake() {
    let fixture = fixture();
    let mut peer = upgraded(&fixture, "/403").await;
    // A page may send its token when the socket opens, as large as a session would take it.
    peer.send(&frame(TEXT, &[b'x'; SIZES.max_message_bytes])).await;
    peer.expect_close(3003, "not_in_team").await;
    let began = Instant::now();
    peer.expect_end().await;
    assert_eq!(began.elapsed(), Duration::from_secs(1), "the server waits for the page's Close");
}

#[tokio::test(start_paused = true)]
async fn there_are_at_most_128_visible_refusals_and_the_next_is_a_response() {
    let fixture = fixture();
    let mut request = valid_request();
    *request.uri_mut() = "/403".parse().unwrap();
    request.headers_mut().insert(ORIGIN, HeaderValue::from_static("https://app.example"));
    let mut refusals = Vec::new();
    for _ in 0..MAX_VISIBLE_REFUSALS {
        match fixture.answer(&request).await {
            Answer::RefuseVisibly(refusal) => refusals.push(refusal),
            Answer::Open(_) | Answer::Refuse(_) => panic!("there is room for one more"),
        }
    }
    refused(&fixture, &request_with("/403", ""), 403).await;
    // A client that leaves makes room.
    drop(refusals.pop());
    let mut peer = upgraded(&fixture, "/403").await;
    refused(&fixture, &request_with("/403", ""), 403).await;
    // And so does one that answers, and one whose second is over.
    peer.expect_close(3003, "not_in_team").await;
    peer.send(&close(3003, "")).await;
    peer.expect_end().await;
    let mut silent = upgraded(&fixture, "/403").await;
    refused(&fixture, &request_with("/403", ""), 403).await;
    silent.expect_close(3003, "not_in_team").await;
    silent.expect_end().await;
    upgraded(&fixture, "/403").await.expect_close(3003, "not_in_team").await;
}
