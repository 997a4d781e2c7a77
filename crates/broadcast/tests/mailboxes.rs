//! Events for all sessions of a key.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use allocation_counter::measure;
use broadcast::{KeyedMailbox, Mailboxes, SendCounts, WhenFull};
use support::{TEXT, open};
use transport::ws_core::CloseCode;
use wake_count::{WakeCount, ready};

fn with_capacity<K: Eq + Hash>(capacity: usize, when_full: WhenFull) -> Mailboxes<K> {
    Mailboxes::new(NonZeroUsize::new(capacity).unwrap(), when_full)
}

/// Returns `queued`, `replaced_oldest`, `refused` and `closing`.
fn counts(counts: SendCounts) -> [usize; 4] {
    [counts.queued, counts.replaced_oldest, counts.refused, counts.closing]
}

fn payload_len(mailbox: &mut KeyedMailbox<u8>) -> Option<usize> {
    ready(|cx| mailbox.poll_event(cx)).map(|event| event.unwrap().message.payload_len())
}

#[tokio::test(start_paused = true)]
async fn an_event_is_sent_to_all_sessions_of_its_key_and_to_no_other() {
    let users: Mailboxes<String> = with_capacity(10, WhenFull::Refuse);
    let mut ada = [1, 2].map(|_| open(users.open("ada".to_owned()), 1024));
    let mut bob = open(users.open("bob".to_owned()), 1024);
    assert_eq!((users.len(), users.sessions("ada"), users.sessions("eve")), (2, 2, 0));
    assert_eq!(counts(users.send("ada", "for ada")), [2, 0, 0, 0]);
    assert_eq!(counts(users.send("bob", "for bob")), [1, 0, 0, 0]);
    assert_eq!(counts(users.send("eve", "for nobody")), [0, 0, 0, 0]);
    for session in &mut ada {
        assert_eq!(session.peer.frame().await, (TEXT, b"for ada".to_vec()));
    }
    assert_eq!(bob.peer.frame().await, (TEXT, b"for bob".to_vec()));
}

#[test]
fn an_event_for_sessions_with_full_mailboxes_says_what_became_of_it() {
    let close = WhenFull::Close(CloseCode::try_from(4000).unwrap(), "too slow".into());
    let cases = [
        (close, [1, 0, 0, 1]),
        (WhenFull::DropOldest, [2, 1, 0, 0]),
        (WhenFull::Refuse, [1, 0, 1, 0]),
    ];
    for (when_full, expected) in cases {
        let mailboxes = with_capacity(1, when_full);
        let _slow = mailboxes.open(1_u8);
        assert_eq!(counts(mailboxes.send(&1, "first")), [1, 0, 0, 0]);
        let mut fast = mailboxes.open(1);
        assert_eq!(counts(mailboxes.send(&1, "second")), expected);
        assert_eq!(payload_len(&mut fast), Some("second".len()));
    }
}

#[test]
fn a_key_is_forgotten_with_its_last_session() {
    let mailboxes: Mailboxes<&str> = with_capacity(1, WhenFull::Refuse);
    let (first, second) = (mailboxes.open("key"), mailboxes.open("key"));
    assert_eq!((mailboxes.len(), mailboxes.sessions("key"), *first.key()), (1, 2, "key"));
    drop(first);
    assert_eq!((mailboxes.len(), mailboxes.sessions("key")), (1, 1));
    assert_eq!(mailboxes.send("key", "event").queued, 1);
    drop(second);
    assert!(mailboxes.is_empty());
    assert_eq!(mailboxes.send("key", "event").queued, 0);
}

#[test]
fn a_session_that_waits_outlives_the_handles_of_its_mailboxes() {
    let mailboxes = with_capacity(1, WhenFull::Refuse);
    let (mut mailbox, count) = (mailboxes.open(1_u8), Arc::<WakeCount>::default());
    assert!(count.poll(|cx| mailbox.poll_event(cx)).is_pending());
    drop(mailboxes);
    assert!(count.poll(|cx| mailbox.poll_event(cx)).is_pending());
    drop(mailbox);
    assert_eq!((Arc::strong_count(&count), count.count()), (1, 0));
}

#[test]
fn keys_that_peers_choose_leave_nothing_behind() {
    const KEYS: usize = 100_000;
    let mailboxes: Mailboxes<String> = with_capacity(1, WhenFull::Refuse);
    let info = measure(|| {
        for key in 0..KEYS {
            drop(mailboxes.open(key.to_string()));
            assert_eq!(mailboxes.send(&key.to_string(), "event").queued, 0);
            assert!(mailboxes.is_empty());
        }
        let open: Vec<_> = (0..KEYS).map(|key| mailboxes.open(key.to_string())).collect();
        assert_eq!(mailboxes.len(), KEYS);
        drop(open);
    });
    assert!(mailboxes.is_empty());
    let left = info.bytes_current;
    assert!(left < 10_000, "{left} bytes are left of {KEYS} keys");
}

/// Ends a loop also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_session_that_opens_while_the_last_one_of_its_key_ends_gets_the_next_event() {
    let mailboxes = with_capacity(1, WhenFull::Refuse);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    drop(mailboxes.open(1_u8));
                }
            });
        }
        let _stop = StopOnDrop(&is_done);
        for _ in 0..20_000 {
            let (mut mailbox, count) = (mailboxes.open(1), Arc::<WakeCount>::default());
            assert!(count.poll(|cx| mailbox.poll_event(cx)).is_pending());
            assert!(mailboxes.send(&1, "event").queued > 0);
            assert_eq!(count.count(), 1);
            assert_eq!(payload_len(&mut mailbox), Some("event".len()));
        }
    });
    assert!(mailboxes.is_empty());
}

/// A key that locks its own mailboxes when it is dropped.
#[derive(Clone)]
struct Locking(Mailboxes<Locking>);

impl PartialEq for Locking {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Locking {}

impl Hash for Locking {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Drop for Locking {
    fn drop(&mut self) {
        _ = self.0.len();
    }
}

#[test]
fn a_key_that_locks_its_mailboxes_is_dropped_without_a_lock() {
    let mailboxes = with_capacity(1, WhenFull::Refuse);
    let [first, second] = [(); 2].map(|()| mailboxes.open(Locking(mailboxes.clone())));
    drop((first, second));
    assert!(mailboxes.is_empty());
}
