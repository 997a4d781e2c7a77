//! permessage-deflate (RFC 7692) in a session: what is compressed, what is inflated, and what is refused.
//! `extensions.rs` has its negotiation.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/deflate.rs"]
mod deflate;
mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use deflate::{Inflater, deflate, deflate_with_memory};
use support::{
    BINARY, CLOSE, Echo, PING, PONG, Peer, SIZES, TEXT, TestSession, close, close_payload, config,
    frame, open, spawned_drain,
};
use tokio::io::duplex;
use tokio::time::{sleep, timeout};
use transport::ws_core::{Cause, Limits};
use transport::{
    Compression, Discard, DrainOptions, Handler, Message, Next, PreparedMessage, WebSocket,
};

const RSV1: u8 = 0x40;

fn open_compressed(compression: Compression, handler: impl Handler) -> TestSession {
    open_limited(Limits::default(), compression, handler)
}

fn open_limited(limits: Limits, compression: Compression, handler: impl Handler) -> TestSession {
    let (near, far) = duplex(64 * 1024);
    let drain = spawned_drain();
    let socket = WebSocket::new(near, SIZES).with_compression(Some(compression));
    let session = tokio::spawn(transport::run(socket, config(limits), handler, drain.token()));
    TestSession { peer: Peer(far), drain, session }
}

/// A compressed message in one frame.
fn compressed(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first | RSV1, &deflate(payload))
}

/// Sends what a test has queued.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Next>>>);

impl Queue {
    fn push(&self, next: Next) {
        self.0.lock().unwrap().push_back(next);
    }

    fn state(&self, state: &PreparedMessage) {
        self.push(Next::SendPrepared(state.clone()));
    }
}

impl Handler for Queue {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.lock().unwrap().pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn receive(&mut self, _: Message) {}
}

/// The next frames of a session, each with its first byte and its length, and inflated.
async fn sent<const COUNT: usize>(
    session: &mut TestSession,
    inflater: &mut Inflater,
) -> [(u8, usize, Vec<u8>); COUNT] {
    // The ping makes the session poll its handler.
    session.peer.send(&frame(PING, b"")).await;
    assert_eq!(session.peer.frame().await, (PONG, vec![]));
    let mut messages = Vec::new();
    for _ in 0..COUNT {
        let (first, payload) = session.peer.frame().await;
        let message = if first & RSV1 != 0 { inflater.inflate(&payload) } else { payload.clone() };
        messages.push((first, payload.len(), message));
    }
    messages.try_into().unwrap()
}

fn text(state: &str) -> PreparedMessage {
    PreparedMessage::compressible(&Message::from(state))
}

/// A text of many entries, of which one is `changed`.
fn entries(changed: usize) -> String {
    let entry = |index: usize| {
        let value = if index == changed { 1 } else { index * 7919 % 1000 };
        format!("{{\"id\":{index},\"value\":{value}}},")
    };
    (0..100).map(entry).collect()
}

//= rfc7692#6.1-3 rfc7692#6.2-1 rfc7692#6.2-2 test
#[tokio::test(start_paused = true)]
async fn a_compressed_message_is_received_as_it_was_before() {
    let long = "größer ".repeat(400);
    for payload in ["", "a", "größer", &long] {
        for (first, answer) in [(TEXT, TEXT), (BINARY, BINARY)] {
            let deflated = deflate(payload.as_bytes());
            let (one, two) = deflated.split_at(deflated.len() / 2);
            let in_fragments = [
                frame(first & 0x0f | RSV1, one),
                frame(PING, b"between"),
                frame(0x00, b""),
                frame(0x80, two),
            ];
            for (bytes, has_ping) in
                [(compressed(first, payload.as_bytes()), false), (in_fragments.concat(), true)]
            {
                for size in [1, 7, bytes.len()] {
                    let mut session = open_compressed(Compression::Shared, Echo::default());
                    for part in bytes.chunks(size) {
                        session.peer.send(part).await;
                        tokio::task::yield_now().await;
                    }
                    if has_ping {
                        assert_eq!(session.peer.frame().await, (PONG, b"between".to_vec()));
                    }
                    let echo = session.peer.frame().await;
                    assert_eq!(echo, (answer, payload.as_bytes().to_vec()));
                    // A message that is not compressed may follow.
                    session.peer.send(&frame(TEXT, b"plain")).await;
                    assert_eq!(session.peer.frame().await, (TEXT, b"plain".to_vec()));
                }
            }
        }
    }
}

