//! Stories of sessions in which everything goes well.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::Duration;

use support::{BINARY, Echo, PING, PONG, SIZES, TEXT, close, frame, open, silent};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

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
    let closure = story.end().await;
    assert_eq!(closure.received.messages, 5);
    assert_eq!(closure.received.bytes, 3 + 4096 + 12 + 1 + 2);
    assert_eq!(closure.sent.messages, 2);
    assert_eq!(closure.sent.bytes, 1 + 2);
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
        let closure = story.end().await;
        assert!(closure.clean);
        assert_eq!(u16::from(closure.code), 3000);
        assert_eq!(closure.received.messages, 7);
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
