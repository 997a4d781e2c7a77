//! A frozen session that goes on in its own process, because no other one has taken it.
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
use std::time::Duration;

use endpoint::valid_request;
use handover::{Process, request_of, settle};
use numbers::Numbers;
use support::{CLOSE, PING, PONG, Peer, TEXT, close, close_payload, frame, in_time};
use tokio::time::{Instant, sleep};
use transport::ws_core::{Cause, CloseCode, CloseFrame, Rate};
use transport::{Discard, DrainOptions};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_answers_what_came_meanwhile_and_sends_what_its_handler_has() {
    let numbers = Numbers::default();
    let process = Process::new(numbers.clone());
    let (mut peer, witness) = process.connect(&valid_request()).await;
    settle().await;
    process.freeze().await;
    peer.send(&frame(PING, b"?")).await;
    numbers.publish();
    numbers.publish();
    sleep(seconds(1)).await;
    assert_eq!(witness.foreign_accesses(), 0, "a frozen session does not access its stream");
    process.resume().await;
    for (first, payload) in [(PONG, "?"), (TEXT, "1"), (TEXT, "2")] {
        assert_eq!(peer.frame().await, (first, payload.into()));
    }
    numbers.publish();
    assert_eq!(peer.frame().await, (TEXT, b"3".to_vec()));
    peer.send(&close(1000, "")).await;
    let opened = Instant::now() - seconds(1) - Duration::from_millis(3);
    let (closed, record) = process.end().await;
    assert_eq!((record.cause, record.duration), (Cause::PeerClosed, closed - opened));
    let opened = "opened 1 192.0.2.7:4711 - -";
    assert_eq!(process.log.take_main(), [opened, "closed 1 peer_closed"]);
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_due_meanwhile_is_sent_and_the_next_ones_keep_their_schedule() {
    let process = Process::new(Discard);
    let (mut peer, _witness) = process.connect(&valid_request()).await;
    let begin = Instant::now();
    let (first, payload) = peer.frame().await;
    let schedule = begin.elapsed();
    assert_eq!(first, PING);
    peer.send(&frame(PONG, &payload)).await;
    sleep(seconds(20)).await;
    process.freeze().await;
    sleep(seconds(10)).await;
    process.resume().await;
    assert!(begin.elapsed() > schedule + seconds(30));
    let (first, payload) = peer.frame().await;
    assert_eq!((first, begin.elapsed() < schedule + seconds(31)), (PING, true));
    peer.send(&frame(PONG, &payload)).await;
    for round in 2..4 {
        let (first, payload) = peer.frame().await;
        assert_eq!(first, PING);
        let late = begin.elapsed().checked_sub(schedule + seconds(25) * round).unwrap();
        assert!(late < Duration::from_millis(51), "{late:?}");
        peer.send(&frame(PONG, &payload)).await;
    }
}

/// A process whose sessions may send ten messages and ten pings a second, and a burst of twenty.
fn limited_process() -> Process<Numbers> {
    let mut process = Process::new(Numbers::default());
    process.set_config(|config| {
        config.limits.messages = Rate::new(10, 20);
        config.limits.control_frames = Rate::new(10, 20);
    });
    process
}

/// Sends at the greatest rate for some seconds.
async fn send_at_the_greatest_rate(peer: &mut Peer, time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        peer.send(&[frame(TEXT, b"x"), frame(PING, b"y")].concat()).await;
        sleep(Duration::from_millis(100)).await;
    }
}