//= rfc6455#5.6-1 rfc6455#5.8-1 rfc7692#6.1-4 rfc7692#6.1-6 test
#[tokio::test(start_paused = true)]
async fn each_violation_by_a_compressed_message_is_closed_with_its_code() {
    let max = SIZES.max_message_bytes;
    let mut random = 1_u64;
    let noise: Vec<u8> = (0..max)
        .map(|_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            random.to_be_bytes()[0]
        })
        .collect();
    let in_short_blocks = deflate_with_memory(1, &noise);
    assert!(in_short_blocks.len() > max + 64, "each block has a header of its own");
    let truncated = &deflate(entries(1).as_bytes())[..40];
    let table = [
        ("as long as the limit", compressed(BINARY, &vec![0; max]), None),
        ("a byte longer", compressed(BINARY, &vec![0; max + 1]), Some((1009, Cause::TooBig))),
        ("a bomb", compressed(BINARY, &vec![0; 1 << 22]), Some((1009, Cause::TooBig))),
        ("not compressible", compressed(BINARY, &noise), None),
        ("in short blocks", frame(BINARY | RSV1, &in_short_blocks), None),
        (
            "announced as more than any sender makes of the limit",
            support::head(BINARY | RSV1, max + max / 16 + 65),
            Some((1009, Cause::TooBig)),
        ),
        ("no UTF-8", compressed(TEXT, b"\xc3\x28"), Some((1007, Cause::InvalidUtf8))),
        ("bytes that are no UTF-8", compressed(BINARY, b"\xc3\x28"), None),
        ("no DEFLATE", frame(TEXT | RSV1, b"\xff\xff"), Some((1002, Cause::ProtocolError))),
        ("truncated", frame(TEXT | RSV1, truncated), Some((1002, Cause::ProtocolError))),
        (
            "RSV1 on a continuation",
            [frame(0x01 | RSV1, b""), frame(0x80 | RSV1, b"")].concat(),
            Some((1002, Cause::ProtocolError)),
        ),
        ("RSV1 on a ping", frame(PING | RSV1, b""), Some((1002, Cause::ProtocolError))),
        ("RSV1 on a Close frame", frame(CLOSE | RSV1, b""), Some((1002, Cause::ProtocolError))),
        ("RSV2", frame(TEXT | 0x20, b""), Some((1002, Cause::ProtocolError))),
        ("RSV1 and RSV3", frame(TEXT | 0x50, b""), Some((1002, Cause::ProtocolError))),
    ];
    for (what, bytes, violation) in table {
        let mut session = open_compressed(Compression::Fresh, Echo::default());
        session.peer.send(&bytes).await;
        let (first, payload) =
            timeout(Duration::from_secs(1), session.peer.frame()).await.expect(what);
        match violation {
            Some((code, cause)) => {
                assert_eq!(
                    (first, payload),
                    (CLOSE, close_payload(code, cause.as_str())),
                    "{what}"
                );
            }
            None => assert!(first == TEXT || first == BINARY, "{what}: {first:#x}"),
        }
    }
    let mut without = open(Echo::default(), 64 * 1024);
    without.peer.send(&compressed(TEXT, b"compressed")).await;
    without.peer.expect_close(1002, "protocol_error").await;
}

