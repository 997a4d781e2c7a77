//! The endpoint behind hyper: from the bytes of a request to the session and its facts.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::{
    BINARY, CLOSE, PING, PONG, Peer, SIZES, TEXT, close, config, frame, in_time, kept_drain,
};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transport::ws_core::{CloseCode, Limits};
use transport::{
    Answer, Client, Discard, Drain, DrainOptions, Endpoint, EndpointEvent, Handler, Message, Next,
    Observer, OriginPattern, Origins, Permission, Permit, Policy, Rejection,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Origin: https://app.example\r\nUser-Agent: test\r\n\r\n";

/// Keeps what it is told, in words.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let note = match event {
            EndpointEvent::Closed { id, record, .. } => format!("closed {id} {}", record.cause),
            EndpointEvent::Opened { id, peer, request, .. } => {
                let (origin, agent) = (request.origin().unwrap(), request.user_agent().unwrap());
                format!("opened {id} {peer} {origin} {agent}")
            }
            EndpointEvent::Refused { peer, rejection, .. } => format!("refused {peer} {rejection}"),
            EndpointEvent::Panicked { id, .. } => format!("panicked {id}"),
            EndpointEvent::Traffic { id, received, sent, round_trip, .. } => {
                let (came, went) = (received.messages, sent.messages);
                format!("tally {id} {came} {went} {round_trip:?}")
            }
            other => panic!("{other:?} is new"),
        };
        self.0.lock().unwrap().push(note);
    }
}

const SLOTS: usize = 100;

struct World<H = Discard> {
    endpoint: Arc<Endpoint<H, Notes>>,
    policy: Arc<Policy>,
    notes: Arc<Notes>,
    drain: Drain,
    slots: Arc<Semaphore>,
}

impl World {
    fn new() -> Self {
        Self::with(Discard)
    }
}

impl<H: Handler + Clone + Sync> World<H> {
    fn with(handler: H) -> Self {
        let policy = Policy {
            origins: Origins {
                allowed: vec![OriginPattern::Any],
                missing: Permission::Allow,
                null: Permission::Refuse,
            },
            session: config(Limits::default()),
            sizes: SIZES,
        };
        let notes = Arc::new(Notes::default());
        let endpoint = Arc::new(Endpoint::new(handler, Arc::clone(&notes)));
        let slots = Arc::new(Semaphore::new(SLOTS));
        Self { endpoint, policy: Arc::new(policy), notes, drain: kept_drain(), slots }
    }

    /// A connection to the endpoint, served by hyper.
    fn connect(&self) -> Peer {
        let (near, far) = duplex(64 * 1024);
        let client = Client {
            peer: transport::Peer::Address("192.0.2.7:4711".parse().unwrap()),
            is_encrypted: false,
            token: self.drain.token(),
        };
        let (endpoint, policy) = (Arc::clone(&self.endpoint), Arc::clone(&self.policy));
        let slots = Arc::clone(&self.slots);
        tokio::spawn(async move {
            let service = service_fn(|mut request| {
                let answer = endpoint.answer(&request, &client, &policy, || {
                    let permit = Arc::clone(&slots).try_acquire_owned();
                    permit.map(Permit::new).map_err(|_| Rejection::ConnectionLimit)
                });
                let response = answer.over_http1(&mut request, TokioIo::new);
                async { Ok::<_, Infallible>(response) }
            });
            let http = http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(near), service);
            let _ = http.with_upgrades().await;
        });
        Peer(far)
    }
}

