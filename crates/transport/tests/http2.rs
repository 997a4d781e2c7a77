//! A session on a stream of an HTTP/2 connection: how it begins, flows, stalls and ends.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use hyper::{Request, Response};
use support::{
    BINARY, CLOSE, Chatter, PING, PONG, SIZES, close, close_payload, config, frame, in_time,
    kept_drain,
};
use tokio::io::duplex;
use transport::ws_core::Limits;
use transport::{
    Client, Discard, Drain, DrainOptions, Endpoint, EndpointEvent, Handler, Observer,
    OriginPattern, Origins, Permission, Permit, Policy, Rejection,
};

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let note = match event {
            EndpointEvent::Closed { record, .. } => format!("closed {}", record.cause),
            EndpointEvent::Opened { protocol, .. } => format!("opened {}", protocol.as_str()),
            EndpointEvent::Refused { protocol, rejection, .. } => {
                format!("refused {rejection} {}", protocol.unwrap().as_str())
            }
            EndpointEvent::Panicked { .. } | EndpointEvent::Traffic { .. } | _ => return,
        };
        self.0.lock().unwrap().push(note);
    }
}

/// An endpoint behind one HTTP/2 connection, and its client.
struct World {
    client: SendRequest<Bytes>,
    notes: Arc<Notes>,
    drain: Drain,
}

impl World {
    async fn new(handler: impl Handler + Clone + Sync) -> Self {
        Self::with(handler, h2::client::Builder::new()).await
    }

    async fn with(handler: impl Handler + Clone + Sync, client: h2::client::Builder) -> Self {
        let (near, far) = duplex(64 * 1024);
        let (notes, drain) = (Arc::new(Notes::default()), kept_drain());
        let endpoint = Endpoint::new(handler, Arc::clone(&notes));
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
        };
        let guest =
            Client { peer: transport::Peer::Local, is_encrypted: true, token: drain.token() };
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let mut connection = builder.handshake(near).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, receiver) = request.into_parts();
                let request = Request::from_parts(head, ());
                let answer = match request.uri().path() {
                    "/" => endpoint.answer(&request, &guest, &policy, || Ok(Permit::new(()))),
                    _ => endpoint.refuse(Rejection::NotFound, &request, &guest),
                };
                answer.over_http2(request.method(), receiver, respond, |stream| stream);
            }
        });
        let (client, connection) = client.handshake(far).await.unwrap();
        tokio::spawn(connection);
        Self { client, notes, drain }
    }

    /// A request, and the head of its answer.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
    ) -> (Response<RecvStream>, Option<SendStream<Bytes>>) {
        let mut client = in_time(self.client.clone().ready()).await.unwrap();
        // The server's settings have to be there first (RFC 8441, section 3).
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let is_connect = method == "CONNECT";
        let mut request =
            Request::builder().method(method).uri(format!("https://server.example{path}"));
        if is_connect {
            request = request
                .extension(h2::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13");
        }
        let request = request.body(()).unwrap();
        let (response, sender) = client.send_request(request, !is_connect).unwrap();
        (in_time(response).await.unwrap(), is_connect.then_some(sender))
    }

    async fn open(&mut self) -> Stream {
        let (response, sender) = self.ask("CONNECT", "/").await;
        assert_eq!(response.status(), 200);
        Stream { sender: sender.unwrap(), receiver: response.into_body() }
    }

    fn notes(&self) -> Vec<String> {
        self.notes.0.lock().unwrap().clone()
    }
}

