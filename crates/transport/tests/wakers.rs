//! A session wakes the waker of its latest poll, and none that only looks like it.
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
use support::{SIZES, config, kept_drain};
use tokio::io::duplex;
use tokio::time::sleep;
use transport::ws_core::Limits;
use transport::{Discard, DrainOptions, WebSocket, run};

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

#[tokio::test(start_paused = true)]
async fn a_drain_wakes_the_latest_of_two_wakers_with_the_same_data() {
    let (both, first, second) = wakers();
    let drain = kept_drain();
    let (near, _far) = duplex(4096);
    let mut session =
        run(WebSocket::new(near, SIZES), config(Limits::default()), Discard, drain.token());
    for waker in [&first, &second] {
        let mut cx = Context::from_waker(waker);
        assert!(Future::poll(Pin::new(&mut session), &mut cx).is_pending());
    }
    let before = both.second.load(Ordering::SeqCst);
    drain.start(DrainOptions::default());
    // In paused time: until nobody has anything to do.
    sleep(Duration::from_millis(1)).await;
    assert!(both.second.load(Ordering::SeqCst) > before);
    assert_eq!(both.first.load(Ordering::SeqCst), 0);
}
