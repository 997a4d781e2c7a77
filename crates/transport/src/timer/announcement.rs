//! How everyone is told of a new generation, a portion after the other.

use std::mem;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;
use tokio::task::yield_now;

use super::slots::Sleepers;

/// The newest generation, and how far those who sleep have been told of it.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    generation: AtomicU8,
    telling: Mutex<Telling>,
    /// How often a session has seen a new generation.
    told: AtomicUsize,
}

/// Whether sessions are being told of a new generation, and who waits until all of them were.
#[derive(Debug, Default)]
struct Telling {
    is_under_way: bool,
    waiting: Vec<Waker>,
}

/// How many sessions are woken for a new generation before others are, so that a pong never waits for
/// all of them. As many as a worker's own queue holds: more would be moved behind what the network wakes.
const TOLD_AT_ONCE: usize = 256;

/// How often others have their turn until those that were woken have seen the generation. One that has
/// ended meanwhile never does.
const TURNS: usize = 16;

impl Announcement {
    pub(crate) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Somebody has to [wake everyone](Self::wake_all) for it.
    pub(crate) fn enter(&self, generation: u8) {
        self.telling.lock().is_under_way = true;
        self.generation.store(generation, Ordering::SeqCst);
    }

    /// A session has seen the new generation.
    pub(crate) fn count_told(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a session that knows the generation has to wait because others are still being told of
    /// it. It is woken when all of them were.
    ///
    /// In a drain the last Close frame then goes out before the answers to the first are read.
    pub(crate) fn has_to_wait(&self, cx: &Context<'_>) -> bool {
        let mut telling = self.telling.lock();
        if telling.is_under_way {
            // One that is woken again and again waits once.
            let waits = telling.waiting.last().is_some_and(|waker| waker.will_wake(cx.waker()));
            if !waits {
                telling.waiting.push(cx.waker().clone());
            }
        }
        telling.is_under_way
    }

    /// Wakes everyone in portions, each when the one before was told, and then those that had to wait.
    pub(crate) async fn wake_all(&self, sleepers: &Sleepers) {
        let mut sleepers = sleepers.all().peekable();
        while sleepers.peek().is_some() {
            let before = self.told.load(Ordering::Relaxed);
            let portion = sleepers.by_ref().take(TOLD_AT_ONCE).map(Waker::wake).count();
            for _ in 0..TURNS {
                yield_now().await;
                if self.told.load(Ordering::Relaxed).wrapping_sub(before) >= portion {
                    break;
                }
            }
        }
        let waiting = {
            let mut telling = self.telling.lock();
            telling.is_under_way = false;
            mem::take(&mut telling.waiting)
        };
        for (index, waker) in (1..).zip(waiting) {
            waker.wake();
            if index % TOLD_AT_ONCE == 0 {
                yield_now().await;
            }
        }
    }
}
