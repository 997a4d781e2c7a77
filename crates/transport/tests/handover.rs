//! A session that another process continues: nothing of it changes for its client, and nothing of it is counted
//! twice. `handover_times.rs` has its times, `handover_at_rest.rs` what is not frozen, and `handover_resumed.rs`
//! what goes on in its own process.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/deflate.rs"]
mod deflate;
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

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use deflate::{Inflater, deflate};
use endpoint::{PERMITS, valid_request};
use handover::{Process, request_of, settle};
use hyper::header::HeaderValue;
use numbers::Numbers;
use support::{CLOSE, PING, PONG, Peer, TEXT, close, close_payload, frame, in_time};
use tokio::time::{Instant, sleep};
use transport::ws_core::{Cause, CloseCode, CloseFrame};
use transport::{Admit, Compression, Discard, Handler, Message, Next, PreparedMessage};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn logout() -> CloseFrame {
    CloseFrame { code: CloseCode::try_from(4001).unwrap(), reason: "logout".into() }
}

async fn expect_echo(peer: &mut Peer, text: &str) {
    peer.send(&frame(TEXT, text.as_bytes())).await;
    assert_eq!(peer.frame().await, (TEXT, text.into()));
}

#[test]
fn a_handler_that_is_cloned_for_each_session_continues_one_of_another_process() {
    let numbers = Numbers::default();
    let frozen = numbers.freeze().unwrap();
    assert!(Admit::thaw(&numbers, None, frozen).is_some());
    assert!(Admit::thaw(&numbers, None, Bytes::from_static(b"no number")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_continues_with_its_id_its_age_and_its_counters() {
    let numbers = Numbers::default();
    let old = Process::new(numbers.clone());
    let new = old.successor();
    let opened = Instant::now();
    let (mut peer, witness) = old.connect(&request_of("alice")).await;
    expect_echo(&mut peer, "one").await;
    peer.send(&frame(PING, b"??")).await;
    assert_eq!(peer.frame().await, (PONG, b"??".to_vec()));
    numbers.publish();
    assert_eq!(peer.frame().await, (TEXT, b"1".to_vec()));
    sleep(seconds(5)).await;

    old.freeze().await;
    assert_eq!(old.sink.only().id, 1);
    assert_eq!(old.sink.only().age + Duration::from_millis(1), opened.elapsed());
    sleep(seconds(2)).await;
    old.hand_over(&new, &[]).await;
    in_time(old.drain.closed()).await;

    numbers.publish();
    assert_eq!(peer.frame().await, (TEXT, b"2".to_vec()));
    expect_echo(&mut peer, "three").await;
    sleep(seconds(3)).await;
    peer.send(&close(1000, "")).await;
    assert_eq!(peer.frame().await, (CLOSE, close_payload(1000, "")));
    peer.expect_end().await;
    let (closed, record) = new.end().await;
    assert_eq!((record.cause, record.clean), (Cause::PeerClosed, true));
    assert_eq!(record.duration, closed - opened);
    let (received, sent) = (record.received, record.sent);
    // The payloads of two messages, of a ping and of a Close frame; and of these, the pong and two numbers.
    assert_eq!((received.messages, received.bytes), (2, 3 + 5 + 2 + 2));
    assert_eq!((sent.messages, sent.bytes), (4, 3 + 5 + 2 + 2 + 1 + 1));

    let ledger = new.ledger();
    assert_eq!((ledger.received, ledger.sent), (received, sent), "both observers together");
    assert_eq!(ledger.control_frames, [2, 2]);
    let opened = "opened 1 192.0.2.7:4711 - - of alice";
    assert_eq!(old.log.take_main(), [opened, "handed over 1"]);
    assert_eq!(new.log.take_main(), ["taken over 1", "closed 1 peer_closed of alice"]);
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_disconnected_in_the_new_process_and_not_in_the_old() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, witness) = old.connect(&request_of("alice")).await;
    settle().await;
    old.freeze().await;
    assert_eq!(old.sink.only().identity.unwrap().as_str(), "alice");
    assert_eq!((old.sessions.len(), new.sessions.len()), (1, 0));
    old.hand_over(&new, &[]).await;
    assert_eq!((old.sessions.len(), new.sessions.len()), (0, 1));
    assert_eq!(old.sessions.disconnect("alice", &logout()), 0);
    assert_eq!(new.sessions.disconnect("alice", &logout()), 1);
    peer.expect_close(4001, "logout").await;
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_disconnected_while_the_session_is_prepared_is_disconnected_when_it_begins() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&request_of("alice")).await;
    let (mut other, _witness) = old.connect(&request_of("bob")).await;
    settle().await;
    // Before the session was prepared, as before a handshake: bob has come back since.
    assert_eq!(new.sessions.disconnect("bob", &logout()), 0);
    old.freeze().await;
    old.drain.seal();
    let staged: Vec<_> = old.sink.take().into_iter().map(|taken| new.stage(taken)).collect();
    assert_eq!(new.sessions.disconnect("alice", &logout()), 0);
    staged.into_iter().for_each(|staged| staged.begin(Duration::ZERO));
    old.drain.hand_over([1, 2], []);
    old.drain.wake_sessions().await;
    peer.expect_close(4001, "logout").await;
    other.send(&frame(PING, b"?")).await;
    assert_eq!(other.frame().await, (PONG, b"?".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_a_session_is_frozen_is_read_once_and_by_the_new_process() {
    let old = Process::new(Numbers::default());
    let new = old.successor();
    let (mut peer, witness) = old.connect(&valid_request()).await;
    settle().await;
    old.freeze().await;
    let last = frame(TEXT, b"in two parts");
    let (begin, rest) = last.split_at(9);
    for bytes in [&frame(TEXT, b"one")[..], &frame(TEXT, b"two"), &frame(PING, b"?"), begin] {
        peer.send(bytes).await;
        settle().await;
    }
    assert_eq!(witness.foreign_accesses(), 0, "a frozen session does not access its stream");
    old.hand_over(&new, &[]).await;
    peer.send(rest).await;
    let frames = [(TEXT, "one"), (TEXT, "two"), (PONG, "?"), (TEXT, "in two parts")];
    for (first, payload) in frames {
        assert_eq!(peer.frame().await, (first, payload.into()));
    }
    peer.send(&close(1000, "")).await;
    assert_eq!(peer.frame().await.0, CLOSE);
    peer.expect_end().await;
    assert_eq!(new.end().await.1.received.messages, 3);
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_while_its_session_is_frozen_has_gone_in_the_new_process() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (peer, witness) = old.connect(&valid_request()).await;
    settle().await;
    old.freeze().await;
    drop(peer);
    sleep(seconds(1)).await;
    assert_eq!(new.ledger().closed.len(), 0);
    old.hand_over(&new, &[]).await;
    assert_eq!(new.end().await.1.cause, Cause::Disconnected);
    assert_eq!(new.log.take_main(), ["taken over 1", "closed 1 disconnected"]);
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_of_the_old_process_is_released_and_one_of_the_new_is_held() {
    let old = Process::new(Discard);
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    settle().await;
    old.freeze().await;
    assert_eq!(old.permits.available_permits(), PERMITS - 1, "a frozen session keeps it");
    old.hand_over(&new, &[]).await;
    assert_eq!(old.permits.available_permits(), PERMITS);
    assert_eq!(new.permits.available_permits(), PERMITS - 1);
    peer.send(&close(1000, "")).await;
    settle().await;
    assert_eq!(new.permits.available_permits(), PERMITS);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_after_the_freeze_began_is_frozen_too() {
    let old = Process::new(Numbers::default());
    let new = old.successor();
    old.freeze().await;
    let (mut peer, witness) = old.connect(&valid_request()).await;
    settle().await;
    assert_eq!(old.sink.frozen(), [1]);
    old.hand_over(&new, &[]).await;
    expect_echo(&mut peer, "hello").await;
    assert_eq!(new.ledger().opened, [1]);
    // After the seal none is frozen.
    let (mut peer, _) = old.connect(&valid_request()).await;
    expect_echo(&mut peer, "hello").await;
    assert_eq!((old.sink.frozen(), old.sink.offers.load(Ordering::Relaxed)), (vec![], 1));
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_new_process_assigns_no_id_of_the_old_one() {
    let old = Process::new(Discard);
    let new = old.successor();
    for _ in 0..5 {
        let _ = old.connect(&valid_request()).await;
    }
    settle().await;
    assert_eq!(old.drain.next_session_id(), 6);
    new.drain.skip_session_ids_below(6);
    // Lower numbers and the same change nothing.
    new.drain.skip_session_ids_below(2);
    assert_eq!(new.drain.next_session_id(), 6);
    let _ = new.connect(&valid_request()).await;
    settle().await;
    assert_eq!(new.log.take_main(), ["opened 6 192.0.2.7:4711 - -", "closed 6 disconnected"]);
    new.drain.skip_session_ids_below(7);
    assert_eq!(new.drain.next_session_id(), 7);
}

/// Sends what a test has queued, in any process.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<PreparedMessage>>>);

impl Handler for Queue {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        let state = self.0.lock().unwrap().pop_front();
        state.map_or(Poll::Pending, |state| Poll::Ready(Next::SendPrepared(state)))
    }

    fn receive(&mut self, message: Message) {
        self.0.lock().unwrap().push_back(PreparedMessage::compressible(&message));
    }

    fn freeze(&self) -> Option<Bytes> {
        Some(Bytes::new())
    }

    fn thaw(&self, _: Bytes) -> Option<Self> {
        Some(self.clone())
    }
}

/// A text of many entries, of which one is `changed`.
fn entries(changed: usize) -> String {
    let entry = |index: usize| {
        let value = if index == changed { 1 } else { index * 7919 % 1000 };
        format!("{{\"id\":{index},\"value\":{value}}},")
    };
    (0..100).map(entry).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_message_of_the_new_process_to_a_compressed_session_follows_no_other() {
    const RSV1: u8 = 0x40;
    let queue = Queue::default();
    let mut old = Process::new(queue.clone());
    old.set_policy(|policy| policy.compression.mode = Some(Compression::Shared));
    let new = old.successor();
    let mut request = valid_request();
    let offer = HeaderValue::from_static("permessage-deflate");
    request.headers_mut().insert("sec-websocket-extensions", offer);
    let (mut peer, _witness) = old.connect(&request).await;
    // The client keeps its window.
    let mut inflater = Inflater::default();
    let mut before = PreparedMessage::compressible(&entries(0).into());
    let mut lengths = Vec::new();
    for changed in 1..5 {
        if changed == 3 {
            old.freeze().await;
            assert_eq!(old.sink.only().compression, Some(Compression::Shared));
            old.hand_over(&new, &[]).await;
        }
        let state = PreparedMessage::compressible(&entries(changed).into()).following(&before);
        queue.0.lock().unwrap().push_back(state.clone());
        before = state;
        // The ping makes the session poll its handler.
        peer.send(&frame(PING, b"")).await;
        assert_eq!(peer.frame().await, (PONG, vec![]));
        let (first, payload) = peer.frame().await;
        assert_eq!(first, TEXT | RSV1);
        assert_eq!(inflater.inflate(&payload), entries(changed).as_bytes());
        lengths.push(payload.len());
    }
    assert!(lengths[1] * 10 < lengths[0] && lengths[3] * 10 < lengths[2], "{lengths:?}");
    assert_eq!(lengths[2].abs_diff(lengths[0]) / 10, 0, "{lengths:?}");
    // Messages of the client are inflated as before.
    peer.send(&frame(TEXT | RSV1, &deflate(entries(9).as_bytes()))).await;
    let (_, payload) = peer.frame().await;
    assert_eq!(inflater.inflate(&payload), entries(9).as_bytes());
}
