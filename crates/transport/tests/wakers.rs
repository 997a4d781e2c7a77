//! The waker of a session's latest poll is woken, also when an earlier one has the same data pointer.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_task::ArcWake;
use support::{SIZES, config, spawned_drain};
use tokio::io::duplex;
use tokio::time::sleep;
use transport::ws_core::Limits;
use transport::{Discard, DrainOptions, WebSocket, run};

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

#[tokio::test(start_paused = true)]
async fn a_drain_wakes_the_latest_of_two_wakers_with_the_same_data() {
    let (counts, first, second) = wakers();
    let drain = spawned_drain();
    let (near, _far) = duplex(4096);
    let mut session =
        run(WebSocket::new(near, SIZES), config(Limits::default()), Discard, drain.token());
    for waker in [&first, &second] {
        let mut cx = Context::from_waker(waker);
        assert!(Future::poll(Pin::new(&mut session), &mut cx).is_pending());
    }
    let before = counts.second.load(Ordering::SeqCst);
    drain.start(DrainOptions::default());
    // With the clock paused, this returns when all other tasks are idle.
    sleep(Duration::from_millis(1)).await;
    assert!(counts.second.load(Ordering::SeqCst) > before);
    assert_eq!(counts.first.load(Ordering::SeqCst), 0);
}
