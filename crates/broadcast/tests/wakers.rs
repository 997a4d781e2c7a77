//! The waker of a subscription's latest poll is woken, even if an earlier one has the same data pointer.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use broadcast::Publisher;
use futures_task::ArcWake;
use transport::Handler;

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
