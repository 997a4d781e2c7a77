//! Ending the sessions of an identity from outside.
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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use endpoint::{AdmitBy, EventLog, Fixture, request_with, response_head, valid_request};
use hyper::Request;
use hyper::header::HeaderValue;
use support::{
    CLOSE, FloodingHandler, PING, PONG, Peer, TEXT, close, close_payload, frame, in_time,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep, timeout};
use transport::ws_core::{CloseCode, CloseFrame};
use transport::{
    Admission, Admit, Discard, DrainOptions, EndpointEvent, Handler, Handshake, Identity, Message,
    Next, SessionRegistry,
};

const PIPE_BYTES: usize = 64 * 1024;

fn logout() -> CloseFrame {
    CloseFrame { code: CloseCode::try_from(4001).unwrap(), reason: "logout".into() }
}

/// Admits everybody with the identity in the header `x-user`.
fn admit_with<H: Handler>(
    handler: impl Fn() -> H + Send + Sync + 'static,
) -> impl Admit<Handler = H> {
    AdmitBy(move |handshake: &Handshake<'_>| {
        let user = handshake.headers().get("x-user").map(|user| user.to_str().unwrap());
        let admission = Admission::new(handler());
        ready(Ok(match user {
            Some(user) => admission.identity(Identity::try_from(user).unwrap()),
            None => admission,
        }))
    })
}

fn fixture() -> Fixture<impl Admit<Handler = Discard> + 'static> {
    Fixture::with(admit_with(|| Discard))
}

fn request_of(user: &'static str) -> Request<()> {
    let mut request = valid_request();
    request.headers_mut().insert("x-user", HeaderValue::from_static(user));
    request
}

/// Lets all tasks run until they are idle.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

