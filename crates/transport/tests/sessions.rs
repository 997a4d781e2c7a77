//! Stories of whole sessions, over a pipe and in a time that only passes while everyone waits.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use support::{
    BINARY, CLOSE, MAX_MESSAGE_BYTES, PING, PONG, Story, TEXT, close, frame, head, open,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use transport::ws_core::{Cause, CloseCode, ClosureCode, Initiator};
use transport::{Handler, Message, Next, Silent};

/// Sends back what it gets.
#[derive(Default)]
struct Echo(VecDeque<Message>);

impl Handler for Echo {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.pop_front().map_or(Poll::Pending, |message| Poll::Ready(Next::Send(message)))
    }

    fn receive(&mut self, message: Message) {
        self.0.push_back(message);
    }
}

/// Always has something to say.
#[derive(Clone, Default)]
struct Chatter(Arc<AtomicUsize>);

impl Handler for Chatter {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Next::Send(Message::Text("chatter".into())))
    }

    fn receive(&mut self, _: Message) {}
}

fn silent() -> Story {
    open(Silent, 64 * 1024)
}

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
async fn a_peer_that_closes_gets_its_close_back_and_the_end_of_the_stream() {
    let mut story = silent();
    story.peer.send(&close(1000, "bye")).await;
    story.peer.expect_close(1000, "bye").await;
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::PeerClosed);
    assert_eq!(closure.code, ClosureCode::Frame(CloseCode::NORMAL));
    assert_eq!(closure.reason.as_str(), "bye");
    assert_eq!(closure.initiator, Initiator::Peer);
    assert!(closure.clean);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_a_body_gets_one_without_a_body() {
    let mut story = silent();
    story.peer.send(&frame(CLOSE, b"")).await;
    assert_eq!(story.peer.frame().await, (CLOSE, vec![]));
    story.peer.expect_end().await;
    assert_eq!(story.end().await.code, ClosureCode::NoStatus);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_and_hangs_up_in_one_breath_has_closed_clean() {
    let mut story = silent();
    story.peer.send(&[frame(PING, b"x"), close(1001, ""), frame(TEXT, b"late")].concat()).await;
    story.peer.0.shutdown().await.unwrap();
    assert_eq!(story.peer.frame().await, (PONG, b"x".to_vec()));
    story.peer.expect_close(1001, "").await;
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert!(closure.clean);
    assert_eq!(closure.received.messages, 2, "what comes after a close frame is not read");
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_must_not_be_sent_is_answered_with_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut story = silent();
        story.peer.send(&close(code, "")).await;
        let (first, payload) = story.peer.frame().await;
        assert_eq!((first, &payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]), "{code}");
        story.peer.expect_end().await;
        assert_eq!(u16::from(story.end().await.code), 1002, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_session_says_1001_and_waits_for_the_answer() {
    let mut story = silent();
    story.drain.start();
    story.peer.expect_close(1001, "drained").await;
    sleep(Duration::from_secs(2)).await;
    story.peer.send(&close(1001, "")).await;
    story.peer.expect_end().await;
    story.drain.closed().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, true));
    assert_eq!(closure.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_during_a_drain_is_closed_as_well() {
    let (near, far) = tokio::io::duplex(1024);
    let drain = transport::Drain::default();
    let watch = drain.watch();
    drain.start();
    let socket = transport::Socket::new(near, MAX_MESSAGE_BYTES);
    let session = tokio::spawn(transport::run(socket, support::TIMING, Silent, watch));
    let mut peer = support::Peer(far);
    peer.expect_close(1001, "drained").await;
    drop(peer);
    assert_eq!(session.await.unwrap().cause, Cause::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ignores_our_close_is_let_go_after_the_close_timeout() {
    let mut story = silent();
    story.drain.start();
    story.peer.expect_close(1001, "drained").await;
    let told = Instant::now();
    // It goes on talking, which does not prolong its time, and gets no answer any more.
    while story.peer.0.write_all(&frame(PING, b"still here")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!((3.0..3.2).contains(&told.elapsed().as_secs_f64()), "{:?}", told.elapsed());
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, false));
    assert_eq!(u16::from(closure.code), 1001);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_session_ends_at_once_and_is_still_told() {
    let mut story = silent();
    let start = Instant::now();
    story.drain.abort();
    story.peer.expect_close(1001, "drained").await;
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, false));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_drain_is_an_abort() {
    let Story { mut peer, drain, .. } = silent();
    drop(drain);
    peer.expect_close(1001, "drained").await;
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_is_reported_as_disconnected() {
    let mut story = silent();
    story.peer.send(&frame(TEXT, b"hello")).await;
    story.peer.send(&head(TEXT, 100)).await;
    story.peer.0.shutdown().await.unwrap();
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Disconnected, false));
    assert_eq!(u16::from(closure.code), 1006);
    assert_eq!(closure.initiator, Initiator::Nobody);
    assert_eq!(closure.received.messages, 1);
}

#[tokio::test(start_paused = true)]
async fn a_mute_peer_is_pinged_and_let_go() {
    let mut story = silent();
    let start = Instant::now();
    let (first, payload) = story.peer.frame().await;
    assert_eq!((first, payload.len()), (PING, 4));
    let pinged = start.elapsed().as_secs_f64();
    assert!((22.5..25.01).contains(&pinged), "{pinged}");

    story.peer.expect_end().await;
    let ended = start.elapsed().as_secs_f64();
    assert!((pinged + 10.0..pinged + 10.1).contains(&ended), "{ended}");
    assert_eq!(story.end().await.cause, Cause::PongTimeout);
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
async fn a_peer_that_reads_nothing_is_let_go_although_the_handler_never_stops() {
    let handler = Chatter::default();
    let story = open(handler.clone(), 1024);
    let start = Instant::now();
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::PongTimeout);
    assert!(start.elapsed() < Duration::from_secs(36), "{:?}", start.elapsed());
    let asked = handler.0.load(Ordering::Relaxed);
    assert!(asked < 10_000, "the handler is not asked while output is stuck: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_a_session_whose_output_is_stuck() {
    let story = open(Chatter::default(), 1024);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    story.drain.start();
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, false));
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything_in_order_and_then_the_close() {
    let mut story = open(Chatter::default(), 64);
    for _ in 0..1000 {
        assert_eq!(story.peer.frame().await, (TEXT, b"chatter".to_vec()));
    }
    story.drain.start();
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
    let mut story = open(Silent, 1024);
    let ping = frame(PING, &[7; 125]);
    let mut taken = 0;
    while timeout(Duration::from_secs(1), story.peer.0.write_all(&ping)).await.is_ok() {
        taken += 1;
        assert!(taken < 10_000, "the session takes in what it cannot answer");
    }
    // Once it reads, it gets every pong it is due, and the session goes on.
    for _ in 0..taken {
        assert_eq!(story.peer.frame().await, (PONG, vec![7; 125]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_big_is_refused_from_its_head_alone() {
    for length in [4097, 65_536, 1 << 31, 1 << 62] {
        let mut story = silent();
        story.peer.send(&[head(TEXT, length), vec![1, 2, 3, 4]].concat()).await;
        story.peer.expect_close(1009, "too_big").await;
        story.peer.expect_end().await;
        story.peer.0.shutdown().await.unwrap();
        assert_eq!(story.end().await.cause, Cause::TooBig);
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_that_add_up_to_too_much_are_refused() {
    let mut story = silent();
    story.peer.send(&frame(0x01, &[b'a'; 4000])).await;
    story.peer.send(&frame(0x00, &[b'a'; 96])).await;
    story.peer.send(&frame(0x80, b"a")).await;
    story.peer.expect_close(1009, "too_big").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_of_just_the_limit_is_taken() {
    let mut story = open(Echo::default(), 64 * 1024);
    story.peer.send(&frame(TEXT, &[b'a'; MAX_MESSAGE_BYTES])).await;
    assert_eq!(story.peer.frame().await, (TEXT, vec![b'a'; MAX_MESSAGE_BYTES]));
}

#[tokio::test(start_paused = true)]
async fn each_violation_is_told_with_its_code() {
    let unmasked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    };
    let long_ping = [head(PING, 126), vec![0; 4 + 126]].concat();
    let cases: [(&str, Vec<u8>, u16, Cause); 17] = [
        ("unmasked text", unmasked(TEXT, b"hi"), 1002, Cause::ProtocolError),
        ("unmasked ping", unmasked(PING, b""), 1002, Cause::ProtocolError),
        ("RSV1", frame(0xc1, b"hi"), 1002, Cause::ProtocolError),
        ("RSV2", frame(0xa1, b"hi"), 1002, Cause::ProtocolError),
        ("RSV3", frame(0x91, b"hi"), 1002, Cause::ProtocolError),
        ("opcode 3", frame(0x83, b"hi"), 1002, Cause::ProtocolError),
        ("opcode 11", frame(0x8b, b"hi"), 1002, Cause::ProtocolError),
        ("a fragmented ping", frame(0x09, b""), 1002, Cause::ProtocolError),
        ("a ping of 126 bytes", long_ping, 1002, Cause::ProtocolError),
        ("a continuation of nothing", frame(0x80, b"hi"), 1002, Cause::ProtocolError),
        (
            "a text within a text",
            [frame(0x01, b"a"), frame(TEXT, b"b")].concat(),
            1002,
            Cause::ProtocolError,
        ),
        ("a close of one byte", frame(CLOSE, b"x"), 1002, Cause::ProtocolError),
        ("a close that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007, Cause::InvalidUtf8),
        ("a text that is not UTF-8", frame(TEXT, b"\xc3\x28"), 1007, Cause::InvalidUtf8),
        ("a text with a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007, Cause::InvalidUtf8),
        (
            "a text that ends in mid-character",
            [frame(0x01, b"a"), frame(0x80, b"\xe2\x82")].concat(),
            1007,
            Cause::InvalidUtf8,
        ),
        ("a text that is too long", frame(TEXT, &[b'a'; 5000]), 1009, Cause::TooBig),
    ];
    for (what, bytes, code, cause) in cases {
        let mut story = silent();
        story.peer.send(&bytes).await;
        let told = timeout(Duration::from_secs(1), story.peer.expect_close(code, cause.as_str()));
        assert!(told.await.is_ok(), "{what}: nothing was said");
        story.peer.expect_end().await;
        story.peer.0.shutdown().await.unwrap();
        let closure = story.end().await;
        assert_eq!((closure.cause, u16::from(closure.code)), (cause, code), "{what}");
        assert_eq!(closure.initiator, Initiator::Local, "{what}");
        assert!(!closure.clean, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_violation_what_still_comes_is_read_away_until_the_peer_hangs_up() {
    let mut story = open(Silent, 1024);
    story.peer.send(&frame(0x83, b"")).await;
    story.peer.send(&vec![0; 1 << 20]).await;
    story.peer.expect_close(1002, "protocol_error").await;
    story.peer.expect_end().await;
    let start = Instant::now();
    story.peer.0.shutdown().await.unwrap();
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::ProtocolError);
    assert_eq!(start.elapsed(), Duration::ZERO, "the end of the stream is all it waits for");
}

#[tokio::test(start_paused = true)]
async fn a_violator_that_never_hangs_up_is_let_go_after_the_close_timeout() {
    let mut story = silent();
    let start = Instant::now();
    story.peer.send(&frame(0x83, b"")).await;
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::ProtocolError);
    assert!((3.0..3.1).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_violation_during_our_close_ends_the_session() {
    let mut story = silent();
    story.drain.start();
    story.peer.expect_close(1001, "drained").await;
    story.peer.send(&frame(0x83, b"")).await;
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Drained, false));
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
async fn a_handler_may_answer_and_may_close() {
    struct Once;
    impl Handler for Once {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            let code = CloseCode::try_from(4000).unwrap();
            Poll::Ready(Next::Close(code, "that was all".into()))
        }
        fn receive(&mut self, _: Message) {}
    }
    let mut story = open(Once, 1024);
    story.peer.expect_close(4000, "that was all").await;
    story.peer.send(&close(4000, "")).await;
    let closure = story.end().await;
    assert_eq!(closure.cause, Cause::HandlerClosed);
    assert_eq!(u16::from(closure.code), 4000);
    assert!(closure.clean);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_handler_is_asked_again_when_it_says_so() {
    struct Later(Option<tokio::sync::oneshot::Receiver<()>>);
    impl Handler for Later {
        fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
            let Some(receiver) = &mut self.0 else { return Poll::Pending };
            std::task::ready!(std::pin::Pin::new(receiver).poll(cx)).unwrap();
            self.0 = None;
            Poll::Ready(Next::Send(Message::Binary(vec![1, 2, 3].into())))
        }
        fn receive(&mut self, _: Message) {}
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut story = open(Later(Some(receiver)), 1024);
    sleep(Duration::from_secs(1)).await;
    sender.send(()).unwrap();
    assert_eq!(story.peer.frame().await, (BINARY, vec![1, 2, 3]));
}

/// Panics at the word `panic`, wherever it is told to.
struct Fragile {
    in_drop: bool,
}

impl Handler for Fragile {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        panic!("as it was told to");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.in_drop || std::thread::panicking(), "again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_session_with_1011_and_a_record() {
    let mut story = open(Fragile { in_drop: false }, 1024);
    story.peer.send(&frame(TEXT, b"panic")).await;
    story.peer.expect_close(1011, "panicked").await;
    story.peer.send(&close(1011, "")).await;
    story.peer.expect_end().await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Panicked, true));
    assert_eq!(closure.initiator, Initiator::Local);
}

#[tokio::test(start_paused = true)]
async fn a_second_panic_does_not_take_the_record_away() {
    let mut story = open(Fragile { in_drop: true }, 1024);
    story.peer.send(&frame(TEXT, b"panic")).await;
    let closure = story.end().await;
    assert_eq!((closure.cause, closure.clean), (Cause::Panicked, false));
}
