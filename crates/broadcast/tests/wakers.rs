//! A publisher wakes the waker of the latest poll, and none that only looks like it.
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

/// Counts who is woken: two wakers with the same data and different vtables.
#[derive(Default)]
struct Both {
    first: AtomicUsize,
    second: AtomicUsize,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.first.fetch_add(1, Ordering::SeqCst);
    }
}

impl ArcWake for Both {
    fn wake_by_ref(both: &Arc<Self>) {
        both.second.fetch_add(1, Ordering::SeqCst);
    }
}

fn wakers() -> (Arc<Both>, Waker, Waker) {
    let both = Arc::new(Both::default());
    let first = Waker::from(Arc::clone(&both));
    let second = futures_task::waker(Arc::clone(&both));
    assert_eq!(first.data(), second.data());
    assert!(!first.will_wake(&second));
    (both, first, second)
}

#[test]
fn a_newer_state_wakes_the_latest_of_two_wakers_with_the_same_data() {
    let (both, first, second) = wakers();
    let publisher = Publisher::new();
    let mut latest = publisher.subscribe();
    assert!(latest.poll_next(&mut Context::from_waker(&first)).is_pending());
    assert!(latest.poll_next(&mut Context::from_waker(&second)).is_pending());
    publisher.publish("a state");
    assert_eq!(both.second.load(Ordering::SeqCst), 1);
    assert_eq!(both.first.load(Ordering::SeqCst), 0);
}
