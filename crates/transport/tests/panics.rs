//! Panics of code that an endpoint calls: each ends what it was called for, and nothing around it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::{Request, StatusCode};
use support::{CLOSE, PONG, SIZES, TEXT, close, close_payload, config, frame, in_time, kept_drain};
use tokio::io::duplex;
use tokio::time::sleep;
use transport::ws_core::Limits;
use transport::{
    Client, Discard, Drain, Endpoint, EndpointEvent, Handler, Message, Next, Observer,
    OriginPattern, Origins, Permission, Permit, PermitPool, Policy, Rejection,
};

/// Keeps each fact's word, and panics after that at each fact that it is to panic at.
#[derive(Debug, Default)]
struct Notes {
    words: Mutex<Vec<String>>,
    panics_at: &'static [&'static str],
}

impl Observer for Notes {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let word = match event {
            EndpointEvent::Closed { record, .. } => format!("closed {}", record.cause),
            EndpointEvent::Opened { .. } => "opened".to_owned(),
            EndpointEvent::Panicked { .. } => "panicked".to_owned(),
            EndpointEvent::Refused { rejection, .. } => format!("refused {rejection}"),
            EndpointEvent::Traffic { .. } => "tally".to_owned(),
            other => panic!("{other:?} is new"),
        };
        self.words.lock().unwrap().push(word.clone());
        let is_fatal = self.panics_at.iter().any(|at| word.starts_with(at));
        assert!(!is_fatal, "the observer panics at this");
    }
}

type FindSlot = fn() -> Result<Permit, Rejection>;

fn free() -> Result<Permit, Rejection> {
    Ok(Permit::new(()))
}

/// An endpoint behind one HTTP/2 connection, and its client.
struct World {
    client: SendRequest<Bytes>,
    notes: Arc<Notes>,
    _drain: Drain,
}

impl World {
    /// The request with the number N gets its place by the N-th of `slots`, or by the last.
    async fn new(
        handler: impl Handler + Clone + Sync,
        panics_at: &'static [&'static str],
        slots: &'static [FindSlot],
    ) -> Self {
        let (near, far) = duplex(64 * 1024);
        let (notes, drain) = (Arc::new(Notes { panics_at, ..Notes::default() }), kept_drain());
        let endpoint = Endpoint::new(handler, Arc::clone(&notes));
        let policy = policy();
        let guest =
            Client { peer: transport::Peer::Local, is_encrypted: false, token: drain.token() };
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let mut connection = builder.handshake(near).await.unwrap();
            let mut slots = slots.iter().cycle();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, receiver) = request.into_parts();
                let request = Request::from_parts(head, ());
                let answer = endpoint.answer(&request, &guest, &policy, slots.next().unwrap());
                answer.over_http2(request.method(), receiver, respond, |stream| stream);
            }
        });
        let (client, connection) = h2::client::handshake(far).await.unwrap();
        tokio::spawn(connection);
        Self { client, notes, _drain: drain }
    }

    async fn request(&mut self) -> (ResponseFuture, SendStream<Bytes>) {
        let mut client = in_time(self.client.clone().ready()).await.unwrap();
        // The server's settings have to be there first (RFC 8441, section 3).
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let request = Request::builder()
            .method("CONNECT")
            .uri("https://server.example/")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        client.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// Asks for a session, and says what the answer is.
    async fn ask(&mut self) -> (StatusCode, Stream) {
        let (response, sender) = self.request().await;
        let response = in_time(response).await.unwrap();
        (response.status(), Stream { sender, receiver: response.into_body() })
    }

    async fn open(&mut self) -> Stream {
        let (status, stream) = self.ask().await;
        assert_eq!(status, StatusCode::OK);
        stream
    }

    /// What was told, once nothing happens any more.
    async fn told(&self) -> Vec<String> {
        sleep(Duration::from_secs(1)).await;
        self.notes.words.lock().unwrap().clone()
    }
}

fn policy() -> Policy {
    Policy {
        origins: Origins {
            allowed: vec![OriginPattern::Any],
            missing: Permission::Allow,
            null: Permission::Refuse,
        },
        session: config(Limits::default()),
        sizes: SIZES,
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

    async fn expect(&mut self, first: u8, payload: &[u8]) {
        let data = in_time(self.receiver.data()).await.unwrap().unwrap();
        let length = u8::try_from(payload.len()).unwrap();
        assert_eq!(data, [&[first, length], payload].concat());
    }

    /// Completes the closing handshake.
    async fn close(&mut self) {
        self.send(&close(1000, ""));
        self.expect(CLOSE, &close_payload(1000, "")).await;
        // The stream may have ended already.
        let _ = self.sender.send_data(Bytes::new(), true);
    }

    async fn expect_life(&mut self) {
        self.send(&frame(support::PING, b"?"));
        self.expect(PONG, b"?").await;
    }
}

/// Panics at its second clone, and otherwise says nothing.
#[derive(Default)]
struct CannotBeCloned(Arc<AtomicUsize>);

impl Clone for CannotBeCloned {
    fn clone(&self) -> Self {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 1, "the clone panics");
        Self(Arc::clone(&self.0))
    }
}

