//! Panics in code that an endpoint calls: each is contained in the request or session that it belongs
//! to.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http2_client::{Http2Client, Stream};
use hyper::{Request, StatusCode};
use support::{CLOSE, SIZES, TEXT, close, close_payload, config, frame, spawned_drain};
use tokio::io::duplex;
use tokio::time::sleep;
use transport::ws_core::Limits;
use transport::{
    Client, CompressionOptions, Discard, Drain, Endpoint, EndpointEvent, Handler, Message, Next,
    Observer, OriginPattern, Origins, Permission, Permit, PermitPool, Policy, Rejection,
};

/// Records the name of each event, then panics at the events in `panics_at`.
#[derive(Debug, Default)]
struct EventLog {
    events: Mutex<Vec<String>>,
    panics_at: &'static [&'static str],
}

impl Observer for EventLog {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let name = match event {
            EndpointEvent::Closed { record, .. } => format!("closed {}", record.cause),
            EndpointEvent::Opened { .. } => "opened".to_owned(),
            EndpointEvent::HandedOver { .. } => "handed over".to_owned(),
            EndpointEvent::TakenOver { .. } => "taken over".to_owned(),
            EndpointEvent::Panicked { .. } => "panicked".to_owned(),
            EndpointEvent::Refused { rejection, .. } => format!("refused {rejection}"),
            EndpointEvent::Traffic { .. } => "traffic".to_owned(),
            other => panic!("{other:?} is new"),
        };
        self.events.lock().unwrap().push(name.clone());
        let is_fatal = self.panics_at.iter().any(|at| name.starts_with(at));
        assert!(!is_fatal, "the observer panics");
    }
}

type PermitFn = fn() -> Result<Permit, Rejection>;

fn granted() -> Result<Permit, Rejection> {
    Ok(Permit::new(()))
}

/// An HTTP/2 connection to an endpoint, and its client.
struct Fixture {
    client: Http2Client,
    log: Arc<EventLog>,
    _drain: Drain,
}

impl Fixture {
    /// The Nth request takes its permit from the Nth function of `permits`, in a cycle.
    async fn new(
        handler: impl Handler + Clone + Sync,
        panics_at: &'static [&'static str],
        permits: &'static [PermitFn],
    ) -> Self {
        let (near, far) = duplex(64 * 1024);
        let (log, drain) =
            (Arc::new(EventLog { panics_at, ..EventLog::default() }), spawned_drain());
        let endpoint = Endpoint::new(Arc::clone(&log));
        let policy = policy();
        let client_info = Client {
            peer: transport::Peer::Local,
            is_encrypted: false,
            certificate_name: None,
            token: drain.token(),
        };
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let mut connection = builder.handshake(near).await.unwrap();
            let mut permits = permits.iter().cycle();
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, receiver) = request.into_parts();
                let request = Request::from_parts(head, ());
                let permit = permits.next().unwrap();
                let answer = endpoint.answer(&handler, &request, &client_info, &policy, permit);
                answer.await.over_http2(request.method(), receiver, respond, |stream| stream);
            }
        });
        let client = Http2Client::new(h2::client::Builder::new(), far).await;
        Self { client, log, _drain: drain }
    }

    /// Requests a session and returns the status.
    async fn connect(&self) -> (StatusCode, Stream) {
        let (response, stream) = self.client.connect().await;
        (response.status(), stream)
    }

    async fn open(&self) -> Stream {
        self.client.open().await
    }

    /// Returns the events once all tasks are idle.
    async fn events(&self) -> Vec<String> {
        sleep(Duration::from_secs(1)).await;
        self.log.events.lock().unwrap().clone()
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
        compression: CompressionOptions::default(),
        visible_refusals: false,
    }
}

/// A handler whose second clone panics.
#[derive(Default)]
struct PanicsInClone(Arc<AtomicUsize>);

impl Clone for PanicsInClone {
    fn clone(&self) -> Self {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 1, "the clone panics");
        Self(Arc::clone(&self.0))
    }
}

