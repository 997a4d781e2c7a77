//! Publishes states with increasing numbers, in a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::admin;
use super::faults::{Faults, Kind};

/// Time after which a request that was not performed is sent again.
const RETRY: Duration = Duration::from_millis(5);

/// The number of the newest state that the server has accepted; 0 before the first. Clones are the same.
#[derive(Clone, Default)]
pub struct Newest(Arc<AtomicU64>);

impl Newest {
    /// Returns the number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The publisher.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Published>,
}

/// What the publisher has done.
#[derive(Clone, Copy, Default)]
pub struct Published {
    /// Requests that were refused, because no process listened.
    pub refused: usize,
    /// Requests that the server declined with 503.
    pub declined: usize,
    /// The longest time for a state, with its retries.
    pub slowest: Duration,
}

impl Publisher {
    /// Publishes the state after the newest one, and the next when the interval has passed since the
    /// response. `body` makes the state with a number.
    #[must_use]
    pub fn start(
        admin: SocketAddr,
        interval: Duration,
        newest: Newest,
        faults: Faults,
        body: fn(u64) -> String,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || run(admin, interval, &newest, &faults, body, &stopping));
        Self { stop, thread }
    }

    /// Stops after the state that is being published.
    ///
    /// # Errors
    ///
    /// The thread panicked.
    pub fn finish(self) -> io::Result<Published> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| io::Error::other("the publisher panicked"))
    }
}

fn run(
    admin: SocketAddr,
    interval: Duration,
    newest: &Newest,
    faults: &Faults,
    body: fn(u64) -> String,
    stopping: &AtomicBool,
) -> Published {
    let mut published = Published::default();
    for number in newest.number() + 1.. {
        let (began, state) = (Instant::now(), body(number));
        loop {
            if stopping.load(Ordering::SeqCst) {
                return published;
            }
            match admin::request(admin, "POST /publish", &state) {
                Ok((204, _)) => break,
                Ok((503, _)) => published.declined += 1,
                Ok((status, _)) => {
                    faults.add(Kind::Publish, format!("state {number}: status {status}"));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    published.refused += 1;
                }
                // It may have been performed: then the retry makes clients see it twice.
                Err(error) => faults.add(Kind::Publish, format!("state {number}: {error}")),
            }
            sleep(RETRY);
        }
        newest.0.store(number, Ordering::SeqCst);
        published.slowest = published.slowest.max(began.elapsed());
        // From the response on: a session may skip a state that is followed by the next one at once.
        sleep(interval);
    }
    published
}
