//! Stories of peers that do not read, and of what does not grow meanwhile.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::buffered::Buffered;
use support::{CLOSE, Chatter, PING, PONG, TEXT, close, frame, open, open_over, open_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use transport::ws_core::{Cause, Limits, Rate};
use transport::{Discard, DrainOptions};

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_let_go_although_the_handler_never_stops() {
    let handler = Chatter::default();
    let story = open(handler.clone(), 1024);
    let start = Instant::now();
    let record = story.end().await;
    assert_eq!(record.cause, Cause::PongTimeout);
    assert!(start.elapsed() < Duration::from_secs(36), "{:?}", start.elapsed());
    let asked = handler.0.load(Ordering::Relaxed);
    assert!(asked < 10_000, "the handler is not asked while output is stuck: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_a_session_whose_output_is_stuck() {
    let story = open(Chatter::default(), 1024);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    story.drain.start(DrainOptions::default());
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything_in_order_and_then_the_close() {
    let mut story = open(Chatter::default(), 64);
    for _ in 0..1000 {
        assert_eq!(story.peer.frame().await, (TEXT, b"chatter".to_vec()));
    }
    story.drain.start(DrainOptions::default());
    loop {
        match story.peer.frame().await {
            (TEXT, payload) => assert_eq!(payload, b"chatter"),
            last => break assert_eq!(last, (CLOSE, b"\x03\xe9drained".to_vec())),
        }
    }
    story.peer.send(&close(1001, "")).await;
    assert!(story.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_with_pings_and_reads_nothing_is_not_read_either() {
    let mut story = open(Discard, 1024);
    let ping = frame(PING, &[7; 125]);
    let mut taken = 0;
    while timeout(Duration::from_secs(1), story.peer.0.write_all(&ping)).await.is_ok() {
        taken += 1;
        // The pipe holds 1,024 bytes each way, and what was read last waits for it.
        assert!(taken < 30, "the session takes in what it cannot answer");
    }
    // Once it reads, it gets every pong it is due, and the session goes on.
    for _ in 0..taken {
        assert_eq!(story.peer.frame().await, (PONG, vec![7; 125]));
    }
}

fn limits() -> Limits {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    Limits {
        control_frames: Rate::new(10, 20),
        message_timeout: seconds(10),
        messages: Rate::new(10, 20),
        write_timeout: seconds(7),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_let_go_after_the_write_timeout() {
    let handler = Chatter::default();
    let story = open_with(limits(), handler.clone(), 1024);
    let start = Instant::now();
    let record = story.end().await;
    assert_eq!(record.cause, Cause::WriteTimeout);
    assert!((7.0..7.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_peer_that_does_not_read_is_bounded() {
    let handler = Chatter::default();
    let story = open_with(limits(), handler.clone(), 1024);
    story.end().await;
    // Each "chatter" is a frame of 9 bytes; what the pipe holds, and the queue, and one above it.
    let most = (1024 + support::SIZES.max_queued_bytes) / 9 + 2;
    assert!(handler.0.load(Ordering::Relaxed) <= most);
}

#[tokio::test(start_paused = true)]
async fn a_slow_and_steady_reader_is_not_let_go_although_its_pongs_are_late() {
    let mut story = open_with(limits(), Chatter::default(), 64);
    let start = Instant::now();
    // Nine bytes every six seconds: less than the write timeout, and pings pile up behind.
    while start.elapsed() < Duration::from_secs(600) {
        let (first, payload) = story.peer.frame().await;
        if first == PING {
            story.peer.send(&frame(PONG, &payload)).await;
        }
        sleep(Duration::from_secs(6)).await;
    }
    story.drain.abort();
    assert_eq!(story.end().await.cause, Cause::Drained, "it lived until then");
}

#[tokio::test(start_paused = true)]
async fn who_reads_what_was_stuck_is_healthy_whatever_buffer_the_stream_has_of_its_own() {
    // At some amount the last bytes lie in the stream's own buffer when the output is stuck.
    for pings in 1..40 {
        let over = |stream| Buffered::new(stream, 300);
        let limits = Limits { control_frames: None, ..limits() };
        let mut story = open_over(over, limits, Discard, 128);
        let ping = frame(PING, &[7; 60]);
        let is_stuck = |sent: Result<_, _>| sent.is_err();
        let mut sent = 0;
        while sent < pings {
            let sending = story.peer.0.write_all(&ping);
            if is_stuck(timeout(Duration::from_secs(1), sending).await) {
                break;
            }
            sent += 1;
        }
        for _ in 0..sent {
            assert_eq!(story.peer.frame().await, (PONG, vec![7; 60]));
        }
        // A part of one more may have been sent, and is of no use any more.
        let quiet = timeout(Duration::from_secs(8), story.peer.0.read_u8()).await;
        assert!(quiet.is_err(), "it is let be after {pings} pings: {quiet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_is_ended_in_time() {
    let mut story = open_with(limits(), Discard, 1024);
    let start = Instant::now();
    let mut trickle = frame(TEXT, &[b'x'; 100]).into_iter();
    let closing = loop {
        match timeout(Duration::from_secs(1), story.peer.0.read_u8()).await {
            Ok(byte) => break byte.unwrap(),
            Err(_) => story.peer.send(&[trickle.next().unwrap()]).await,
        }
    };
    assert_eq!(closing, CLOSE);
    assert!((10.0..12.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    let mut rest = Vec::new();
    story.peer.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\x11\x03\xf0message_timeout");
    assert_eq!(story.end().await.cause, Cause::MessageTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_endless_parts_is_ended() {
    for part in [&b""[..], b"x"] {
        let mut story = open_with(limits(), Discard, 1024);
        story.peer.send(&frame(0x01, part)).await;
        for _ in 0..5000 {
            // What comes after the close is read away, so this always goes on.
            story.peer.send(&frame(0x00, part)).await;
        }
        story.peer.expect_close(1009, "too_big").await;
    }
}

#[tokio::test(start_paused = true)]
async fn floods_are_ended_and_their_senders_told() {
    for flood in [frame(TEXT, b"x"), frame(PING, b""), frame(PONG, b"unasked")] {
        let mut story = open_with(limits(), Discard, 64 * 1024);
        story.peer.send(&flood.repeat(21)).await;
        let (mut first, mut payload) = story.peer.frame().await;
        while first == PONG {
            (first, payload) = story.peer.frame().await;
        }
        assert_eq!((first, payload), (CLOSE, b"\x03\xf0rate_limited".to_vec()));
        story.peer.send(&close(1008, "")).await;
        let record = story.end().await;
        assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_after_the_close_that_ends_a_flood_of_pings() {
    let mut story = open_with(limits(), Discard, 64 * 1024);
    story.peer.send(&frame(PING, b"").repeat(30)).await;
    for _ in 0..21 {
        assert_eq!(story.peer.frame().await, (PONG, vec![]));
    }
    story.peer.expect_close(1008, "rate_limited").await;
    story.peer.send(&close(1008, "")).await;
    story.peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_flood_sends_long_after_it_was_told_to_stop_is_not_decoded() {
    let mut story = open_with(limits(), Discard, 64 * 1024);
    let ping = frame(PING, b"");
    story.peer.send(&ping.repeat(21)).await;
    for _ in 0..21 {
        assert_eq!(story.peer.frame().await, (PONG, vec![]));
    }
    story.peer.expect_close(1008, "rate_limited").await;
    story.peer.send(&ping.repeat(500_000)).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, false));
    // What may have been on its way, and what was read with the last of it.
    let most = (256 + 16) * 1024 / u64::try_from(ping.len()).unwrap();
    assert!(record.received.messages < most, "{}", record.received.messages);
}

#[tokio::test(start_paused = true)]
async fn who_answers_a_close_behind_what_was_on_its_way_ends_clean() {
    let mut story = open_with(limits(), Discard, 64 * 1024);
    story.peer.send(&frame(PING, b"").repeat(40_000)).await;
    story.peer.send(&close(1008, "")).await;
    let record = story.end().await;
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
}

#[tokio::test(start_paused = true)]
async fn control_frames_in_between_do_not_prolong_an_unfinished_message() {
    let mut story = open_with(limits(), Discard, 1024);
    let start = Instant::now();
    story.peer.send(&[frame(PING, b""), frame(0x01, b"begun")].concat()).await;
    assert_eq!(story.peer.frame().await, (PONG, vec![]));
    let mut pings = 0;
    let told = loop {
        sleep(Duration::from_secs(1)).await;
        story.peer.send(&frame(PING, b"?")).await;
        pings += 1;
        match story.peer.frame().await {
            (PONG, _) => assert!(pings < 20, "it is still taken for alive"),
            (first, payload) => break (first, payload),
        }
    };
    assert_eq!(told, (CLOSE, b"\x03\xf0message_timeout".to_vec()));
    assert!((10..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn control_frames_in_between_do_not_hide_endless_parts() {
    let mut story = open(Discard, 64 * 1024);
    story.peer.send(&frame(0x01, b"")).await;
    for _ in 0..20 {
        story.peer.send(&frame(0x00, b"").repeat(100)).await;
        story.peer.send(&frame(PONG, b"")).await;
    }
    story.peer.expect_close(1009, "too_big").await;
}

#[tokio::test(start_paused = true)]
async fn fragmented_messages_one_after_the_other_are_fine() {
    let limits = Limits { messages: None, control_frames: None, ..limits() };
    let mut story = open_with(limits, Discard, 64 * 1024);
    for _ in 0..1000 {
        let message = [frame(0x01, b"in"), frame(PING, b"!"), frame(0x80, b"parts")].concat();
        story.peer.send(&message).await;
        assert_eq!(story.peer.frame().await, (PONG, b"!".to_vec()));
        sleep(Duration::from_millis(15)).await;
    }
}
