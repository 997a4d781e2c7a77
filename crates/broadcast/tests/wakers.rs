//! The wakers of sessions that wait: which one is woken, and wakers that panic or run code when dropped.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod wake_count;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use broadcast::{Mailboxes, Publisher, Topics, WhenFull, mailbox};
use futures_task::ArcWake;
use transport::Handler;
use wake_count::WakeCount;

const CAPACITY: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// Counts the wake-ups of two wakers with the same data pointer and different vtables.
#[derive(Default)]
struct WakeCounts {
    first: AtomicUsize,
    second: AtomicUsize,
}

impl Wake for WakeCounts {
    fn wake(self: Arc<Self>) {
        self.first.fetch_add(1, Ordering::SeqCst);
    }
}

impl ArcWake for WakeCounts {
    fn wake_by_ref(counts: &Arc<Self>) {
        counts.second.fetch_add(1, Ordering::SeqCst);
    }
}

fn wakers() -> (Arc<WakeCounts>, Waker, Waker) {
    let counts = Arc::new(WakeCounts::default());
    let first = Waker::from(Arc::clone(&counts));
    let second = futures_task::waker(Arc::clone(&counts));
    assert_eq!(first.data(), second.data());
    assert!(!first.will_wake(&second));
    (counts, first, second)
}

#[test]
fn a_newer_state_wakes_the_latest_of_two_wakers_with_the_same_data_pointer() {
    let (counts, first, second) = wakers();
    let publisher = Publisher::new();
    let mut subscription = publisher.subscribe();
    assert!(subscription.poll_next(&mut Context::from_waker(&first)).is_pending());
    assert!(subscription.poll_next(&mut Context::from_waker(&second)).is_pending());
    publisher.publish("a state");
    assert_eq!(counts.second.load(Ordering::SeqCst), 1);
    assert_eq!(counts.first.load(Ordering::SeqCst), 0);
}

#[test]
fn an_event_wakes_the_latest_of_two_wakers_with_the_same_data_pointer() {
    let (counts, first, second) = wakers();
    let (sender, mut mailbox) = mailbox(CAPACITY, WhenFull::Refuse);
    assert!(mailbox.poll_next(&mut Context::from_waker(&first)).is_pending());
    assert!(mailbox.poll_next(&mut Context::from_waker(&second)).is_pending());
    sender.send("an event").unwrap();
    assert_eq!(counts.second.load(Ordering::SeqCst), 1);
    assert_eq!(counts.first.load(Ordering::SeqCst), 0);
}

#[test]
fn a_mailbox_keeps_the_waker_of_its_latest_poll_until_an_event_or_its_end() {
    let [old, new] = [Arc::new(WakeCount::default()), Arc::new(WakeCount::default())];
    let (sender, mut mailbox) = mailbox(CAPACITY, WhenFull::Refuse);
    assert!(old.poll(|cx| mailbox.poll_event(cx)).is_pending());
    assert!(new.poll(|cx| mailbox.poll_event(cx)).is_pending());
    assert_eq!([Arc::strong_count(&old), Arc::strong_count(&new)], [1, 2]);
    sender.send("an event").unwrap();
    assert_eq!((Arc::strong_count(&new), new.count()), (1, 1));
    assert!(new.poll(|cx| mailbox.poll_event(cx)).is_ready());
    assert!(new.poll(|cx| mailbox.poll_event(cx)).is_pending());
    drop(mailbox);
    assert_eq!((Arc::strong_count(&new), new.count()), (1, 1));
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

/// More sessions than one group of wakers holds.
const SESSIONS: usize = 200;

/// Polls sessions of which every third has a waker that panics, wakes them, and expects the panic to
/// arrive after all others were woken.
fn expect_all_woken<H: Handler>(open: impl Fn() -> H, wake: impl FnOnce()) {
    let panicking = Waker::from(Arc::new(Panicking));
    let counts: Vec<Arc<WakeCount>> = (0..SESSIONS).map(|_| Arc::default()).collect();
    let mut sessions: Vec<H> = counts.iter().map(|_| open()).collect();
    for (number, (session, count)) in sessions.iter_mut().zip(&counts).enumerate() {
        let waker = if number % 3 == 0 { panicking.clone() } else { Arc::clone(count).into() };
        assert!(session.poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    let payload = catch_unwind(AssertUnwindSafe(wake)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a waker panics"));
    for (number, count) in counts.iter().enumerate() {
        assert_eq!(count.count(), usize::from(number % 3 != 0), "session {number}");
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sessions.iter_mut().all(|session| session.poll_next(&mut cx).is_ready()));
}

#[test]
fn a_waker_that_panics_keeps_no_other_session_from_being_woken() {
    let publisher = Publisher::new();
    expect_all_woken(|| publisher.subscribe(), || publisher.publish("a state"));
    let topics = Topics::new();
    expect_all_woken(|| topics.subscribe(1_u8), || topics.publish(&1, "a state"));
    let mailboxes = Mailboxes::new(CAPACITY, WhenFull::Refuse);
    expect_all_woken(|| mailboxes.open(1_u8), || _ = mailboxes.send(&1, "an event"));
}

/// Drops a session with it, as the waker of a task does that holds the last reference to the task.
struct Owning<H>(Mutex<Option<H>>);

impl<H: Send> Wake for Owning<H> {
    fn wake(self: Arc<Self>) {}
}

/// Leaves the last reference to a session in the waker of another one, which is then replaced, and in
/// one that is then dropped.
fn expect_no_lock_held<H: Handler>(open: impl Fn() -> H) {
    let owner_of = |mut owned: H| {
        assert!(owned.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
        Waker::from(Arc::new(Owning(Mutex::new(Some(owned)))))
    };
    let mut session = open();
    for owner in [owner_of(open()), owner_of(open())] {
        assert!(session.poll_next(&mut Context::from_waker(&owner)).is_pending());
    }
    drop(session);
}

#[test]
fn a_waker_that_drops_another_session_is_dropped_without_a_lock() {
    let publisher = Publisher::new();
    expect_no_lock_held(|| publisher.subscribe());
    let topics = Topics::new();
    expect_no_lock_held(|| topics.subscribe(1_u8));
    assert!(topics.is_empty());
    let mailboxes = Mailboxes::new(CAPACITY, WhenFull::Refuse);
    expect_no_lock_held(|| mailboxes.open(1_u8));
    assert!(mailboxes.is_empty());
}

/// Sends to a mailbox when it is dropped.
struct SendsOnDrop(broadcast::Sender);

impl Wake for SendsOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        _ = self.0.send("dropped");
    }
}

#[test]
fn a_waker_that_sends_to_its_mailbox_is_dropped_without_a_lock() {
    let (sender, mut mailbox) = mailbox(CAPACITY, WhenFull::Refuse);
    let waker = Waker::from(Arc::new(SendsOnDrop(sender.clone())));
    assert!(mailbox.poll_next(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    let count = Arc::<WakeCount>::default();
    assert!(count.poll(|cx| mailbox.poll_next(cx)).is_pending());
    assert_eq!(count.count(), 1, "the event that the replaced waker sent");
    assert!(count.poll(|cx| mailbox.poll_next(cx)).is_ready());

    let waker = Waker::from(Arc::new(SendsOnDrop(sender)));
    assert!(mailbox.poll_next(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(mailbox);
}
