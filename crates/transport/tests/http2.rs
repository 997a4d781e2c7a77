//! Sessions on the streams of an HTTP/2 connection: opening, flow control, drains, ends and refusals.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http2_client::{Http2Client, Stream};
use hyper::{Request, Response};
use support::{
    BINARY, CLOSE, FloodingHandler, PING, PONG, SIZES, TIMING, close, close_payload, config, frame,
    in_time, spawned_drain,
};
use tokio::io::duplex;
use tokio::time::{Instant, Interval, interval};
use transport::ws_core::Limits;
use transport::{
    Answer, Client, CompressionOptions, Discard, Drain, DrainOptions, Endpoint, EndpointEvent,
    Handler, Message, Next, Observer, OriginPattern, Origins, Permission, Permit, Policy,
    Rejection,
};

/// Records the events that open, close or refuse sessions, as text.
#[derive(Debug, Default)]
struct EventLog(Mutex<Vec<String>>);

impl Observer for EventLog {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let line = match event {
            EndpointEvent::Closed { record, .. } => format!("closed {}", record.cause),
            EndpointEvent::Opened { protocol, .. } => format!("opened {}", protocol.as_str()),
            EndpointEvent::Refused { protocol, rejection, .. } => {
                format!("refused {rejection} {}", protocol.unwrap().as_str())
            }
            EndpointEvent::Panicked { .. } | EndpointEvent::Traffic { .. } | _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// An HTTP/2 connection to an endpoint, and its client.
struct Fixture {
    client: Http2Client,
    log: Arc<EventLog>,
    drain: Drain,
}

impl Fixture {
    async fn new(handler: impl Handler + Clone + Sync) -> Self {
        Self::with(handler, h2::client::Builder::new()).await
    }

    async fn with(handler: impl Handler + Clone + Sync, client: h2::client::Builder) -> Self {
        let (near, far) = duplex(64 * 1024);
        let (log, drain) = (Arc::new(EventLog::default()), spawned_drain());
        let endpoint = Endpoint::new(Arc::clone(&log));
        let policy = Policy {
            origins: Origins {
                allowed: vec![OriginPattern::Any],
                missing: Permission::Allow,
                null: Permission::Refuse,
            },
            session: config(Limits {
                write_timeout: Some(Duration::from_secs(10)),
                ..Limits::default()
            }),
            sizes: SIZES,
            compression: CompressionOptions::default(),
            visible_refusals: false,
        };
        let client_info = Client {
            peer: transport::Peer::Local,
            is_encrypted: true,
            certificate_name: None,
            token: drain.token(),
        };
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let mut connection = builder.handshake(near).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, receiver) = request.into_parts();
                let request = Request::from_parts(head, ());
                let answer = match request.uri().path() {
                    "/" => {
                        let permit = || Ok(Permit::new(()));
                        endpoint.answer(&handler, &request, &client_info, &policy, permit).await
                    }
                    _ => {
                        Answer::Refuse(endpoint.refuse(Rejection::NotFound, &request, &client_info))
                    }
                };
                answer.over_http2(request.method(), receiver, respond, |stream| stream);
            }
        });
        Self { client: Http2Client::new(client, far).await, log, drain }
    }

    async fn request(&self, method: &str, path: &str) -> Response<RecvStream> {
        let (response, _) = self.client.send(method, path, &[]).await;
        in_time(response).await.unwrap()
    }

    async fn open(&self) -> Stream {
        self.client.open().await
    }

    fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }
}

//= rfc8441#5-6 rfc8441#5-7 test
#[tokio::test(start_paused = true)]
async fn sessions_share_a_connection_and_end_independently() {
    let fixture = Fixture::new(Discard).await;
    let (mut first, mut second) = (fixture.open().await, fixture.open().await);
    first.send(&frame(PING, b"first"));
    second.send(&frame(PING, b"second"));
    second.expect(PONG, b"second").await;
    first.expect(PONG, b"first").await;
    first.send(&close(1000, "bye"));
    first.expect(CLOSE, &close_payload(1000, "bye")).await;
    first.expect_end().await;
    // The other session goes on.
    second.expect(PING, &[0, 0, 0, 1]).await;
    let opened = "opened http/2+tls";
    assert_eq!(fixture.log(), [opened, opened, "closed peer_closed"]);
}