impl Handler for CannotBeCloned {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_cannot_be_cloned_is_a_refusal_and_other_sessions_go_on() {
    let mut world = World::new(CannotBeCloned::default(), &[], &[free]).await;
    let mut first = world.open().await;
    assert_eq!(world.ask().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let mut third = world.open().await;
    for session in [&mut first, &mut third] {
        session.expect_life().await;
        session.close().await;
    }
    let told = world.told().await;
    assert_eq!(told.iter().filter(|word| *word == "refused internal_error").count(), 1);
    assert_eq!(told.iter().filter(|word| *word == "closed peer_closed").count(), 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn no_place_is_asked_for_when_the_handler_cannot_be_cloned() {
    let handler = CannotBeCloned(Arc::new(AtomicUsize::new(1)));
    let endpoint = Endpoint::new(handler, Arc::new(Notes::default()));
    let drain = kept_drain();
    let client = Client { peer: transport::Peer::Local, is_encrypted: false, token: drain.token() };
    let request = Request::get("/")
        .header("host", "a")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = request.body(()).unwrap();
    let asked = AtomicUsize::new(0);
    let slot = || {
        asked.fetch_add(1, Ordering::Relaxed);
        free()
    };
    let transport::Answer::Refuse(response) = endpoint.answer(&request, &client, &policy(), slot)
    else {
        panic!("it has no handler")
    };
    assert_eq!(response.status(), 500);
    assert!(response.body().starts_with("internal_error: "));
    assert_eq!(asked.into_inner(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_function_that_panics_is_a_refusal() {
    let slots: &[FindSlot] = &[free, || panic!("the function panics")];
    let mut world = World::new(Discard, &[], slots).await;
    let mut first = world.open().await;
    assert_eq!(world.ask().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    first.expect_life().await;
}

/// Places that cannot be given back.
struct Lost;

impl PermitPool for Lost {
    fn release(&self) {
        panic!("the place is lost");
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the drop panics");
    }
}

#[test]
fn a_place_that_cannot_be_given_back_holds_up_nobody() {
    drop(Permit::of(Arc::new(Lost)));
    drop(Permit::new(Bomb));
}

/// Panics when a clone of it is dropped.
struct Clinging(bool);

impl Clone for Clinging {
    fn clone(&self) -> Self {
        Self(true)
    }
}

impl Drop for Clinging {
    fn drop(&mut self) {
        assert!(!self.0, "the drop panics");
    }
}

impl Handler for Clinging {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_drop_of_a_handler_that_panics_ends_no_other_session() {
    // The second client gets no place, so what was cloned for it is dropped on the connection's way.
    let slots: &[FindSlot] = &[free, || Err(Rejection::ConnectionLimit)];
    let mut world = World::new(Clinging(false), &[], slots).await;
    let mut first = world.open().await;
    assert_eq!(world.ask().await.0, StatusCode::SERVICE_UNAVAILABLE);
    first.expect_life().await;
    first.close().await;
    let told = world.told().await;
    assert_eq!(told, ["opened", "refused connection_limit", "tally", "closed peer_closed"]);
}

/// Panics at the first message.
#[derive(Clone)]
struct Fragile;

impl Handler for Fragile {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        panic!("as it was told to");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_at_everything_is_told_everything_and_no_session_ends_by_it() {
    const ALL: &[&str] = &["opened", "refused", "panicked", "tally", "closed"];
    let slots: &[FindSlot] = &[free, || Err(Rejection::ConnectionLimit), free];
    let mut world = World::new(Fragile, ALL, slots).await;
    let mut first = world.open().await;
    assert_eq!(world.ask().await.0, StatusCode::SERVICE_UNAVAILABLE);
    let mut third = world.open().await;
    first.send(&frame(TEXT, b"panic"));
    first.expect(CLOSE, &close_payload(1011, "panicked")).await;
    first.send(&close(1011, ""));
    third.expect_life().await;
    third.close().await;
    let told = world.told().await;
    let closed = ["closed panicked", "closed peer_closed"].map(str::to_owned);
    assert!(closed.iter().all(|closed| told.contains(closed)), "{told:?}");
    assert_eq!(told.iter().filter(|word| *word == "panicked").count(), 1);
    assert_eq!(told.iter().filter(|word| *word == "tally").count(), 2);
    assert!(told.contains(&"refused connection_limit".to_owned()));
}