/// Expects that so many pairs of a message and a ping are answered.
async fn expect_answers(peer: &mut Peer, count: usize) {
    let mut firsts = Vec::new();
    for _ in 0..2 * count {
        firsts.push(peer.frame().await.0);
    }
    for first in [TEXT, PONG] {
        assert_eq!(firsts.iter().filter(|it| **it == first).count(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_at_the_greatest_rate_is_not_closed_for_what_it_sent_while_its_session_was_frozen() {
    // It goes on here, and in another process.
    for is_handed_over in [false, true] {
        let old = limited_process();
        let new = old.successor();
        let (mut peer, witness) = old.connect(&valid_request()).await;
        // The burst is used up before.
        peer.send(&[frame(TEXT, b"x"), frame(PING, b"y")].concat().repeat(20)).await;
        expect_answers(&mut peer, 20).await;
        sleep(Duration::from_millis(100)).await;
        send_at_the_greatest_rate(&mut peer, seconds(2)).await;
        expect_answers(&mut peer, 20).await;
        old.freeze().await;
        send_at_the_greatest_rate(&mut peer, seconds(6)).await;
        match is_handed_over {
            false => old.resume().await,
            true => old.hand_over(&new, &[]).await,
        }
        send_at_the_greatest_rate(&mut peer, seconds(2)).await;
        expect_answers(&mut peer, 80).await;
        assert_eq!(old.ledger().closed.len(), 0);
        // No more than that: another burst is too much.
        peer.send(&frame(TEXT, b"x").repeat(21)).await;
        loop {
            match peer.frame().await {
                (TEXT, _) => {}
                other => break assert_eq!(other, (CLOSE, close_payload(1008, "rate_limited"))),
            }
        }
        assert_eq!(witness.foreign_accesses(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_sessions_go_on_and_are_not_offered_again() {
    let numbers = Numbers::default();
    let old = Process::new(numbers.clone());
    let new = old.successor();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(old.connect(&valid_request()).await);
        settle().await;
    }
    old.freeze().await;
    assert_eq!(old.sink.frozen(), [1, 2, 3, 4]);
    // One that is unknown here changes nothing.
    old.hand_over(&new, &[2, 3, 77]).await;
    numbers.publish();
    for (peer, _) in &mut clients {
        assert_eq!(peer.frame().await, (TEXT, b"1".to_vec()));
    }
    let offers = old.sink.offers.load(Ordering::Relaxed);
    let (mut later, _) = old.connect(&valid_request()).await;
    old.freeze().await;
    numbers.publish();
    settle().await;
    assert_eq!(old.sink.frozen(), [5]);
    assert_eq!(old.sink.offers.load(Ordering::Relaxed), offers + 1);
    old.hand_over(&new, &[]).await;
    old.drain.start(DrainOptions::default());
    for (peer, _) in &mut clients[1..3] {
        assert_eq!(peer.frame().await, (TEXT, b"2".to_vec()));
        peer.expect_close(1001, "drained").await;
        peer.send(&close(1001, "")).await;
    }
    in_time(old.drain.closed()).await;
    numbers.publish();
    for text in ["1", "2", "3"] {
        assert_eq!(later.frame().await, (TEXT, text.into()));
    }
    settle().await;
    let log = old.log.take_main().split_off(4);
    assert_eq!(
        log,
        [
            "handed over 1",
            "handed over 4",
            "opened 5 192.0.2.7:4711 - -",
            "handed over 5",
            "closed 2 drained",
            "closed 3 drained"
        ]
    );
    assert_eq!(new.log.take_main(), ["taken over 1", "taken over 4", "taken over 5"]);
    assert!(clients.iter().all(|(_, witness)| witness.foreign_accesses() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_begins_while_sessions_are_frozen_closes_them_when_they_are_resumed() {
    let process = Process::new(Discard);
    let (mut peer, witness) = process.connect(&valid_request()).await;
    settle().await;
    process.freeze().await;
    process.drain.start(DrainOptions::default());
    sleep(seconds(5)).await;
    assert_eq!(witness.foreign_accesses(), 0);
    process.resume().await;
    peer.expect_close(1001, "drained").await;
    peer.send(&close(1001, "")).await;
    in_time(process.drain.closed()).await;
    assert_eq!(process.end().await.1.cause, Cause::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_abort_while_sessions_are_frozen_ends_them_when_they_are_resumed() {
    let process = Process::new(Discard);
    let (mut peer, witness) = process.connect(&valid_request()).await;
    settle().await;
    process.freeze().await;
    process.drain.abort();
    settle().await;
    assert_eq!(witness.foreign_accesses(), 0);
    process.resume().await;
    in_time(process.drain.closed()).await;
    assert_eq!(peer.frame().await.0, CLOSE);
    assert_eq!(process.end().await.1.cause, Cause::Drained);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_were_handed_over_are_not_closed_by_the_drain_of_the_old_process() {
    let old = Process::new(Numbers::default());
    let new = old.successor();
    let (mut peer, _witness) = old.connect(&valid_request()).await;
    settle().await;
    old.freeze().await;
    old.drain.start(DrainOptions::default());
    settle().await;
    old.hand_over(&new, &[]).await;
    in_time(old.drain.closed()).await;
    peer.send(&frame(TEXT, b"still here")).await;
    assert_eq!(peer.frame().await, (TEXT, b"still here".to_vec()));
    new.drain.start(DrainOptions::default());
    peer.expect_close(1001, "drained").await;
}

#[tokio::test(start_paused = true)]
async fn a_resumed_session_can_be_frozen_again_and_handed_over() {
    let numbers = Numbers::default();
    let old = Process::new(numbers.clone());
    let new = old.successor();
    let (mut peer, witness) = old.connect(&valid_request()).await;
    settle().await;
    for round in 1..4_u8 {
        old.freeze().await;
        assert_eq!(old.sink.frozen(), [1]);
        numbers.publish();
        old.resume().await;
        assert_eq!(peer.frame().await, (TEXT, round.to_string().into()));
    }
    // Resumed and frozen again before its task runs.
    old.freeze().await;
    numbers.publish();
    settle().await;
    old.hand_over(&new, &[]).await;
    assert_eq!(peer.frame().await, (TEXT, b"4".to_vec()));
    assert_eq!(witness.foreign_accesses(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_of_a_frozen_session_is_performed_when_it_is_resumed() {
    let process = Process::new(Discard);
    let (mut peer, witness) = process.connect(&request_of("alice")).await;
    settle().await;
    process.freeze().await;
    let code = CloseCode::try_from(4001).unwrap();
    let logout = CloseFrame { code, reason: "logout".into() };
    assert_eq!(process.sessions.disconnect("alice", &logout), 1);
    settle().await;
    assert_eq!(witness.foreign_accesses(), 0);
    process.resume().await;
    peer.expect_close(4001, "logout").await;
}