/// Reads the head of a response and gives it back.
async fn response_head(peer: &mut Peer) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(peer.bytes(1).await);
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_session_is_opened_and_closed_and_both_are_told() {
    let world = World::new();
    let mut peer = world.connect();
    peer.send(REQUEST.as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");

    peer.send(&frame(PING, b"!")).await;
    assert_eq!(peer.frame().await, (PONG, b"!".to_vec()));
    peer.send(&close(1000, "")).await;
    peer.expect_close(1000, "").await;
    peer.expect_end().await;

    in_time(world.drain.closed()).await;
    assert_eq!(
        world.notes.take(),
        [
            "opened 1 192.0.2.7:4711 https://app.example test",
            "tally 1 2 2 None",
            "closed 1 peer_closed"
        ]
    );
    assert_eq!(world.slots.available_permits(), SLOTS, "the slot is given back");
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_at_each_ping_its_pong_and_the_end_what_has_come_on_top() {
    let world = World::new();
    let mut peer = world.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    peer.send(&frame(PING, b"")).await;
    peer.frame().await;
    for answers in [true, false, true] {
        let (first, payload) = peer.frame().await;
        assert_eq!(first, PING);
        // Anything keeps a session alive, and only its pong measures.
        let payload = if answers { payload } else { vec![] };
        sleep(Duration::from_millis(30)).await;
        peer.send(&frame(PONG, &payload)).await;
    }
    peer.send(&close(1000, "")).await;
    peer.expect_close(1000, "").await;
    in_time(world.drain.closed()).await;
    assert_eq!(
        world.notes.take()[1..],
        [
            "tally 1 1 2 None",
            "tally 1 1 0 Some(30ms)",
            "tally 1 0 1 None",
            "tally 1 1 1 None",
            "tally 1 2 1 Some(30ms)",
            "closed 1 peer_closed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_sent_a_million_bytes_tells_so_before_its_ping() {
    let world = World::new();
    let mut peer = world.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    let message = frame(BINARY, &vec![0; SIZES.max_message_bytes]);
    for _ in 0..1023 {
        peer.send(&message).await;
    }
    peer.send(&frame(PING, b"")).await;
    peer.frame().await;
    let notes = world.notes.take();
    let told = notes.iter().filter_map(|note| note.strip_prefix("tally 1 ")?.split(' ').next());
    let told: Vec<u32> = told.map(|count| count.parse().unwrap()).collect();
    // Wake-ups bring some 16 messages, so they are told of a little later than at 256.
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|count| (256..320).contains(count)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_once_and_before_the_end() {
    #[derive(Clone)]
    struct Broken;

    impl Handler for Broken {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            Poll::Pending
        }

        fn receive(&mut self, _: Message) {
            panic!("broken");
        }
    }

    let world = World::with(Broken);
    let mut peer = world.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    peer.send(&frame(TEXT, b"?")).await;
    peer.expect_close(1011, "panicked").await;
    // It is woken up again and again until its end.
    for _ in 0..3 {
        peer.send(&frame(PONG, b"")).await;
        sleep(Duration::from_millis(1)).await;
    }
    peer.send(&close(1011, "")).await;
    in_time(world.drain.closed()).await;
    assert_eq!(world.notes.take()[1..], ["panicked 1", "tally 1 5 1 None", "closed 1 panicked"]);
}

#[tokio::test(start_paused = true)]
async fn the_sessions_leave_a_spread_drain_evenly() {
    let world = World::new();
    let mut peers = JoinSet::new();
    for _ in 0..SLOTS {
        let mut peer = world.connect();
        peer.send(REQUEST.as_bytes()).await;
        response_head(&mut peer).await;
        peers.spawn(async move {
            peer.expect_close(1012, "drained").await;
            peer.send(&close(1012, "")).await;
            Instant::now()
        });
    }
    let begin = Instant::now();
    let spread = Duration::from_secs(10);
    world.drain.start(DrainOptions { code: CloseCode::SERVICE_RESTART, spread });
    let mut ends: Vec<Duration> = peers.join_all().await.iter().map(|end| *end - begin).collect();
    ends.sort_unstable();
    let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().max().unwrap() <= Duration::from_millis(300), "{ends:?}");
    assert!(ends[0] < Duration::from_millis(300) && ends[SLOTS - 1] <= spread, "{ends:?}");
    assert!(ends[SLOTS - 1] > Duration::from_millis(9700), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_right_behind_the_request_is_not_lost() {
    let world = World::new();
    let mut peer = world.connect();
    let early = [frame(PING, b"early"), close(1000, "")].concat();
    peer.send(&[REQUEST.as_bytes(), &early].concat()).await;
    response_head(&mut peer).await;
    assert_eq!(peer.frame().await, (PONG, b"early".to_vec()));
    peer.expect_close(1000, "").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_connection_can_be_used_again() {
    let world = World::new();
    let mut peer = world.connect();
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    peer.bytes(length.parse().unwrap()).await;

    peer.send(REQUEST.as_bytes()).await;
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    let notes = world.notes.take();
    assert_eq!(notes.first().unwrap(), "refused 192.0.2.7:4711 not_an_upgrade");
}

#[tokio::test(start_paused = true)]
async fn a_session_counts_for_the_drain_from_before_its_101() {
    let world = World::new();
    let mut peer = world.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    world.drain.start(DrainOptions::default());
    let waiting = async {
        in_time(world.drain.closed()).await;
        world.notes.take()
    };
    let closing = async {
        assert_eq!(peer.frame().await, (CLOSE, b"\x03\xe9drained".to_vec()));
        peer.send(&close(1001, "")).await;
    };
    let (notes, ()) = tokio::join!(waiting, closing);
    assert_eq!(notes.last().unwrap(), "closed 1 drained", "told before the drain is over");
}

#[tokio::test(start_paused = true)]
async fn a_draining_endpoint_and_a_full_one_say_so_but_only_to_requests_that_are_right() {
    let wrong = REQUEST.replace("Version: 13", "Version: 7");

    let full = World::new();
    let _all = Arc::clone(&full.slots).acquire_many_owned(100).await.unwrap();
    for (request, status) in [(REQUEST, "503"), (&wrong, "426")] {
        let mut peer = full.connect();
        peer.send(request.as_bytes()).await;
        let head = response_head(&mut peer).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
    let notes = full.notes.take();
    assert_eq!(notes, ["refused 192.0.2.7:4711 connection_limit", "refused 192.0.2.7:4711 websocket_version"]);

    let draining = World::new();
    let mut peer = draining.connect();
    let mut other = draining.connect();
    draining.drain.start(DrainOptions::default());
    peer.send(REQUEST.as_bytes()).await;
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 503 "));
    other.send(wrong.as_bytes()).await;
    assert!(response_head(&mut other).await.starts_with("HTTP/1.1 426 "));
    assert_eq!(draining.notes.take().first().unwrap(), "refused 192.0.2.7:4711 draining");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_asked_for_only_if_there_is_nothing_to_refuse() {
    let world = World::new();
    let client =
        Client { peer: transport::Peer::Local, is_encrypted: false, token: world.drain.token() };
    let request = |version: &str| {
        let request = hyper::Request::get("/").header("host", "a").header("upgrade", "websocket");
        let request =
            request.header("connection", "upgrade").header("sec-websocket-version", version);
        request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap()
    };
    let answer = |version, slot: fn() -> Result<Permit, Rejection>| {
        world.endpoint.answer(&request(version), &client, &world.policy, slot)
    };
    assert!(matches!(answer("13", || Ok(Permit::new(()))), Answer::Open(_)));
    assert!(matches!(answer("7", || panic!("the request is wrong")), Answer::Refuse(_)));
    world.drain.start(DrainOptions::default());
    assert!(matches!(answer("13", || panic!("nobody gets one any more")), Answer::Refuse(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_101_was_no_session() {
    let world = World::new();
    let mut peer = world.connect();
    // Everything but the last byte, and then it is gone.
    let (most, _) = REQUEST.split_at(REQUEST.len() - 1);
    peer.send(most.as_bytes()).await;
    peer.0.shutdown().await.unwrap();
    drop(peer);
    in_time(world.drain.closed()).await;
    assert_eq!(world.notes.take(), [""; 0]);
    assert_eq!(world.slots.available_permits(), SLOTS);
}

#[test]
fn a_peer_is_shown_as_far_as_it_is_known_and_an_ipv4_address_as_one() {
    use transport::Peer::{Address, Host, Local};
    let mapped = "[::ffff:192.0.2.7]:4711".parse().unwrap();
    let v4 = "192.0.2.7".parse().unwrap();
    for (peer, shown, ip) in [
        (Address("192.0.2.7:4711".parse().unwrap()), "192.0.2.7:4711", Some(v4)),
        (Address(mapped), "192.0.2.7:4711", Some(v4)),
        (Host("::ffff:192.0.2.7".parse().unwrap()), "192.0.2.7", Some(v4)),
        (Host("2001:db8::1".parse().unwrap()), "2001:db8::1", Some("2001:db8::1".parse().unwrap())),
        (Local, "unix", None),
    ] {
        assert_eq!((peer.to_string().as_str(), peer.ip()), (shown, ip));
    }
}
