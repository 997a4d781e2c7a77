//! Stories of sessions in which everything goes well.
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
    BINARY, CLOSE, Echo, PING, PONG, Peer, SIZES, TEXT, close, config, frame, kept_drain, open,
    silent,
};
use tokio::io::{AsyncReadExt, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transport::ws_core::{Limits, SessionConfig};
use transport::{Discard, Drain, DrainOptions, WebSocket, run};

#[tokio::test(start_paused = true)]
async fn a_ping_gets_its_pong() {
    let mut story = silent();
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        story.peer.send(&frame(PING, payload)).await;
        assert_eq!(story.peer.frame().await, (PONG, payload.to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn pings_that_come_together_get_all_their_pongs_in_order() {
    let mut story = silent();
    let pings: Vec<u8> = (0..100).flat_map(|number| frame(PING, &[number])).collect();
    story.peer.send(&pings).await;
    for number in 0..100 {
        assert_eq!(story.peer.frame().await, (PONG, vec![number]));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_read_dropped_and_counted() {
    let mut story = silent();
    story.peer.send(&frame(TEXT, b"one")).await;
    story.peer.send(&frame(BINARY, &[0; 4096])).await;
    story.peer.send(&frame(0x01, b"in ")).await;
    story.peer.send(&frame(0x80, b"two parts")).await;
    story.peer.send(&frame(PING, b"?")).await;
    assert_eq!(story.peer.frame().await, (PONG, b"?".to_vec()), "nothing but the pong comes back");
    story.peer.send(&close(1000, "")).await;
    let record = story.end().await;
    assert_eq!(record.received.messages, 5);
    assert_eq!(record.received.bytes, 3 + 4096 + 12 + 1 + 2);
    assert_eq!(record.sent.messages, 2);
    assert_eq!(record.sent.bytes, 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn an_answering_peer_lives_on_and_is_measured() {
    let mut story = silent();
    let start = Instant::now();
    for _ in 0..1000 {
        let (first, payload) = story.peer.frame().await;
        assert_eq!(first, PING);
        sleep(Duration::from_millis(80)).await;
        story.peer.send(&frame(PONG, &payload)).await;
    }
    let per_ping = start.elapsed().as_secs_f64() / 1000.0;
    assert!((24.9..25.1).contains(&per_ping), "{per_ping}");
    story.peer.send(&close(1000, "")).await;
    let round_trip = story.end().await.round_trip.unwrap();
    assert!((0.080..0.083).contains(&round_trip.as_secs_f64()), "{round_trip:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_goes_the_same_way_one_byte_at_a_time() {
    let said = [
        frame(TEXT, "größer".as_bytes()),
        frame(PING, b"ping"),
        frame(0x01, b"fragm"),
        frame(PING, b"between"),
        frame(0x80, b"ents"),
        frame(BINARY, &[0; 300]),
        frame(PONG, b"nobody asked"),
        close(3000, "done"),
    ];
    let mut heard = Vec::new();
    for chunk in [1, 2, 3, 7, 64, 1000] {
        let mut story = open(Echo::default(), 64 * 1024);
        for bytes in said.concat().chunks(chunk) {
            story.peer.send(bytes).await;
            tokio::task::yield_now().await;
        }
        let mut answers = Vec::new();
        story.peer.0.read_to_end(&mut answers).await.unwrap();
        heard.push(answers);
        let record = story.end().await;
        assert!(record.clean);
        assert_eq!(u16::from(record.code), 3000);
        assert_eq!(record.received.messages, 7);
    }
    assert!(heard.iter().all(|answers| *answers == heard[0]), "{heard:?}");
    assert!(heard[0].ends_with(b"\x88\x06\x0b\xb8done"));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_just_the_limit_is_taken() {
    let mut story = open(Echo::default(), 64 * 1024);
    story.peer.send(&frame(TEXT, &[b'a'; SIZES.max_message_bytes])).await;
    assert_eq!(story.peer.frame().await, (TEXT, vec![b'a'; SIZES.max_message_bytes]));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moves_to_another_task_is_woken_there() {
    let (near, far) = duplex(1024);
    let drain = kept_drain();
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
async fn a_deadline_that_comes_before_the_keeper_would_look_again_is_kept() {
    let drain = kept_drain();
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
async fn a_session_that_is_over_leaves_nothing_behind() {
    struct Sleeper;
    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {}
    }
    let (near, far) = duplex(1024);
    let (drain, _keeper) = Drain::new();
    let socket = WebSocket::new(near, SIZES);
    let mut session = run(socket, config(Limits::default()), Discard, drain.token());
    let sleeper = Arc::new(Sleeper);
    let waker = Waker::from(Arc::clone(&sleeper));
    assert!(Pin::new(&mut session).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(Arc::strong_count(&sleeper) > 2, "somebody is to wake it");
    drop((session, waker, far));
    assert_eq!(Arc::strong_count(&sleeper), 1);
}

/// So many that opened one after the other are pinged together.
const NEIGHBOURS: usize = 64;

#[tokio::test(start_paused = true)]
async fn sessions_whose_deadlines_lie_close_together_see_them_a_little_late_and_in_one_go() {
    let (drain, opened) = (kept_drain(), Instant::now());
    let mut pinged = JoinSet::new();
    for _ in 0..NEIGHBOURS * 20 {
        let (near, far) = duplex(1024);
        let socket = WebSocket::new(near, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
        pinged.spawn(async move {
            assert_eq!(Peer(far).frame().await.0, PING);
            opened.elapsed().as_millis()
        });
    }
    let mut moments = BTreeMap::<u128, usize>::new();
    for moment in pinged.join_all().await {
        *moments.entry(moment).or_default() += 1;
    }
    // Their places spread them over two and a half seconds, with 50 ms between any two moments.
    assert!(moments.len() > 10, "{moments:?}");
    let gaps = moments.keys().zip(moments.keys().skip(1));
    assert!(gaps.clone().all(|(one, next)| next - one >= 50), "{moments:?}");
    // Those that opened one after the other stay in step.
    assert!(moments.values().all(|count| count % NEIGHBOURS == 0), "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_woken_together_is_woken_in_the_order_of_opening() {
    let drain = kept_drain();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut peers = JoinSet::new();
    for number in 0..NEIGHBOURS {
        let (near, far) = duplex(1024);
        let socket = WebSocket::new(near, SIZES);
        tokio::spawn(run(socket, config(Limits::default()), Discard, drain.token()));
        let (mut peer, heard) = (Peer(far), Arc::clone(&heard));
        peers.spawn(async move {
            for _ in 0..2 {
                let (opcode, _) = peer.frame().await;
                heard.lock().unwrap().push((opcode, number));
            }
        });
    }
    let all = |opcode| (0..NEIGHBOURS).map(move |number| (opcode, number));
    // Their pings are due after the whole interval, and their pongs are waited for longer than this.
    sleep(config(Limits::default()).timing.ping_interval + Duration::from_secs(1)).await;
    drain.start(DrainOptions::default());
    peers.join_all().await;
    assert_eq!(*heard.lock().unwrap(), all(PING).chain(all(CLOSE)).collect::<Vec<_>>());
}