impl Handler for PanicsInClone {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_clone_of_a_handler_is_a_refusal_and_other_sessions_go_on() {
    let fixture = Fixture::new(PanicsInClone::default(), &[], &[granted]).await;
    let mut first = fixture.open().await;
    assert_eq!(fixture.connect().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let mut third = fixture.open().await;
    for session in [&mut first, &mut third] {
        session.expect_pong().await;
        session.close().await;
    }
    let events = fixture.events().await;
    assert_eq!(events.iter().filter(|event| *event == "refused internal_error").count(), 1);
    assert_eq!(
        events.iter().filter(|event| *event == "closed peer_closed").count(),
        2,
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_released_when_the_clone_of_a_handler_panics() {
    let handler = PanicsInClone(Arc::new(AtomicUsize::new(1)));
    let endpoint = Endpoint::new(Arc::new(EventLog::default()));
    let drain = spawned_drain();
    let client = Client {
        peer: transport::Peer::Local,
        is_encrypted: false,
        certificate_name: None,
        token: drain.token(),
    };
    let request = Request::get("/")
        .header("host", "a")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = request.body(()).unwrap();
    let held = Arc::new(());
    let permit = || Ok(Permit::new(Arc::clone(&held)));
    let answer = endpoint.answer(&handler, &request, &client, &policy(), permit).await;
    let transport::Answer::Refuse(response) = answer else { panic!("the session has no handler") };
    assert_eq!(response.status(), 500);
    assert!(response.body().starts_with("internal_error: "));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_permit_function_is_a_refusal() {
    let permits: &[PermitFn] = &[granted, || panic!("the function panics")];
    let fixture = Fixture::new(Discard, &[], permits).await;
    let mut first = fixture.open().await;
    assert_eq!(fixture.connect().await.0, StatusCode::INTERNAL_SERVER_ERROR);
    first.expect_pong().await;
}

/// A permit pool that counts its releases and panics at each.
#[derive(Default)]
struct PanicsInRelease(AtomicUsize);

impl PermitPool for PanicsInRelease {
    fn release(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("the release panics");
    }
}

/// Panics when it is dropped.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("the drop panics");
    }
}

#[test]
fn a_panic_in_the_release_of_a_permit_is_contained() {
    let pool = Arc::new(PanicsInRelease::default());
    drop(Permit::of(Arc::<PanicsInRelease>::clone(&pool)));
    assert_eq!(pool.0.load(Ordering::Relaxed), 1);
    drop(Permit::new(PanicsInDrop));
}

/// A handler that panics when a clone of it is dropped.
struct CloneDropPanics(bool);

impl Clone for CloneDropPanics {
    fn clone(&self) -> Self {
        Self(true)
    }
}

impl Drop for CloneDropPanics {
    fn drop(&mut self) {
        assert!(!self.0, "the drop panics");
    }
}

impl Handler for CloneDropPanics {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_handler_ends_no_other_session() {
    // The second client gets no permit, so the connection task drops the clone made for it.
    let permits: &[PermitFn] = &[granted, || Err(Rejection::ConnectionLimit)];
    let fixture = Fixture::new(CloneDropPanics(false), &[], permits).await;
    let mut first = fixture.open().await;
    assert_eq!(fixture.connect().await.0, StatusCode::SERVICE_UNAVAILABLE);
    first.expect_pong().await;
    first.close().await;
    let events = fixture.events().await;
    assert_eq!(events, ["opened", "refused connection_limit", "traffic", "closed peer_closed"]);
}

/// A handler that panics at the first message.
#[derive(Clone)]
struct PanicsInReceive;

impl Handler for PanicsInReceive {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        panic!("the handler panics");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_receives_every_event_and_ends_no_session() {
    const ALL: &[&str] = &["opened", "refused", "panicked", "traffic", "closed"];
    let permits: &[PermitFn] = &[granted, || Err(Rejection::ConnectionLimit), granted];
    let fixture = Fixture::new(PanicsInReceive, ALL, permits).await;
    let mut first = fixture.open().await;
    assert_eq!(fixture.connect().await.0, StatusCode::SERVICE_UNAVAILABLE);
    let mut third = fixture.open().await;
    first.send(&frame(TEXT, b"panic"));
    first.expect(CLOSE, &close_payload(1011, "panicked")).await;
    first.send(&close(1011, ""));
    third.expect_pong().await;
    third.close().await;
    let events = fixture.events().await;
    let closed = ["closed panicked", "closed peer_closed"].map(str::to_owned);
    assert!(closed.iter().all(|closed| events.contains(closed)), "{events:?}");
    assert_eq!(events.iter().filter(|event| *event == "panicked").count(), 1);
    assert_eq!(events.iter().filter(|event| *event == "traffic").count(), 2);
    assert!(events.contains(&"refused connection_limit".to_owned()));
}