#[tokio::test(start_paused = true)]
async fn compressed_messages_in_flight_do_not_spoil_the_closing_handshake() {
    let mut session = open_compressed(Compression::Shared, Echo::default());
    session.drain.start(DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
    // Nobody receives it, so it is not even inflated.
    session.peer.send(&compressed(BINARY, &vec![0; 1 << 22])).await;
    session.peer.send(&[compressed(TEXT, b"late"), close(1001, "")].concat()).await;
    session.peer.expect_end().await;
    assert!(session.end().await.clean);
}

//= rfc6455#5.2-6 rfc7692#6.1-1 rfc7692#6.1-2 rfc7692#6.1-5 test
#[tokio::test(start_paused = true)]
async fn a_message_is_compressed_only_if_the_handler_says_so() {
    for compression in [Compression::Fresh, Compression::Shared] {
        let queue = Queue::default();
        let mut session = open_compressed(compression, queue.clone());
        let message = Message::from(entries(1));
        queue.push(Next::Send(message.clone()));
        queue.push(Next::SendCompressed(message.clone()));
        queue.push(Next::SendCompressed(Message::from("short")));
        queue.push(Next::SendCompressed(message));
        let sent = sent::<4>(&mut session, &mut Inflater::default()).await;
        let firsts = sent.each_ref().map(|(first, _, _)| *first);
        assert_eq!(firsts, [TEXT, TEXT | RSV1, TEXT, TEXT | RSV1]);
        assert!(sent[1].1 < sent[0].1 / 3, "{} bytes of {}", sent[1].1, sent[0].1);
        for (index, (_, _, inflated)) in sent.into_iter().enumerate() {
            let expected = if index == 2 { "short".to_owned() } else { entries(1) };
            assert_eq!(String::from_utf8(inflated).unwrap(), expected);
        }
    }
    // Without the extension it is sent as it is.
    let queue = Queue::default();
    let mut session = open(queue.clone(), 64 * 1024);
    queue.push(Next::SendCompressed(Message::from(entries(1))));
    let sent = sent::<1>(&mut session, &mut Inflater::default()).await;
    assert_eq!(sent, [(TEXT, entries(1).len(), entries(1).into_bytes())]);
}

//= rfc7692#7.3-1 test
#[tokio::test(start_paused = true)]
async fn a_session_that_was_told_the_state_before_is_told_the_difference() {
    let [one, two, three] = [1, 2, 3].map(entries);
    let queues = [Queue::default(), Queue::default()];
    let mut sessions =
        queues.each_ref().map(|queue| open_compressed(Compression::Shared, queue.clone()));
    let mut inflaters = [Inflater::default(), Inflater::default()];
    let first = text(&one);
    queues[0].state(&first);
    let sent_first = sent::<1>(&mut sessions[0], &mut inflaters[0]).await;
    let second = text(&two).following(&first);
    // The first session was told the first state, the second was not.
    queues.iter().for_each(|queue| queue.state(&second));
    let difference = sent::<1>(&mut sessions[0], &mut inflaters[0]).await;
    let fresh = sent::<1>(&mut sessions[1], &mut inflaters[1]).await;
    for sent in [&difference, &fresh] {
        assert_eq!((sent[0].0, &sent[0].2[..]), (TEXT | RSV1, two.as_bytes()));
    }
    assert_eq!(sent_first[0].2, one.as_bytes());
    assert!(difference[0].1 * 10 < fresh[0].1, "{} and {}", difference[0].1, fresh[0].1);

    // Both were told the second. What the second is told in between is not the state before.
    let third = text(&three).following(&second);
    queues[0].push(Next::Send(Message::from("not compressed")));
    queues[1].push(Next::SendCompressed(Message::from(one.clone())));
    queues.iter().for_each(|queue| queue.state(&third));
    let difference = sent::<2>(&mut sessions[0], &mut inflaters[0]).await;
    let fresh = sent::<2>(&mut sessions[1], &mut inflaters[1]).await;
    assert_eq!((&difference[1].2[..], &fresh[1].2[..]), (three.as_bytes(), three.as_bytes()));
    assert!(difference[1].1 * 10 < fresh[1].1, "{} and {}", difference[1].1, fresh[1].1);
}

//= rfc7692#7.2.1-3 test
#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_no_window_is_told_each_state_by_itself() {
    let queue = Queue::default();
    let mut session = open_compressed(Compression::Fresh, queue.clone());
    let mut before = text(&entries(0));
    for changed in 1..20 {
        let state = text(&entries(changed)).following(&before);
        queue.state(&state);
        // A new inflater each time.
        let sent = sent::<1>(&mut session, &mut Inflater::default()).await;
        assert_eq!((sent[0].0, &sent[0].2[..]), (TEXT | RSV1, entries(changed).as_bytes()));
        before = state;
    }
}

