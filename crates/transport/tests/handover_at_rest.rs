//! What keeps a session from being frozen, and that it is frozen once that has passed.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/handover.rs"]
mod handover;
#[path = "support/http2_client.rs"]
mod http2_client;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/shared_stream.rs"]
mod shared_stream;
mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use handover::{PIPE_BYTES, Process, request_of, settle};
use numbers::{Freezing, Numbers};
use shared_stream::Witness;
use support::{CLOSE, PING, PONG, Peer, TEXT, close, close_payload, frame};
use tokio::time::sleep;
use transport::ws_core::{Cause, CloseCode, CloseFrame, Limits};
use transport::{Handler, Message, Next, SessionRegistry};

fn logout() -> CloseFrame {
    CloseFrame { code: CloseCode::try_from(4001).unwrap(), reason: "logout".into() }
}

/// A session, its process and the one after it.
struct Scene {
    numbers: Numbers,
    old: Process<Numbers>,
    new: Process<Numbers>,
    peer: Peer,
    witness: Witness,
}

async fn scene(pipe_bytes: usize) -> Scene {
    let numbers = Numbers::default();
    let mut old = Process::new(numbers.clone());
    // A timeout that runs would keep the session from being frozen, too.
    old.set_config(|config| config.limits = Limits::default());
    let new = old.successor();
    let (peer, witness) = old.connect_over(&request_of("alice"), pipe_bytes).await;
    settle().await;
    Scene { numbers, old, new, peer, witness }
}

impl Scene {
    /// Freezes, and expects that the session is not frozen.
    async fn expect_not_frozen(&self) {
        self.old.freeze().await;
        assert_eq!(self.old.sink.frozen(), []);
    }

