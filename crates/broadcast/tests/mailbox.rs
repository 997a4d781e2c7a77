//! The mailbox of one session: its order, its bound, and what a full one does.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use broadcast::{Mailbox, Overflow, SendError, Sender, Sent, WhenFull, mailbox};
use support::{TEXT, close, open, open_with};
use tokio::runtime::Builder;
use tokio::time::sleep;
use transport::ws_core::{Cause, CloseCode, Limits};
use transport::{Message, PreparedMessage};
use wake_count::ready;

fn with_capacity(capacity: usize, when_full: WhenFull) -> (Sender, Mailbox) {
    mailbox(NonZeroUsize::new(capacity).unwrap(), when_full)
}

fn close_too_slow() -> WhenFull {
    WhenFull::Close(CloseCode::try_from(4000).unwrap(), "too slow".into())
}

/// Returns the next event, and how many were dropped before it.
fn event(mailbox: &mut Mailbox) -> Option<(PreparedMessage, u64)> {
    ready(|cx| mailbox.poll_event(cx))
        .map(|event| event.unwrap())
        .map(|it| (it.message, it.dropped))
}

fn prepared(text: &str) -> PreparedMessage {
    PreparedMessage::from(Message::from(text))
}

/// Returns an event that does not fit into a pipe of 1 KB.
fn large() -> String {
    "large ".repeat(400)
}

#[tokio::test(start_paused = true)]
async fn a_session_sends_every_event_in_order_also_those_from_before_it_opened() {
    let (sender, mailbox) = with_capacity(100, WhenFull::Refuse);
    for number in 0..50 {
        assert_eq!(sender.send(format!("event {number}")), Ok(Sent::Queued));
    }
    let mut session = open(mailbox, 1024);
    sleep(Duration::from_secs(1)).await;
    for number in 50..100 {
        assert_eq!(sender.send(format!("event {number}")), Ok(Sent::Queued));
    }
    for number in 0..100 {
        assert_eq!(session.peer.frame().await, (TEXT, format!("event {number}").into_bytes()));
    }
    assert_eq!(sender.dropped(), 0);
}

#[test]
fn a_full_mailbox_drops_its_oldest_events_and_says_before_which_one() {
    let (sender, mut mailbox) = with_capacity(2, WhenFull::DropOldest);
    let results = ["a", "b", "c", "d"].map(|text| sender.send(text).unwrap());
    let [queued, replaced] = [Sent::Queued, Sent::ReplacedOldest];
    assert_eq!(results, [queued, queued, replaced, replaced]);
    assert_eq!(event(&mut mailbox), Some((prepared("c"), 2)));
    assert_eq!(event(&mut mailbox), Some((prepared("d"), 0)));
    assert_eq!(event(&mut mailbox), None);
    assert_eq!(sender.send("e"), Ok(Sent::Queued));
    assert_eq!(event(&mut mailbox), Some((prepared("e"), 0)));
    assert_eq!(sender.dropped(), 2);
}

#[test]
fn a_full_mailbox_refuses_events_until_one_is_taken() {
    let (sender, mut mailbox) = with_capacity(1, WhenFull::Refuse);
    let other = sender.clone();
    assert_eq!(sender.send("a"), Ok(Sent::Queued));
    assert_eq!(other.send("b"), Err(SendError::Full));
    assert_eq!(event(&mut mailbox), Some((prepared("a"), 0)));
    assert_eq!(other.send("b"), Ok(Sent::Queued));
    assert_eq!(event(&mut mailbox), Some((prepared("b"), 0)));
    assert_eq!((sender.dropped(), other.dropped()), (1, 1));
}

