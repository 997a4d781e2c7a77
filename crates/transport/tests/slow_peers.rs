//! Peers that read slowly or not at all, unfinished messages and floods: memory and time stay bounded.
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
use support::{
    BINARY, CLOSE, FloodingHandler, PING, PONG, TEXT, close, frame, open, open_over, open_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use transport::ws_core::{Cause, Limits, Rate};
use transport::{Discard, DrainOptions};

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_disconnected_although_the_handler_never_stops() {
    let handler = FloodingHandler::default();
    let session = open(handler.clone(), 1024);
    let start = Instant::now();
    let record = session.end().await;
    assert_eq!(record.cause, Cause::PongTimeout);
    assert!(start.elapsed() < Duration::from_secs(36), "{:?}", start.elapsed());
    let polls = handler.0.load(Ordering::Relaxed);
    assert!(polls < 10_000, "the handler is not polled while output is blocked: {polls}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_a_session_whose_output_is_blocked() {
    let session = open(FloodingHandler::default(), 1024);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    session.drain.start(DrainOptions::default());
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_receives_everything_in_order_and_then_the_close_frame() {
    let mut session = open(FloodingHandler::default(), 64);
    for _ in 0..1000 {
        assert_eq!(session.peer.frame().await, (TEXT, b"chatter".to_vec()));
    }
    session.drain.start(DrainOptions::default());
    loop {
        match session.peer.frame().await {
            (TEXT, payload) => assert_eq!(payload, b"chatter"),
            last => break assert_eq!(last, (CLOSE, b"\x03\xe9drained".to_vec())),
        }
    }
    session.peer.send(&close(1001, "")).await;
    assert!(session.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_floods_with_pings_and_reads_nothing_is_not_read_either() {
    let mut session = open(Discard, 1024);
    let ping = frame(PING, &[7; 125]);
    let mut accepted = 0;
    while timeout(Duration::from_secs(1), session.peer.0.write_all(&ping)).await.is_ok() {
        accepted += 1;
        // The pipe holds 1,024 bytes in each direction, and the last read waits for room in it.
        assert!(accepted < 30, "the session reads pings that it cannot answer");
    }
    // A peer that reads again receives every pong, and the session goes on.
    for _ in 0..accepted {
        assert_eq!(session.peer.frame().await, (PONG, vec![7; 125]));
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
async fn a_peer_that_reads_nothing_is_disconnected_after_the_write_timeout() {
    let handler = FloodingHandler::default();
    let session = open_with(limits(), handler.clone(), 1024);
    let start = Instant::now();
    let record = session.end().await;
    assert_eq!(record.cause, Cause::WriteTimeout);
    assert!((7.0..7.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn queued_output_for_a_peer_that_does_not_read_is_bounded() {
    let handler = FloodingHandler::default();
    let session = open_with(limits(), handler.clone(), 1024);
    session.end().await;
    // Each message is a frame of 9 bytes: the pipe, the queue, and one frame above its limit.
    let most = (1024 + support::SIZES.max_queued_bytes) / 9 + 2;
    assert!(handler.0.load(Ordering::Relaxed) <= most);
}

#[tokio::test(start_paused = true)]
async fn a_slow_and_steady_reader_stays_connected_although_its_pongs_are_late() {
    let mut session = open_with(limits(), FloodingHandler::default(), 64);
    let start = Instant::now();
    // Nine bytes every six seconds are progress within the write timeout, while pings queue behind.
    while start.elapsed() < Duration::from_secs(600) {
        let (first, payload) = session.peer.frame().await;
        if first == PING {
            session.peer.send(&frame(PONG, &payload)).await;
        }
        sleep(Duration::from_secs(6)).await;
    }
    session.drain.abort();
    assert_eq!(session.end().await.cause, Cause::Drained, "it was open until the abort");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_blocked_output_stays_connected_whatever_the_stream_buffers() {
    // At some of these counts, the last bytes are in the stream's buffer when the output blocks.
    for pings in 1..40 {
        let over = |stream| Buffered::new(stream, 300);
        let limits = Limits { control_frames: None, ..limits() };
        let mut session = open_over(over, limits, Discard, 128);
        let ping = frame(PING, &[7; 60]);
        let is_blocked = |sent: Result<_, _>| sent.is_err();
        let mut sent = 0;
        while sent < pings {
            let sending = session.peer.0.write_all(&ping);
            if is_blocked(timeout(Duration::from_secs(1), sending).await) {
                break;
            }
            sent += 1;
        }
        for _ in 0..sent {
            assert_eq!(session.peer.frame().await, (PONG, vec![7; 60]));
        }
        // A part of one more ping may have been sent.
        let quiet = timeout(Duration::from_secs(8), session.peer.0.read_u8()).await;
        assert!(quiet.is_err(), "the session stays open after {pings} pings: {quiet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrives_too_slowly_is_closed_at_the_message_timeout() {
    let mut session = open_with(limits(), Discard, 1024);
    let start = Instant::now();
    let mut bytes = frame(TEXT, &[b'x'; 100]).into_iter();
    let closing = loop {
        match timeout(Duration::from_secs(1), session.peer.0.read_u8()).await {
            Ok(byte) => break byte.unwrap(),
            Err(_) => session.peer.send(&[bytes.next().unwrap()]).await,
        }
    };
    assert_eq!(closing, CLOSE);
    assert!((10.0..12.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    let mut rest = Vec::new();
    session.peer.0.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\x11\x03\xf0message_timeout");
    assert_eq!(session.end().await.cause, Cause::MessageTimeout);
}

#[tokio::test(start_paused = true)]
async fn the_message_timeout_begins_with_the_first_byte_wherever_that_came() {
    let first = frame(TEXT, b"first");
    let second = frame(TEXT, b"second");
    let ping = frame(PING, b"");
    // The read that has the first byte of the second message, behind the rest of what began before.
    for (begun, rest) in [
        (&first[..4], [&first[4..], &second[..1]].concat()),
        (&first[..1], [&first[1..], &second[..7]].concat()),
        (&ping[..3], [&ping[3..], &second[..1]].concat()),
        (&ping[..3], [&ping[3..], &frame(0x01, b"a fragment")].concat()),
        (&first[..4], [&first[4..], &first, &ping, &second[..1]].concat()),
    ] {
        let mut session = open_with(limits(), Discard, 1024);
        let start = Instant::now();
        session.peer.send(begun).await;
        sleep(Duration::from_secs(9)).await;
        session.peer.send(&rest).await;
        let closing = loop {
            let (first, payload) = session.peer.frame().await;
            match first {
                PING => session.peer.send(&[]).await,
                CLOSE => break payload,
                other => assert_eq!(other, support::PONG),
            }
        };
        assert_eq!(closing, b"\x03\xf0message_timeout");
        let elapsed = start.elapsed().as_secs_f64();
        assert!((19.0..21.0).contains(&elapsed), "{elapsed} for {rest:02x?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_endless_fragments_is_closed_as_too_big() {
    for fragment in [&b""[..], b"x"] {
        let mut session = open_with(limits(), Discard, 1024);
        session.peer.send(&frame(0x01, fragment)).await;
        for _ in 0..5000 {
            // Input after the Close frame is discarded, so these writes never block.
            session.peer.send(&frame(0x00, fragment)).await;
        }
        session.peer.expect_close(1009, "too_big").await;
    }
}

#[tokio::test(start_paused = true)]
async fn floods_are_closed_with_1008() {
    for flood in [frame(TEXT, b"x"), frame(PING, b""), frame(PONG, b"unasked")] {
        let mut session = open_with(limits(), Discard, 64 * 1024);
        session.peer.send(&flood.repeat(21)).await;
        let (mut first, mut payload) = session.peer.frame().await;
        while first == PONG {
            (first, payload) = session.peer.frame().await;
        }
        assert_eq!((first, payload), (CLOSE, b"\x03\xf0rate_limited".to_vec()));
        session.peer.send(&close(1008, "")).await;
        let record = session.end().await;
        assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_close_frame_that_ends_a_flood_of_pings_is_the_last_frame() {
    let mut session = open_with(limits(), Discard, 64 * 1024);
    // What arrives together is answered together, and then it is too much.
    session.peer.send(&frame(PING, b"").repeat(30)).await;
    for _ in 0..30 {
        assert_eq!(session.peer.frame().await, (PONG, vec![]));
    }
    session.peer.expect_close(1008, "rate_limited").await;
    session.peer.send(&close(1008, "")).await;
    session.peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_long_after_its_close_frame_is_not_decoded() {
    let mut session = open_with(limits(), Discard, 64 * 1024);
    let ping = frame(PING, b"");
    session.peer.send(&ping.repeat(21)).await;
    for _ in 0..21 {
        assert_eq!(session.peer.frame().await, (PONG, vec![]));
    }
    session.peer.expect_close(1008, "rate_limited").await;
    session.peer.send(&ping.repeat(500_000)).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, false));
    // The limit for input in flight, and one read beyond it.
    let most = (256 + 16) * 1024 / u64::try_from(ping.len()).unwrap();
    assert!(record.received.messages < most, "{}", record.received.messages);
}

#[tokio::test(start_paused = true)]
async fn a_close_answered_behind_frames_in_flight_ends_clean() {
    let mut session = open_with(limits(), Discard, 64 * 1024);
    session.peer.send(&frame(PING, b"").repeat(40_000)).await;
    session.peer.send(&close(1008, "")).await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_begins_within_the_input_that_is_decoded_ends_clean() {
    let mut session = open(Discard, 64 * 1024);
    session.drain.start(DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
    // Four bytes less than the most that is decoded, so the Close frame exceeds it.
    let frames = [frame(BINARY, &[0; 4096]).repeat(63), frame(BINARY, &[0; 3580])].concat();
    assert_eq!(frames.len(), 256 * 1024 - 4);
    session.peer.send(&[frames, close(1001, "")].concat()).await;
    assert!(session.end().await.clean);
}

#[tokio::test(start_paused = true)]
async fn control_frames_do_not_extend_the_deadline_of_an_unfinished_message() {
    let mut session = open_with(limits(), Discard, 1024);
    let start = Instant::now();
    session.peer.send(&[frame(PING, b""), frame(0x01, b"begun")].concat()).await;
    assert_eq!(session.peer.frame().await, (PONG, vec![]));
    let mut pings = 0;
    let close_frame = loop {
        sleep(Duration::from_secs(1)).await;
        session.peer.send(&frame(PING, b"?")).await;
        pings += 1;
        match session.peer.frame().await {
            (PONG, _) => assert!(pings < 20, "the session stays open"),
            (first, payload) => break (first, payload),
        }
    };
    assert_eq!(close_frame, (CLOSE, b"\x03\xf0message_timeout".to_vec()));
    assert!((10..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn control_frames_do_not_hide_endless_fragments() {
    let mut session = open(Discard, 64 * 1024);
    session.peer.send(&frame(0x01, b"")).await;
    for _ in 0..20 {
        session.peer.send(&frame(0x00, b"").repeat(100)).await;
        session.peer.send(&frame(PONG, b"")).await;
    }
    session.peer.expect_close(1009, "too_big").await;
}

#[tokio::test(start_paused = true)]
async fn consecutive_fragmented_messages_stay_within_the_limits() {
    let limits = Limits { messages: None, control_frames: None, ..limits() };
    let mut session = open_with(limits, Discard, 64 * 1024);
    for _ in 0..1000 {
        let message = [frame(0x01, b"in"), frame(PING, b"!"), frame(0x80, b"parts")].concat();
        session.peer.send(&message).await;
        assert_eq!(session.peer.frame().await, (PONG, b"!".to_vec()));
        sleep(Duration::from_millis(15)).await;
    }
}