/// The client's end of a stream.
struct Stream {
    sender: SendStream<Bytes>,
    receiver: RecvStream,
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) {
        self.sender.send_data(Bytes::copy_from_slice(bytes), false).unwrap();
    }

    /// What comes next; `None` is the end of the stream.
    async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = in_time(self.receiver.data()).await;
        if let Some(Ok(data)) = &data {
            self.receiver.flow_control().release_capacity(data.len()).unwrap();
        }
        data
    }

    /// Expects `END_STREAM` and nothing else, no reset either.
    async fn expect_end(&mut self) {
        assert_eq!(self.data().await.unwrap().unwrap(), b""[..]);
        assert!(self.data().await.is_none());
    }

    async fn expect(&mut self, first: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert_eq!(self.data().await.unwrap().unwrap(), [&[first, length], payload].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_share_a_connection_and_each_has_its_own_end() {
    let mut world = World::new(Discard).await;
    let (mut first, mut second) = (world.open().await, world.open().await);
    first.send(&frame(PING, b"first"));
    second.send(&frame(PING, b"second"));
    second.expect(PONG, b"second").await;
    first.expect(PONG, b"first").await;
    first.send(&close(1000, "bye"));
    first.expect(CLOSE, &close_payload(1000, "bye")).await;
    first.expect_end().await;
    // And the other lives.
    second.expect(PING, &[0, 0, 0, 1]).await;
    let opened = "opened http/2+tls";
    assert_eq!(world.notes(), [opened, opened, "closed peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_or_is_reset_is_a_client_that_hung_up() {
    let mut world = World::new(Discard).await;
    let mut ended = world.open().await;
    ended.sender.send_data(Bytes::new(), true).unwrap();
    // As over TCP, an end in order is answered by one (RFC 8441, section 5).
    ended.expect_end().await;
    let mut reset = world.open().await;
    reset.sender.send_reset(Reason::CANCEL);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let closed = "closed disconnected";
    assert_eq!(world.notes(), ["opened http/2+tls", closed, "opened http/2+tls", closed]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_grants_no_window_meets_the_write_timeout_and_nothing_piles_up() {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(100);
    let chatter = Chatter::default();
    let mut world = World::with(chatter.clone(), client).await;
    let stream = world.open().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.notes(), ["opened http/2+tls", "closed write_timeout"]);
    let said = chatter.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(said < 20_000, "{said} messages of nine bytes");
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_opens_slowly_is_used_as_it_opens() {
    let mut client = h2::client::Builder::new();
    client.initial_window_size(5);
    let mut world = World::with(Chatter::default(), client).await;
    let mut stream = world.open().await;
    let mut came = Vec::new();
    for _ in 0..100 {
        let data = in_time(stream.receiver.data()).await.unwrap().unwrap();
        assert!(data.len() <= 5);
        came.extend_from_slice(&data);
        tokio::time::sleep(Duration::from_secs(5)).await;
        stream.receiver.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(came.starts_with(b"\x81\x07chatter\x81\x07chatter"));
    assert_eq!(world.notes(), ["opened http/2+tls"], "who reads slowly is not cut");
}

#[tokio::test(start_paused = true)]
async fn a_message_may_come_in_any_number_of_data_frames_empty_ones_as_well() {
    let mut world = World::new(Discard).await;
    let mut stream = world.open().await;
    for byte in frame(BINARY, b"in parts") {
        stream.send(&[byte]);
        stream.send(&[]);
    }
    stream.send(&frame(PING, b"still here"));
    stream.expect(PONG, b"still here").await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_every_stream_with_its_code() {
    let mut world = World::new(Discard).await;
    let mut streams = [world.open().await, world.open().await, world.open().await];
    world.drain.start(DrainOptions::default());
    for stream in &mut streams {
        stream.expect(CLOSE, &close_payload(1001, "drained")).await;
        stream.send(&close(1001, ""));
        stream.expect_end().await;
    }
    let (response, _) = world.ask("CONNECT", "/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(world.notes().last().unwrap(), "refused draining http/2+tls");
}

#[tokio::test(start_paused = true)]
async fn the_last_word_of_a_session_that_nobody_waits_for_is_sent_all_the_same() {
    let mut world = World::new(Discard).await;
    let mut stream = world.open().await;
    world.drain.abort();
    stream.expect(CLOSE, &close_payload(1001, "drained")).await;
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_one_of_http_1_1_without_headers_that_are_about_a_connection() {
    let mut world = World::new(Discard).await;
    let (response, _) = world.ask("GET", "/").await;
    let (head, mut body) = response.into_parts();
    assert_eq!(head.status, Rejection::NotAnUpgrade.status());
    let names: Vec<&str> = head.headers.keys().map(hyper::header::HeaderName::as_str).collect();
    assert_eq!(names, ["content-type", "cache-control", "content-length", "date"]);
    let text = in_time(body.data()).await.unwrap().unwrap();
    assert!(text.starts_with(b"not_an_upgrade: "));
    assert_eq!(head.headers["content-length"], text.len().to_string());
    let date = head.headers["date"].to_str().unwrap();
    httpdate::parse_http_date(date).expect("it is a date of RFC 9110, section 5.6.7");

    let (response, _) = world.ask("HEAD", "/elsewhere").await;
    assert_eq!(response.status(), 404);
    assert!(response.headers().contains_key("content-length"));
    assert!(response.into_body().is_end_stream(), "a HEAD has no body");
}
