//! The endpoint behind hyper: from the bytes of a request to the session and its events.
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
use std::task::{Context, Poll};
use std::time::Duration;

use endpoint::{Fixture, PERMITS, REQUEST, request_head, request_with_version, response_head};
use support::{BINARY, CLOSE, PING, PONG, SIZES, TEXT, close, frame, in_time};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transport::ws_core::CloseCode;
use transport::{Answer, Discard, DrainOptions, Handler, Message, Next, Permit, Rejection};

#[tokio::test(start_paused = true)]
async fn the_opening_and_the_closing_of_a_session_are_observed() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    peer.send(REQUEST.as_bytes()).await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");

    peer.send(&frame(PING, b"!")).await;
    assert_eq!(peer.frame().await, (PONG, b"!".to_vec()));
    peer.send(&close(1000, "")).await;
    peer.expect_close(1000, "").await;
    peer.expect_end().await;

    in_time(fixture.drain.closed()).await;
    assert_eq!(
        fixture.log.take(),
        [
            "opened 1 192.0.2.7:4711 https://app.example test",
            "traffic 1 0+2 0+2 None",
            "closed 1 peer_closed"
        ]
    );
    assert_eq!(fixture.permits.available_permits(), PERMITS, "the permit is released");
}

#[tokio::test(start_paused = true)]
async fn traffic_is_reported_at_each_ping_at_its_pong_and_at_the_end() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    peer.send(&frame(PING, b"")).await;
    peer.frame().await;
    for answers in [true, false, true] {
        let (first, payload) = peer.frame().await;
        assert_eq!(first, PING);
        // Any frame keeps a session alive, and only the matching pong measures the round trip.
        let payload = if answers { payload } else { vec![] };
        sleep(Duration::from_millis(30)).await;
        peer.send(&frame(PONG, &payload)).await;
    }
    peer.send(&close(1000, "")).await;
    peer.expect_close(1000, "").await;
    in_time(fixture.drain.closed()).await;
    assert_eq!(
        fixture.log.take()[1..],
        [
            "traffic 1 0+1 0+2 None",
            "traffic 1 0+1 0+0 Some(30ms)",
            "traffic 1 0+0 0+1 None",
            "traffic 1 0+1 0+1 None",
            "traffic 1 0+2 0+1 Some(30ms)",
            "closed 1 peer_closed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn traffic_of_a_megabyte_is_reported_before_the_next_ping() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    let message = frame(BINARY, &vec![0; SIZES.max_message_bytes]);
    for _ in 0..1023 {
        peer.send(&message).await;
    }
    peer.send(&frame(PING, b"")).await;
    peer.frame().await;
    let log = fixture.log.take();
    let reports = log.iter().filter_map(|note| note.strip_prefix("traffic 1 ")?.split('+').next());
    let reports: Vec<u32> = reports.map(|count| count.parse().unwrap()).collect();
    // A poll processes some 16 messages, so a report comes a little after message 256.
    assert_eq!(reports.len(), 3, "{reports:?}");
    assert!(reports.iter().all(|count| (256..320).contains(count)), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_observed_once_and_before_the_end() {
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

    let fixture = Fixture::with(PanicsInReceive);
    let mut peer = fixture.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    peer.send(&frame(TEXT, b"?")).await;
    peer.expect_close(1011, "panicked").await;
    // Each frame wakes the session again until its end.
    for _ in 0..3 {
        peer.send(&frame(PONG, b"")).await;
        sleep(Duration::from_millis(1)).await;
    }
    peer.send(&close(1011, "")).await;
    in_time(fixture.drain.closed()).await;
    assert_eq!(
        fixture.log.take()[1..],
        ["panicked 1", "traffic 1 1+4 0+1 None", "closed 1 panicked"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_spread_closes_sessions_evenly() {
    let fixture = Fixture::new();
    let mut peers = JoinSet::new();
    for _ in 0..PERMITS {
        let mut peer = fixture.connect();
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
    fixture.drain.start(DrainOptions {
        code: CloseCode::SERVICE_RESTART,
        spread,
        ..DrainOptions::default()
    });
    let mut ends: Vec<Duration> = peers.join_all().await.iter().map(|end| *end - begin).collect();
    ends.sort_unstable();
    let gaps = ends.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().max().unwrap() <= Duration::from_millis(300), "{ends:?}");
    assert!(ends[0] < Duration::from_millis(300) && ends[PERMITS - 1] <= spread, "{ends:?}");
    assert!(ends[PERMITS - 1] > Duration::from_millis(9700), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_clients_to_come_back_evenly_from_its_beginning() {
    for (spread, reconnect_spread) in [(0, 30), (10, 30), (20, 10)] {
        let fixture = Fixture::new();
        let mut peers = JoinSet::new();
        for _ in 0..PERMITS {
            let mut peer = fixture.connect();
            request_head(&mut peer).await;
            peers.spawn(async move {
                let (_, payload) = peer.frame().await;
                let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                let retry = reason.strip_prefix("drained retry=").unwrap().parse().unwrap();
                Instant::now() + Duration::from_millis(retry)
            });
        }
        let begin = Instant::now();
        fixture.drain.start(DrainOptions {
            spread: Duration::from_secs(spread),
            reconnect_spread: Duration::from_secs(reconnect_spread),
            ..DrainOptions::default()
        });
        let mut back: Vec<Duration> =
            peers.join_all().await.iter().map(|back| *back - begin).collect();
        back.sort_unstable();
        let longest = Duration::from_secs(spread.max(reconnect_spread));
        let gap = back.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(gap <= longest / 33 && back[0] <= longest / 33, "{back:?}");
        assert!(back[PERMITS - 1] <= longest, "{back:?}");
        assert!(back[PERMITS - 1] >= longest * 32 / 33, "{back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_arrive_with_the_request_are_not_lost() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    let early = [frame(PING, b"early"), close(1000, "")].concat();
    peer.send(&[REQUEST.as_bytes(), &early].concat()).await;
    response_head(&mut peer).await;
    assert_eq!(peer.frame().await, (PONG, b"early".to_vec()));
    peer.expect_close(1000, "").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_connection_can_be_used_again() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = response_head(&mut peer).await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    peer.bytes(length.parse().unwrap()).await;

    peer.send(REQUEST.as_bytes()).await;
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    let log = fixture.log.take();
    assert_eq!(log.first().unwrap(), "refused 192.0.2.7:4711 not_an_upgrade");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_session_from_before_its_101() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    peer.send(REQUEST.as_bytes()).await;
    response_head(&mut peer).await;
    fixture.drain.start(DrainOptions::default());
    let waiting = async {
        in_time(fixture.drain.closed()).await;
        fixture.log.take()
    };
    let closing = async {
        assert_eq!(peer.frame().await, (CLOSE, b"\x03\xe9drained".to_vec()));
        peer.send(&close(1001, "")).await;
    };
    let (log, ()) = tokio::join!(waiting, closing);
    assert_eq!(log.last().unwrap(), "closed 1 drained", "observed before the drain completes");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_drains_or_is_full_refuses_valid_requests_with_503() {
    let invalid = REQUEST.replace("Version: 13", "Version: 7");

    let full = Fixture::new();
    let _all = Arc::clone(&full.permits).acquire_many_owned(100).await.unwrap();
    for (request, status) in [(REQUEST, "503"), (&invalid, "426")] {
        let mut peer = full.connect();
        peer.send(request.as_bytes()).await;
        let head = response_head(&mut peer).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
    }
    let log = full.log.take();
    assert_eq!(
        log,
        ["refused 192.0.2.7:4711 connection_limit", "refused 192.0.2.7:4711 websocket_version"]
    );

    let draining = Fixture::new();
    let mut peer = draining.connect();
    let mut other = draining.connect();
    draining.drain.start(DrainOptions::default());
    peer.send(REQUEST.as_bytes()).await;
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 503 "));
    other.send(invalid.as_bytes()).await;
    assert!(response_head(&mut other).await.starts_with("HTTP/1.1 426 "));
    assert_eq!(draining.log.take().first().unwrap(), "refused 192.0.2.7:4711 draining");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_requested_only_for_a_valid_request() {
    let fixture = Fixture::new();
    let client = fixture.client();
    let answer = async |version, permit: fn() -> Result<Permit, Rejection>| {
        let request = request_with_version(version);
        fixture.endpoint.answer(&Discard, &request, &client, &fixture.policy, permit).await
    };
    assert!(matches!(answer("13", || Ok(Permit::new(()))).await, Answer::Open(_)));
    assert!(matches!(answer("7", || panic!("the request is invalid")).await, Answer::Refuse(_)));
    fixture.drain.start(DrainOptions::default());
    assert!(matches!(answer("13", || panic!("the endpoint drains")).await, Answer::Refuse(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_before_the_101_opens_no_session() {
    let fixture = Fixture::new();
    let mut peer = fixture.connect();
    // Sends everything but the last byte of the request, then disconnects.
    let (most, _) = REQUEST.split_at(REQUEST.len() - 1);
    peer.send(most.as_bytes()).await;
    peer.0.shutdown().await.unwrap();
    drop(peer);
    in_time(fixture.drain.closed()).await;
    assert_eq!(fixture.log.take(), [""; 0]);
    assert_eq!(fixture.permits.available_permits(), PERMITS);
}

#[test]
fn a_peer_displays_its_address_and_a_mapped_ipv4_address_as_ipv4() {
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
