//! Announces a new generation to all tasks, in batches.

use std::mem;
use std::task::{Context, Waker};

use super::slots::Slots;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use crate::sync::{Mutex, yield_now};

/// The current generation, and its delivery to the tasks.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    generation: AtomicU8,
    delivery: Mutex<Delivery>,
    /// Counts each time that a task has seen a new generation.
    delivered: AtomicUsize,
}

/// Whether tasks are being woken for a new generation, and which tasks wait for the end of that.
#[derive(Debug, Default)]
struct Delivery {
    is_running: bool,
    waiting: Vec<Waker>,
}

/// Tasks that are woken for a new generation before others run, so that a pong never waits for all of
/// them. It is the capacity of a worker's local queue: more would be moved behind the tasks that the I/O
/// driver wakes.
const WAKE_BATCH: usize = 256;

/// Yields, at most, until a batch has seen the generation. The bound is needed because a task that has
/// ended in the meantime never sees it.
const MAX_YIELDS: usize = 16;

impl Announcement {
    pub(crate) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Stores a new generation. [`wake_all`](Self::wake_all) has to run after this.
    pub(crate) fn announce(&self, generation: u8) {
        // Before the store: a task that sees the generation must find its delivery running.
        self.delivery.lock().is_running = true;
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// Counts a task that has seen the new generation.
    pub(crate) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether a task that has seen the generation must wait, because the delivery to other
    /// tasks is still running. The task is woken when the delivery ends.
    pub(crate) fn must_wait(&self, cx: &Context<'_>) -> bool {
        let mut delivery = self.delivery.lock();
        if delivery.is_running {
            // Consecutive polls of one task register it once.
            let latest = delivery.waiting.last();
            let is_registered = latest.is_some_and(|waker| waker.will_wake(cx.waker()));
            if !is_registered {
                delivery.waiting.push(cx.waker().clone());
            }
        }
        delivery.is_running
    }

    /// Wakes all tasks in batches, each when the previous batch has seen the generation, and then the
    /// tasks that had to wait.
    pub(crate) async fn wake_all(&self, slots: &Slots) {
        let mut wakers = slots.all().peekable();
        while wakers.peek().is_some() {
            let before = self.delivered.load(Ordering::Relaxed);
            let batch = wakers.by_ref().take(WAKE_BATCH).map(Waker::wake).count();
            for _ in 0..MAX_YIELDS {
                yield_now().await;
                if self.delivered.load(Ordering::Relaxed).wrapping_sub(before) >= batch {
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
