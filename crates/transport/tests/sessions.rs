//! Sessions without errors: pings, messages, limits, timers and wakers.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use support::{
    BINARY, CLOSE, Echo, PING, PONG, Peer, SIZES, TEXT, close, config, frame, open,
    open_discarding, spawned_drain,
};
use tokio::io::{AsyncReadExt, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transport::ws_core::{Limits, SessionConfig};
use transport::{Discard, Drain, DrainOptions, WebSocket, run};

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_pong() {
    let mut session = open_discarding();
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        session.peer.send(&frame(PING, payload)).await;
        assert_eq!(session.peer.frame().await, (PONG, payload.to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn pings_that_arrive_together_are_all_answered_in_order() {
    let mut session = open_discarding();
    let pings: Vec<u8> = (0..100).flat_map(|number| frame(PING, &[number])).collect();
    session.peer.send(&pings).await;
    for number in 0..100 {
        assert_eq!(session.peer.frame().await, (PONG, vec![number]));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_read_dropped_and_counted() {
    let mut session = open_discarding();
    session.peer.send(&frame(TEXT, b"one")).await;
    session.peer.send(&frame(BINARY, &[0; 4096])).await;
    session.peer.send(&frame(0x01, b"in ")).await;
    session.peer.send(&frame(0x80, b"two parts")).await;
    session.peer.send(&frame(PING, b"?")).await;
    assert_eq!(session.peer.frame().await, (PONG, b"?".to_vec()), "the pong is the only answer");
    session.peer.send(&close(1000, "")).await;
    let record = session.end().await;
    assert_eq!(record.received.messages, 3);
    assert_eq!(record.received.bytes, 3 + 4096 + 12 + 1 + 2);
    assert_eq!(record.sent.messages, 0);
    assert_eq!(record.sent.bytes, 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_stays_connected_and_its_round_trip_is_measured() {
    let mut session = open_discarding();
    let start = Instant::now();
    for _ in 0..1000 {
        let (first, payload) = session.peer.frame().await;
        assert_eq!(first, PING);
        sleep(Duration::from_millis(80)).await;
        session.peer.send(&frame(PONG, &payload)).await;
    }
    let per_ping = start.elapsed().as_secs_f64() / 1000.0;
    assert!((24.9..25.1).contains(&per_ping), "{per_ping}");
    session.peer.send(&close(1000, "")).await;
    let round_trip = session.end().await.round_trip.unwrap();
    assert!((0.080..0.083).contains(&round_trip.as_secs_f64()), "{round_trip:?}");
}

#[tokio::test(start_paused = true)]
async fn the_output_is_the_same_for_input_in_chunks_of_any_size() {
    let frames = [
        frame(TEXT, "größer".as_bytes()),
        frame(PING, b"ping"),
        frame(0x01, b"fragm"),
        frame(PING, b"between"),
        frame(0x80, b"ents"),
        frame(BINARY, &[0; 300]),
        frame(PONG, b"unsolicited"),
        close(3000, "done"),
    ];
    let mut outputs = Vec::new();
    for chunk in [1, 2, 3, 7, 64, 1000] {
        let mut session = open(Echo::default(), 64 * 1024);
        for bytes in frames.concat().chunks(chunk) {
            session.peer.send(bytes).await;
            tokio::task::yield_now().await;
        }
        let mut output = Vec::new();
        session.peer.0.read_to_end(&mut output).await.unwrap();
        outputs.push(output);
        let record = session.end().await;
        assert!(record.clean);
        assert_eq!(u16::from(record.code), 3000);
        assert_eq!(record.received.messages, 3);
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
    assert!(outputs[0].ends_with(b"\x88\x06\x0b\xb8done"));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_exactly_the_limit_is_accepted() {
    let mut session = open(Echo::default(), 64 * 1024);
    session.peer.send(&frame(TEXT, &[b'a'; SIZES.max_message_bytes])).await;
    assert_eq!(session.peer.frame().await, (TEXT, vec![b'a'; SIZES.max_message_bytes]));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moves_to_another_task_is_woken_there() {
    let (near, far) = duplex(1024);
    let drain = spawned_drain();
    let mut session =
        run(WebSocket::new(near, SIZES), config(Limits::default()), Discard, drain.token());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut session).poll(&mut cx).is_pending());
    let session = tokio::spawn(session);

    let mut peer = Peer(far);
    let opened = Instant::now();
    assert_eq!(peer.frame().await.0, PING);
    assert_eq!(opened.elapsed().as_secs(), 25);
    drain.start(DrainOptions::default());
    peer.expect_close(1001, "drained").await;
    drop(peer);
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_next_tick_of_the_timer_service_is_kept() {
    let drain = spawned_drain();
    sleep(Duration::from_millis(1)).await;
    let (near, far) = duplex(1024);
    let mut config = SessionConfig::clone(&config(Limits::default()));
    config.timing.ping_interval = Duration::from_millis(20);
    tokio::spawn(run(WebSocket::new(near, SIZES), Arc::new(config), Discard, drain.token()));
    let opened = Instant::now();
    assert_eq!(Peer(far).frame().await.0, PING);
    assert!(opened.elapsed() < Duration::from_millis(25), "{:?}", opened.elapsed());
}

#[tokio::test]
async fn a_dropped_session_leaves_no_waker_behind() {
    struct NoopWake;
    impl Wake for NoopWake {
        fn wake(self: Arc<Self>) {}
    }
    let (near, far) = duplex(1024);
    let (drain, _timers) = Drain::new();
    let socket = WebSocket::new(near, SIZES);
    let mut session = run(socket, config(Limits::default()), Discard, drain.token());
    let wake = Arc::new(NoopWake);
    let waker = Waker::from(Arc::clone(&wake));
    assert!(Pin::new(&mut session).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(Arc::strong_count(&wake) > 2, "its waker is registered");
    drop((session, waker, far));
    assert_eq!(Arc::strong_count(&wake), 1);
}

/// Consecutive sessions that share a phase of the ping interval.
const PHASE_GROUP: usize = 64;

#[tokio::test(start_paused = true)]
async fn timers_with_close_deadlines_fire_together_and_slightly_late() {
    let (drain, opened) = (spawned_drain(), Instant::now());
    let mut pinged = JoinSet::new();
    for _ in 0..PHASE_GROUP * 20 {
        let (near, far) = duplex(1024);
        let socket = WebSocket::new(near, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
        pinged.spawn(async move {
            assert_eq!(Peer(far).frame().await.0, PING);
            opened.elapsed().as_millis()
        });
    }
    let mut ping_times = BTreeMap::<u128, usize>::new();
    for time in pinged.join_all().await {
        *ping_times.entry(time).or_default() += 1;
    }
    // The phases spread over 2.5 seconds, and distinct ping times are at least 50 ms apart.
    assert!(ping_times.len() > 10, "{ping_times:?}");
    let gaps = ping_times.keys().zip(ping_times.keys().skip(1));
    assert!(gaps.clone().all(|(one, next)| next - one >= 50), "{ping_times:?}");
    // The sessions of a phase group stay together.
    assert!(ping_times.values().all(|count| count % PHASE_GROUP == 0), "{ping_times:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_woken_together_are_woken_in_the_order_of_opening() {
    let drain = spawned_drain();
    let received = Arc::new(Mutex::new(Vec::new()));
    let mut peers = JoinSet::new();
    for number in 0..PHASE_GROUP {
        let (near, far) = duplex(1024);
        let socket = WebSocket::new(near, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
        let (mut peer, received) = (Peer(far), Arc::clone(&received));
        peers.spawn(async move {
            for _ in 0..2 {
                let (opcode, _) = peer.frame().await;
                received.lock().unwrap().push((opcode, number));
            }
        });
    }
    let all = |opcode| (0..PHASE_GROUP).map(move |number| (opcode, number));
    // All pings are due within the interval, and the pong timeout is longer than this second.
    sleep(config(Limits::default()).timing.ping_interval + Duration::from_secs(1)).await;
    drain.start(DrainOptions::default());
    peers.join_all().await;
    assert_eq!(*received.lock().unwrap(), all(PING).chain(all(CLOSE)).collect::<Vec<_>>());
}