async fn expect_open(peer: &mut Peer) {
    peer.send(&frame(PING, b"?")).await;
    assert_eq!(peer.frame().await, (PONG, b"?".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn all_sessions_of_the_identity_are_closed_with_the_frame_and_no_others() {
    let fixture = fixture();
    let mut over_http1 = fixture.connect();
    over_http1.send(request_with("/", "x-user: alice\r\n").as_bytes()).await;
    response_head(&mut over_http1).await;
    let client = fixture.connect_http2().await;
    let (_, mut over_http2) = client.connect_with("/", &[("x-user", "alice")]).await;
    // The neighbours of the identity in the order of texts, and a session without one.
    let mut others = Vec::new();
    for user in ["alic", "alice ", "alice2", "Alice", "bob"] {
        others.push(fixture.open(&request_of(user), PIPE_BYTES).await);
    }
    others.push(fixture.open(&valid_request(), PIPE_BYTES).await);
    settle().await;
    assert_eq!(fixture.sessions.len(), 7);
    fixture.log.take();

    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 2);
    over_http1.expect_close(4001, "logout").await;
    over_http2.expect(CLOSE, &close_payload(4001, "logout")).await;
    for peer in &mut others {
        expect_open(peer).await;
    }
    over_http1.send(&close(4001, "")).await;
    over_http2.send(&close(4001, ""));
    settle().await;
    let closed =
        ["closed 1 disconnect_requested of alice", "closed 2 disconnect_requested of alice"];
    assert_eq!(fixture.log.take_main(), closed);
    assert_eq!((fixture.sessions.len(), fixture.sessions.disconnect("alice", &logout())), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_no_identity_has_no_sessions() {
    let fixture = fixture();
    let mut peer = fixture.open(&request_of("x"), PIPE_BYTES).await;
    settle().await;
    for text in ["", &"x".repeat(257), "y"] {
        assert_eq!(fixture.sessions.disconnect(text, &logout()), 0);
    }
    expect_open(&mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_an_identity_is_in_no_registry_and_its_events_have_none() {
    let fixture = fixture();
    let mut peer = fixture.open(&valid_request(), PIPE_BYTES).await;
    expect_open(&mut peer).await;
    assert_eq!((fixture.sessions.len(), fixture.sessions.is_empty()), (0, true));
    peer.send(&close(1000, "")).await;
    settle().await;
    assert_eq!(fixture.log.take_main(), ["opened 1 192.0.2.7:4711 - -", "closed 1 peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_session_have_its_identity_and_its_entry_ends_with_it() {
    let fixture = fixture();
    let mut peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    expect_open(&mut peer).await;
    assert_eq!((fixture.sessions.len(), fixture.sessions.is_empty()), (1, false));
    peer.send(&close(1000, "")).await;
    in_time(fixture.drain.closed()).await;
    assert_eq!(
        fixture.log.take_main(),
        ["opened 1 192.0.2.7:4711 - - of alice", "closed 1 peer_closed of alice"]
    );
    assert_eq!(fixture.sessions.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closing_keeps_its_cause() {
    let fixture = fixture();
    let mut peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    settle().await;
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 1);
    peer.expect_close(4001, "logout").await;
    let other = CloseFrame { code: CloseCode::NORMAL, reason: "again".into() };
    assert_eq!(fixture.sessions.disconnect("alice", &other), 1, "it has not ended");
    peer.send(&close(4001, "")).await;
    peer.expect_end().await;

    let mut drained = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    settle().await;
    fixture.drain.start(DrainOptions::default());
    drained.expect_close(1001, "drained").await;
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 1);
    drained.send(&close(1001, "")).await;
    drained.expect_end().await;
    let mut log = fixture.log.take_main();
    log.retain(|event| event.starts_with("closed"));
    assert_eq!(log, ["closed 1 disconnect_requested of alice", "closed 2 drained of alice"]);
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_a_spread_drain_has_not_reached_is_disconnected_at_once() {
    let fixture = fixture();
    let _first = fixture.open(&request_of("bob"), PIPE_BYTES).await;
    let mut second = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    settle().await;
    fixture
        .drain
        .start(DrainOptions { spread: Duration::from_secs(10), ..DrainOptions::default() });
    settle().await;
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 1);
    second.expect_close(4001, "logout").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_output_is_blocked_ends_when_the_close_timeout_is_over() {
    let fixture = Fixture::with(admit_with(FloodingHandler::default));
    let _peer = fixture.open(&request_of("alice"), 64).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 1);
    sleep(Duration::from_millis(2999)).await;
    assert_eq!(fixture.sessions.len(), 1);
    // The write timeout would end it after ten seconds.
    sleep(Duration::from_millis(2)).await;
    let log = fixture.log.take_main();
    assert_eq!(log.last().unwrap(), "closed 1 disconnect_requested of alice");
    assert!(fixture.sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_disconnected_as_soon_as_it_is_known_to_be_open() {
    let sessions = SessionRegistry::default();
    let (of_observer, counts) = (sessions.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&counts);
    let log = EventLog::with_hook(move |event| {
        if let EndpointEvent::Opened { identity: Some(identity), .. } = event {
            count
                .fetch_add(of_observer.disconnect(identity.as_str(), &logout()), Ordering::Relaxed);
        }
    });
    let fixture = Fixture::with_log(admit_with(FloodingHandler::default), log, sessions);
    let mut peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    // The handler always has a message, and sends none.
    peer.expect_close(4001, "logout").await;
    assert_eq!(counts.load(Ordering::Relaxed), 1);
}

/// Disconnects its own identity in its first poll, and then sends.
struct DisconnectsItself(Option<SessionRegistry>, Arc<AtomicUsize>);

impl Handler for DisconnectsItself {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        let Some(sessions) = self.0.take() else { return Poll::Pending };
        self.1.fetch_add(sessions.disconnect("alice", &logout()), Ordering::Relaxed);
        Poll::Ready(Next::Send(Message::Text("the last words".into())))
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_disconnect_its_own_identity_from_its_first_poll_on() {
    let sessions = SessionRegistry::default();
    let (registry, counts) = (sessions.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&counts);
    let admit = admit_with(move || DisconnectsItself(Some(registry.clone()), Arc::clone(&count)));
    let fixture = Fixture::with_log(admit, EventLog::default(), sessions);
    let mut peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    assert_eq!(peer.frame().await, (TEXT, b"the last words".to_vec()));
    peer.expect_close(4001, "logout").await;
    assert_eq!(counts.load(Ordering::Relaxed), 1, "it is entered before its first poll");
}

/// Disconnects an identity when it is woken.
struct DisconnectingWaker(SessionRegistry, AtomicUsize);

impl Wake for DisconnectingWaker {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(self.0.disconnect("alice", &logout()), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_disconnect_the_session_that_wakes_it() {
    let fixture = fixture();
    let mut peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    let mut other = fixture.open(&request_of("alice"), PIPE_BYTES).await;
    settle().await;
    peer.send(&frame(PING, b"?")).await;
    // The session wakes this when it writes the pong.
    let waker = Arc::new(DisconnectingWaker(fixture.sessions.clone(), AtomicUsize::new(0)));
    let mut buffer = [0; 3];
    let mut buffer = ReadBuf::new(&mut buffer);
    let reader = Waker::from(Arc::clone(&waker));
    let mut cx = Context::from_waker(&reader);
    assert!(Pin::new(&mut peer.0).poll_read(&mut cx, &mut buffer).is_pending());
    other.expect_close(4001, "logout").await;
    assert_eq!(waker.1.load(Ordering::Relaxed), 2);
    assert_eq!(peer.frame().await, (PONG, b"?".to_vec()));
    peer.expect_close(4001, "logout").await;
}

#[test]
fn a_session_that_is_dropped_with_its_runtime_leaves_no_entry() {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let sessions = runtime.block_on(async {
        let fixture = fixture();
        let _peer = fixture.open(&request_of("alice"), PIPE_BYTES).await;
        while fixture.sessions.is_empty() {
            tokio::task::yield_now().await;
        }
        // The request is pending when the session is dropped.
        assert_eq!(fixture.sessions.disconnect("alice", &logout()), 1);
        fixture.sessions.clone()
    });
    assert_eq!(sessions.len(), 1);
    drop(runtime);
    assert_eq!((sessions.len(), sessions.disconnect("alice", &logout())), (0, 0));
}

/// Admits everybody as alice, once for each notification.
fn admitting_alice() -> (Fixture<impl Admit<Handler = Discard> + 'static>, Arc<Notify>) {
    let decided = Arc::new(Notify::new());
    let decision = Arc::clone(&decided);
    let fixture = Fixture::with(AdmitBy(move |_: &Handshake<'_>| {
        let decision = Arc::clone(&decision);
        async move {
            decision.notified().await;
            Ok(Admission::new(Discard).identity(Identity::try_from("alice").unwrap()))
        }
    }));
    (fixture, decided)
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_disconnected_while_being_admitted_is_disconnected_at_the_opening() {
    let (fixture, decided) = admitting_alice();
    let mut peer = fixture.connect();
    peer.send(request_with("/", "").as_bytes()).await;
    settle().await;
    assert_eq!(
        fixture
            .sessions
            .disconnect("bob", &CloseFrame { code: CloseCode::NORMAL, reason: "".into() }),
        0
    );
    assert_eq!(fixture.sessions.disconnect("alice", &logout()), 0);
    decided.notify_one();
    response_head(&mut peer).await;
    peer.expect_close(4001, "logout").await;

    // A handshake that begins later is not affected.
    let mut later = fixture.connect();
    later.send(request_with("/", "").as_bytes()).await;
    settle().await;
    decided.notify_one();
    response_head(&mut later).await;
    expect_open(&mut later).await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_during_an_admission_is_remembered_for_a_minute() {
    for (wait, is_remembered) in [(60_000, true), (60_001, false)] {
        let (fixture, decided) = admitting_alice();
        let mut peer = fixture.connect();
        peer.send(request_with("/", "").as_bytes()).await;
        settle().await;
        fixture.sessions.disconnect("alice", &logout());
        advance(Duration::from_millis(wait)).await;
        // Each call forgets those that are too old.
        fixture.sessions.disconnect("bob", &logout());
        decided.notify_one();
        response_head(&mut peer).await;
        if is_remembered {
            peer.expect_close(4001, "logout").await;
        } else {
            expect_open(&mut peer).await;
        }
    }
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Opens sessions until one that it opened is disconnected, and returns how many.
async fn reconnect(fixture: Arc<Fixture<impl Admit<Handler = Discard> + 'static>>, index: usize) {
    for round in 0..50 {
        let user = USERS[(index + round) % USERS.len()];
        let mut peer = fixture.open(&request_of(user), PIPE_BYTES).await;
        if round % 3 == 0 {
            peer.send(&close(1000, "")).await;
        }
        // Every session ends: closed by its client, disconnected, or aborted with the pipe.
        if round % 3 != 2 {
            let (first, payload) = peer.frame().await;
            assert_eq!(first, CLOSE);
            let codes: [&[u8]; 2] = [&close_payload(4001, "logout"), &close_payload(1000, "")];
            assert!(codes.contains(&&*payload), "{payload:?}");
        }
    }
}

#[test]
fn sessions_that_open_and_close_while_threads_disconnect_them_leave_nothing() {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    runtime.unwrap().block_on(async {
        let fixture = Arc::new(fixture());
        let sessions = fixture.sessions.clone();
        let is_over = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1, 2].map(|index| {
            let (sessions, is_over) = (sessions.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut count = 0;
                while is_over.load(Ordering::Relaxed) == 0 {
                    count += sessions.disconnect(USERS[index], &logout());
                    count += sessions.disconnect(USERS[3], &logout());
                    std::thread::yield_now();
                }
                count
            })
        });
        let mut clients = JoinSet::new();
        for index in 0..16 {
            clients.spawn(reconnect(Arc::clone(&fixture), index));
        }
        // A session that is not disconnected would wait for its first ping.
        timeout(Duration::from_secs(20), clients.join_all()).await.unwrap();
        in_time(fixture.drain.closed()).await;
        is_over.store(1, Ordering::Relaxed);
        let counts = threads.map(|thread| thread.join().unwrap());
        assert!(counts.iter().sum::<usize>() > 0, "some sessions were disconnected");
        assert_eq!(sessions.len(), 0);
        for user in USERS {
            assert_eq!(sessions.disconnect(user, &logout()), 0);
        }
        let log = fixture.log.take_main();
        let count = |word: &str| log.iter().filter(|event| event.starts_with(word)).count();
        assert_eq!((count("opened"), count("closed")), (16 * 50, 16 * 50));
    });
}
