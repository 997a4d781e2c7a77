//! How everyone is told of a new generation, a portion after the other.

use std::mem;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;
use tokio::task::yield_now;

use super::slots::Slots;

/// The newest generation, and how far those who sleep have been told of it.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    generation: AtomicU8,
    delivery: Mutex<Delivery>,
    /// How often a session has seen a new generation.
    delivered: AtomicUsize,
}

/// Whether sessions are being told of a new generation, and who waits until all of them were.
#[derive(Debug, Default)]
struct Delivery {
    is_running: bool,
    waiting: Vec<Waker>,
}

/// How many sessions are woken for a new generation before others are, so that a pong never waits for
/// all of them. As many as a worker's own queue holds: more would be moved behind what the network wakes.
const WAKE_BATCH: usize = 256;

/// How often others have their turn until those that were woken have seen the generation. One that has
/// ended meanwhile never does.
const MAX_YIELDS: usize = 16;

impl Announcement {
    pub(crate) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Somebody has to [wake everyone](Self::wake_all) for it.
    pub(crate) fn announce(&self, generation: u8) {
        self.delivery.lock().is_running = true;
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// A session has seen the new generation.
    pub(crate) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a session that knows the generation has to wait because others are still being told of
    /// it. It is woken when all of them were.
    ///
    /// In a drain the last Close frame then goes out before the answers to the first are read.
    pub(crate) fn must_wait(&self, cx: &Context<'_>) -> bool {
        let mut delivery = self.delivery.lock();
        if delivery.is_running {
            // One that is woken again and again waits once.
            let waits = delivery.waiting.last().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !waits {
                delivery.waiting.push(cx.waker().clone());
            }
        }
        delivery.is_running
    }

    /// Wakes everyone in portions, each when the one before was told, and then those that had to wait.
    pub(crate) async fn wake_all(&self, slots: &Slots) {
        let mut slots = slots.all().peekable();
        while slots.peek().is_some() {
            let before = self.delivered.load(Ordering::Relaxed);
            let portion = slots.by_ref().take(WAKE_BATCH).map(Waker::wake).count();
            for _ in 0..MAX_YIELDS {
                yield_now().await;
                if self.delivered.load(Ordering::Relaxed).wrapping_sub(before) >= portion {
                    break;
                }
            }
        }
        let waiting = {
            let mut delivery = self.delivery.lock();
            delivery.is_running = false;
            mem::take(&mut delivery.waiting)
        };
        for (index, waker) in (1..).zip(waiting) {
            waker.wake();
            if index % WAKE_BATCH == 0 {
                yield_now().await;
            }
        }
    }
}