#[test]
fn a_full_mailbox_discards_its_events_and_asks_to_close() {
    let (sender, mut mailbox) = with_capacity(2, close_too_slow());
    assert_eq!([sender.send("a"), sender.send("b")], [Ok(Sent::Queued); 2]);
    for _ in 0..2 {
        assert_eq!(sender.send("c"), Err(SendError::Closing));
        let overflow = Overflow(CloseCode::try_from(4000).unwrap(), "too slow".into());
        assert_eq!(ready(|cx| mailbox.poll_event(cx)), Some(Err(overflow)));
    }
    assert_eq!(sender.dropped(), 4);
    drop(mailbox);
    assert_eq!(sender.send("d"), Err(SendError::Ended));
    assert_eq!(sender.dropped(), 4, "an event for a session that has ended is not counted");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_mailbox_overflowed_closes_and_its_close_record_says_why() {
    let (sender, mailbox) = with_capacity(2, close_too_slow());
    let mut session = open(mailbox, 1024);
    sender.send(large()).unwrap();
    sleep(Duration::from_millis(1)).await;
    let results = ["a", "b", "c", "d"].map(|text| sender.send(text).is_ok());
    assert_eq!(results, [true, true, false, false]);
    assert_eq!(session.peer.frame().await, (TEXT, large().into_bytes()));
    session.peer.expect_close(4000, "too slow").await;
    session.peer.send(&close(4000, "")).await;
    session.peer.expect_end().await;
    let record = session.end().await;
    assert_eq!((record.cause, record.clean), (Cause::HandlerClosed, true));
    assert_eq!(record.reason.as_str(), "too slow");
    assert_eq!(sender.send("e"), Err(SendError::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_mailbox_overflowed_before_it_opened_closes() {
    let (sender, mailbox) = with_capacity(1, close_too_slow());
    sender.send("a").unwrap();
    assert_eq!(sender.send("b"), Err(SendError::Closing));
    let mut session = open(mailbox, 1024);
    session.peer.expect_close(4000, "too slow").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_its_senders_and_sends_what_is_queued() {
    let (sender, mailbox) = with_capacity(10, WhenFull::Refuse);
    let mut session = open(mailbox, 1024);
    sleep(Duration::from_secs(1)).await;
    sender.send("last").unwrap();
    drop(sender);
    assert_eq!(session.peer.frame().await, (TEXT, b"last".to_vec()));
    session.drain.start(transport::DrainOptions::default());
    session.peer.expect_close(1001, "drained").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_costs_the_memory_of_the_capacity() {
    const CAPACITY: usize = 10;
    let limits = Limits { write_timeout: Some(Duration::from_secs(60)), ..Limits::default() };
    for when_full in [close_too_slow(), WhenFull::DropOldest, WhenFull::Refuse] {
        let (sender, mailbox) = with_capacity(CAPACITY, when_full);
        let session = open_with(limits, mailbox, 1024);
        sender.send(large()).unwrap();
        sleep(Duration::from_millis(1)).await;
        let held = measure(|| (0..100_000).for_each(|_| _ = sender.send("x".repeat(1000))));
        let most = i64::try_from(CAPACITY * 1200).unwrap();
        assert!(held.bytes_current < most, "{} bytes are queued", held.bytes_current);
        assert!(sender.dropped() >= 99_990);
        drop(session);
    }
}

#[test]
fn no_event_is_lost_or_counted_twice_when_threads_send_and_the_session_takes() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    for when_full in [WhenFull::DropOldest, WhenFull::Refuse] {
        let (sender, mut mailbox) = with_capacity(8, when_full);
        thread::scope(|scope| {
            let send = |sender: Sender| (0..EACH).filter(|_| sender.send("x").is_ok()).count();
            let threads: Vec<_> = (0..SENDERS)
                .map(|_| {
                    let sender = sender.clone();
                    scope.spawn(move || send(sender))
                })
                .collect();
            let (mut received, mut dropped) = (0, 0);
            loop {
                let is_done = threads.iter().all(|thread| thread.is_finished());
                match event(&mut mailbox) {
                    Some((_, before)) => (received, dropped) = (received + 1, dropped + before),
                    None if is_done => break,
                    None => {}
                }
            }
            let accepted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(received + dropped, u64::try_from(accepted).unwrap());
            assert_eq!(received + sender.dropped(), SENDERS * EACH);
        });
    }
}

/// A task that takes a number of events and completes after the last one.
struct Reader(Mailbox, usize);

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.1 > 0 {
            match self.0.poll_event(cx) {
                Poll::Ready(event) => assert_eq!(event.unwrap().dropped, 0),
                Poll::Pending => return Poll::Pending,
            }
            self.1 -= 1;
        }
        Poll::Ready(())
    }
}

#[test]
fn a_session_that_waits_is_woken_by_each_event_that_another_thread_sends() {
    const EVENTS: usize = 50_000;
    let (sender, mailbox) = with_capacity(1, WhenFull::Refuse);
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let reader = runtime.spawn(Reader(mailbox, EVENTS));
    // With one place, nearly each event is sent while the session begins to wait.
    let mut sent = 0;
    while sent < EVENTS {
        match sender.send("x") {
            Ok(_) => sent += 1,
            Err(_) => thread::yield_now(),
        }
    }
    runtime.block_on(reader).unwrap();
}