    /// Expects that the session is frozen by now, and that it continues in the other process.
    async fn expect_frozen(mut self) {
        settle().await;
        assert_eq!(self.old.sink.frozen(), [1]);
        self.old.hand_over(&self.new, &[]).await;
        self.numbers.publish();
        assert_eq!(self.peer.frame().await, (TEXT, self.numbers.latest().to_string().into()));
        self.peer.send(&frame(TEXT, b"hello")).await;
        assert_eq!(self.peer.frame().await, (TEXT, b"hello".to_vec()));
        self.peer.send(&close(1000, "")).await;
        assert_eq!(self.peer.frame().await, (CLOSE, close_payload(1000, "")));
        self.peer.expect_end().await;
        assert_eq!(self.new.end().await.1.cause, Cause::PeerClosed);
        assert_eq!(self.old.ledger().opened, [1]);
        assert_eq!(self.witness.foreign_accesses(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_part_of_a_frame_is_frozen_when_it_is_complete() {
    let bytes = frame(TEXT, &[b'x'; 300]);
    // Within the header, behind it, and within the payload.
    for count in [1, 3, 8, 100] {
        let mut scene = scene(PIPE_BYTES).await;
        let (begin, rest) = bytes.split_at(count);
        scene.peer.send(begin).await;
        scene.expect_not_frozen().await;
        scene.peer.send(rest).await;
        // It is answered here.
        assert_eq!(scene.peer.frame().await, (TEXT, vec![b'x'; 300]));
        scene.expect_frozen().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_part_of_a_ping_is_frozen_when_it_is_complete() {
    let mut scene = scene(PIPE_BYTES).await;
    let ping = frame(PING, b"question");
    scene.peer.send(&ping[..9]).await;
    scene.expect_not_frozen().await;
    scene.peer.send(&ping[9..]).await;
    assert_eq!(scene.peer.frame().await, (PONG, b"question".to_vec()));
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_between_two_fragments_is_frozen_after_the_last() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.peer.send(&frame(0x01, b"one, ")).await;
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(0x00, b"two, ")).await;
    scene.peer.send(&frame(PING, b"?")).await;
    assert_eq!(scene.peer.frame().await, (PONG, b"?".to_vec()));
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(0x80, b"three")).await;
    assert_eq!(scene.peer.frame().await, (TEXT, b"one, two, three".to_vec()));
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_peer_does_not_read_is_frozen_when_it_has_read() {
    let mut scene = scene(64).await;
    scene.peer.send(&frame(TEXT, &[b'x'; 30])).await;
    scene.peer.send(&frame(TEXT, &[b'y'; 40])).await;
    settle().await;
    // Two echoes of 74 bytes, in a pipe of 64.
    scene.expect_not_frozen().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.old.sink.frozen(), []);
    assert_eq!(scene.peer.frame().await, (TEXT, vec![b'x'; 30]));
    assert_eq!(scene.peer.frame().await, (TEXT, vec![b'y'; 40]));
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_stream_has_not_written_all_is_frozen_when_it_has() {
    let scene = scene(PIPE_BYTES).await;
    scene.witness.block_flush(true);
    scene.expect_not_frozen().await;
    scene.witness.block_flush(false);
    scene.old.drain.wake_sessions().await;
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closing_is_never_frozen() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.old.sessions.disconnect("alice", &logout());
    scene.peer.expect_close(4001, "logout").await;
    scene.expect_not_frozen().await;
    scene.peer.send(&close(4001, "")).await;
    scene.peer.expect_end().await;
    let (_, record) = scene.old.end().await;
    assert_eq!((record.cause, record.clean), (Cause::DisconnectRequested, true));
    assert_eq!(scene.old.sink.frozen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_session_that_is_disconnected_keeps_no_other_from_being_frozen() {
    let process = Process::new(Numbers::default());
    let (_alice, _) = process.connect(&request_of("alice")).await;
    let (mut bob, _) = process.connect(&request_of("bob")).await;
    let message = frame(TEXT, b"later");
    let (begin, end) = message.split_at(3);
    bob.send(begin).await;
    process.freeze().await;
    assert_eq!(process.sink.frozen(), [1]);
    assert_eq!(process.sessions.disconnect("alice", &logout()), 1);
    bob.send(end).await;
    settle().await;
    assert_eq!(process.sink.frozen(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_discards_input_after_a_violation_is_never_frozen() {
    let mut scene = scene(PIPE_BYTES).await;
    // A reserved opcode.
    scene.peer.send(&frame(0x83, b"")).await;
    assert_eq!(scene.peer.frame().await.0, CLOSE);
    scene.expect_not_frozen().await;
    drop(scene.peer);
    assert_eq!(scene.old.end().await.1.cause, Cause::ProtocolError);
    assert_eq!(scene.old.sink.frozen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_handler_decides_whether_its_session_is_frozen() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.numbers.set_freezing(Freezing::Refuses);
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(TEXT, b"still here")).await;
    assert_eq!(scene.peer.frame().await, (TEXT, b"still here".to_vec()));
    scene.numbers.set_freezing(Freezing::Freezes);
    // It is asked again at the end of a later poll, not by itself.
    settle().await;
    assert_eq!(scene.old.sink.frozen(), []);
    scene.old.drain.wake_sessions().await;
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_frozen_keeps_its_session() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.numbers.set_freezing(Freezing::Panics);
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(TEXT, b"still here")).await;
    assert_eq!(scene.peer.frame().await, (TEXT, b"still here".to_vec()));
    scene.numbers.set_freezing(Freezing::Freezes);
    scene.old.drain.wake_sessions().await;
    scene.expect_frozen().await;
}

/// Disconnects its own identity when it receives a message.
#[derive(Clone, Default)]
struct DisconnectsItself(Arc<OnceLock<SessionRegistry>>);

impl Handler for DisconnectsItself {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        assert_eq!(self.0.get().unwrap().disconnect("alice", &logout()), 1);
    }

    fn freeze(&self) -> Option<Bytes> {
        Some(Bytes::new())
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_disconnected_in_the_poll_at_whose_end_it_would_be_frozen_closes_here() {
    let handler = DisconnectsItself::default();
    let process = Process::new(handler.clone());
    handler.0.set(process.sessions.clone()).unwrap();
    let (mut peer, _witness) = process.connect(&request_of("alice")).await;
    settle().await;
    process.sink.refuses.store(true, Ordering::Relaxed);
    process.freeze().await;
    process.sink.refuses.store(false, Ordering::Relaxed);
    peer.send(&frame(TEXT, b"log me out")).await;
    peer.expect_close(4001, "logout").await;
    assert_eq!(process.sink.frozen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_sink_does_not_take_is_offered_again() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.old.sink.refuses.store(true, Ordering::Relaxed);
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(TEXT, b"still here")).await;
    assert_eq!(scene.peer.frame().await, (TEXT, b"still here".to_vec()));
    settle().await;
    assert_eq!(scene.old.sink.offers.load(Ordering::Relaxed), 2);
    scene.old.sink.refuses.store(false, Ordering::Relaxed);
    scene.old.drain.wake_sessions().await;
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_sink_panics_goes_on() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.old.sink.panics.store(true, Ordering::Relaxed);
    scene.expect_not_frozen().await;
    scene.peer.send(&frame(TEXT, b"still here")).await;
    assert_eq!(scene.peer.frame().await, (TEXT, b"still here".to_vec()));
    scene.old.sink.panics.store(false, Ordering::Relaxed);
    scene.old.drain.wake_sessions().await;
    scene.expect_frozen().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_frozen_in_the_middle_of_what_its_handler_sends() {
    const COUNT: u64 = 40_000;
    let mut scene = scene(1 << 20).await;
    for _ in 0..COUNT {
        scene.numbers.publish();
    }
    // One poll sends about 128 KiB, and the stream accepts them.
    scene.old.freeze().await;
    let frozen = String::from_utf8(scene.old.sink.only().handler.into()).unwrap();
    assert!((1..COUNT).contains(&frozen.parse().unwrap()), "{frozen}");
    scene.old.hand_over(&scene.new, &[]).await;
    for number in 1..=COUNT {
        assert_eq!(scene.peer.frame().await, (TEXT, number.to_string().into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_closes_the_session_is_not_lost_in_a_freeze() {
    let mut scene = scene(PIPE_BYTES).await;
    scene.old.freeze().await;
    // The handler does not expect bytes in a text frame that are no UTF-8.
    scene.peer.send(&frame(TEXT, b"\xff")).await;
    settle().await;
    scene.old.hand_over(&scene.new, &[]).await;
    scene.peer.expect_close(1007, "invalid_utf8").await;
    drop(scene.peer);
    assert_eq!(scene.new.log.take_main(), ["taken over 1"]);
    settle().await;
    assert_eq!(scene.new.log.take_main(), ["closed 1 invalid_utf8 of alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_sessions_freezes_and_hands_over_nothing() {
    let old = Process::new(Numbers::default());
    let new = old.successor();
    old.freeze().await;
    old.hand_over(&new, &[]).await;
    old.resume().await;
    assert_eq!((old.log.take(), new.log.take()), (vec![], vec![]));
}