//= rfc8441#5-7 test
#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_or_is_reset_is_a_disconnected_client() {
    let fixture = Fixture::new(Discard).await;
    let mut ended = fixture.open().await;
    ended.sender.send_data(Bytes::new(), true).unwrap();
    // As over TCP, an orderly end is answered by one (RFC 8441, section 5).
    ended.expect_end().await;
    let mut reset = fixture.open().await;
    reset.sender.send_reset(Reason::CANCEL);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let closed = "closed disconnected";
    assert_eq!(fixture.log(), ["opened http/2+tls", closed, "opened http/2+tls", closed]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_grants_no_window_reaches_the_write_timeout_and_output_stays_bounded() {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(100);
    let handler = FloodingHandler::default();
    let fixture = Fixture::with(handler.clone(), client).await;
    let stream = fixture.open().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fixture.log(), ["opened http/2+tls", "closed write_timeout"]);
    let sent = handler.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 20_000, "{sent} messages of nine bytes");
    drop(stream);
}

/// Sends a state every 400 ms.
struct PeriodicHandler(Interval);

impl Clone for PeriodicHandler {
    fn clone(&self) -> Self {
        Self(interval(self.0.period()))
    }
}

impl Handler for PeriodicHandler {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.0.poll_tick(cx).map(|_| Next::Send(Message::Text("state".into())))
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_states_and_answers_no_ping_reaches_the_pong_timeout() {
    let opened = Instant::now();
    let fixture = Fixture::new(PeriodicHandler(interval(Duration::from_millis(400)))).await;
    let mut stream = fixture.open().await;
    while let Some(Ok(_)) = stream.data().await {}
    assert_eq!(fixture.log(), ["opened http/2+tls", "closed pong_timeout"]);
    assert!(opened.elapsed() < TIMING.ping_interval + TIMING.pong_timeout + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_slowly_is_used_as_it_opens() {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(5);
    let fixture = Fixture::with(FloodingHandler::default(), client).await;
    let mut stream = fixture.open().await;
    let mut received = Vec::new();
    for _ in 0..100 {
        let data = in_time(stream.receiver.data()).await.unwrap().unwrap();
        assert!(data.len() <= 5);
        received.extend_from_slice(&data);
        tokio::time::sleep(Duration::from_secs(5)).await;
        stream.receiver.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(received.starts_with(b"\x81\x07chatter\x81\x07chatter"));
    assert_eq!(fixture.log(), ["opened http/2+tls"], "a slow reader stays connected");
}

#[tokio::test(start_paused = true)]
async fn a_message_may_span_any_number_of_data_frames_including_empty_ones() {
    let fixture = Fixture::new(Discard).await;
    let mut stream = fixture.open().await;
    for byte in frame(BINARY, b"in parts") {
        stream.send(&[byte]);
        stream.send(&[]);
    }
    stream.send(&frame(PING, b"still here"));
    stream.expect(PONG, b"still here").await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_every_stream_with_its_code() {
    let fixture = Fixture::new(Discard).await;
    let mut streams = [fixture.open().await, fixture.open().await, fixture.open().await];
    fixture.drain.start(DrainOptions::default());
    for stream in &mut streams {
        stream.expect(CLOSE, &close_payload(1001, "drained")).await;
        stream.send(&close(1001, ""));
        stream.expect_end().await;
    }
    let response = fixture.request("CONNECT", "/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(fixture.log().last().unwrap(), "refused draining http/2+tls");
}

#[tokio::test(start_paused = true)]
async fn the_close_frame_of_an_aborted_session_is_sent() {
    let fixture = Fixture::new(Discard).await;
    let mut stream = fixture.open().await;
    fixture.drain.abort();
    stream.expect(CLOSE, &close_payload(1001, "drained")).await;
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_equals_that_of_http_1_1_without_connection_specific_headers() {
    let fixture = Fixture::new(Discard).await;
    let response = fixture.request("GET", "/").await;
    let (head, mut body) = response.into_parts();
    assert_eq!(head.status, Rejection::NotAnUpgrade.status());
    let names: Vec<&str> = head.headers.keys().map(hyper::header::HeaderName::as_str).collect();
    assert_eq!(names, ["content-type", "cache-control", "content-length", "date"]);
    let text = in_time(body.data()).await.unwrap().unwrap();
    assert!(text.starts_with(b"not_an_upgrade: "));
    assert_eq!(head.headers["content-length"], text.len().to_string());
    let date = head.headers["date"].to_str().unwrap();
    httpdate::parse_http_date(date).expect("a date (RFC 9110, section 5.6.7)");

    let response = fixture.request("HEAD", "/elsewhere").await;
    assert_eq!(response.status(), 404);
    assert!(response.headers().contains_key("content-length"));
    assert!(response.into_body().is_end_stream(), "the response to HEAD has no body");
}