//= rfc7692#6.1-2 test
#[tokio::test(start_paused = true)]
async fn a_prepared_message_is_sent_as_it_is_unless_it_is_compressible() {
    let queue = Queue::default();
    let mut session = open_compressed(Compression::Shared, queue.clone());
    let first = text(&entries(1));
    queue.state(&first);
    let mut inflater = Inflater::default();
    let [_] = sent(&mut session, &mut inflater).await;
    queue.state(&PreparedMessage::from(Message::from(entries(2))).following(&first));
    queue.state(&text(&entries(3)).following(&first));
    let [plain, difference] = sent(&mut session, &mut inflater).await;
    assert_eq!(plain, (TEXT, entries(2).len(), entries(2).into_bytes()));
    // The plain one has not changed the window of the client.
    assert_eq!((difference.0, &difference.2[..]), (TEXT | RSV1, entries(3).as_bytes()));
    assert!(difference.1 < 100, "{} bytes", difference.1);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_the_next_read_begins_no_message() {
    let limits = Limits { message_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let mut session = open_limited(limits, Compression::Fresh, Discard);
    // What one read inflates is bounded, so the ping is left to the next.
    let messages = compressed(TEXT, &[b'x'; 4096]).repeat(16);
    session.peer.send(&[messages, frame(PING, b"?")].concat()).await;
    assert_eq!(session.peer.frame().await, (PONG, b"?".to_vec()));
    sleep(Duration::from_secs(6)).await;
    session.peer.send(&frame(PING, b"!")).await;
    assert_eq!(session.peer.frame().await, (PONG, b"!".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn what_is_inflated_for_a_peer_that_does_not_read_is_bounded() {
    /// Echoes, and counts what waits.
    #[derive(Default)]
    struct Waiting {
        queue: VecDeque<Message>,
        bytes: Arc<AtomicUsize>,
    }
    impl Handler for Waiting {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
            let Some(message) = self.queue.pop_front() else { return Poll::Pending };
            self.bytes.fetch_sub(message.payload_len(), Ordering::Relaxed);
            Poll::Ready(Next::Send(message))
        }

        fn receive(&mut self, message: Message) {
            self.bytes.fetch_add(message.payload_len(), Ordering::Relaxed);
            self.queue.push_back(message);
        }
    }
    let bytes = Arc::new(AtomicUsize::new(0));
    let handler = Waiting { bytes: Arc::clone(&bytes), ..Waiting::default() };
    let mut session = open_compressed(Compression::Shared, handler);
    let max = SIZES.max_message_bytes;
    let message = compressed(BINARY, &vec![0; max]);
    let count = 16 * 1024 / message.len();
    session.peer.send(&[message.repeat(count), close(1000, "")].concat()).await;
    // The clock goes on only when nothing else does.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let waiting = bytes.load(Ordering::Relaxed);
    assert!(waiting <= 3 * 64 * 1024, "{waiting} of {} bytes", count * max);
    // Nothing was lost.
    for _ in 0..count {
        assert_eq!(session.peer.frame().await, (BINARY, vec![0; max]));
    }
    session.peer.expect_close(1000, "").await;
    assert!(session.end().await.clean);
}
