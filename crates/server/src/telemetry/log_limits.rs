//! How many lines clients can have written by being turned away. Above a rate lines are counted, and
//! one line sums them up.
//!
//! A session has two lines, whatever it is, and metrics count everything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use transport::Peer;

use crate::limits::client_network;
use crate::time::milliseconds;

/// Lines about refusals of one client address: those of one connection, and then some to show that it
/// goes on.
const REFUSALS_OF_ADDRESS: Rate = Rate { burst: 20, interval: Duration::from_secs(1) };

/// Lines about refusals of all: less than 2 GB a day, were each as long as it can be.
const REFUSALS: Rate = Rate { burst: 200, interval: Duration::from_millis(100) };

/// Lines about failures to accept, which come ten times a second and mostly for one reason.
const ACCEPT_FAILURES: Rate = Rate { burst: 10, interval: Duration::from_secs(10) };

/// How often lines that were suppressed are summed up.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// How many addresses are told apart. The others have the rate of all in common.
const MAX_ADDRESSES: usize = 1024;

/// Which lines are written, and how many were not.
#[derive(Debug)]
pub(crate) struct LogLimits(Mutex<State>);

#[derive(Debug)]
struct State {
    refusals: Limited,
    /// Those whose bucket is not full. `None` is a program on this machine.
    addresses: HashMap<Option<IpAddr>, Bucket>,
    accept_failures: Limited,
}

impl LogLimits {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            refusals: Limited::new(REFUSALS),
            addresses: HashMap::new(),
            accept_failures: Limited::new(ACCEPT_FAILURES),
        }))
    }

    /// Whether a refusal of this peer gets a line. If not, it is counted.
    pub(crate) fn admit_refusal(&self, peer: Peer) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock();
        let State { refusals, addresses, .. } = &mut *state;
        let address = peer.ip().map(client_network);
        let is_wanted = if addresses.len() < MAX_ADDRESSES || addresses.contains_key(&address) {
            let bucket = addresses.entry(address).or_insert(Bucket::full(now));
            bucket.take(REFUSALS_OF_ADDRESS, now)
        } else {
            true
        };
        // What an address may not say does not take from what others may.
        refusals.admit(is_wanted, now)
    }

    /// Whether a failure to accept gets a line. If not, it is counted.
    pub(crate) fn admit_accept_failure(&self) -> bool {
        self.0.lock().accept_failures.admit(true, Instant::now())
    }

    /// Sums up what was suppressed, again and again until it is dropped.
    pub(crate) async fn summarize_regularly(&self) {
        loop {
            sleep(SUMMARY_INTERVAL).await;
            self.summarize();
        }
    }

    /// Sums it up once more when this is dropped, so that the end of the server leaves nothing out.
    pub(crate) fn summarize_on_drop(&self) -> LastSummary<'_> {
        LastSummary(self)
    }

    pub(crate) fn summarize(&self) {
        let now = Instant::now();
        let (refusals, accept_failures) = {
            let mut state = self.0.lock();
            // A full bucket is as good as none.
            state.addresses.retain(|_, bucket| !bucket.is_full(now));
            (state.refusals.suppressed.take(), state.accept_failures.suppressed.take())
        };
        if let Some(Suppressed { lines, since }) = refusals {
            let window_ms = milliseconds(now - since);
            info!(event = "refused_suppressed", lines, window_ms);
        }
        if let Some(Suppressed { lines, since }) = accept_failures {
            let window_ms = milliseconds(now - since);
            warn!(event = "accept_failed_suppressed", lines, window_ms);
        }
    }
}

/// Writes the last summary when it is dropped.
#[derive(Debug)]
#[must_use = "it is for the end of the server"]
pub(crate) struct LastSummary<'a>(&'a LogLimits);

impl Drop for LastSummary<'_> {
    fn drop(&mut self) {
        self.0.summarize();
    }
}

/// Lines of one kind.
#[derive(Debug)]
struct Limited {
    rate: Rate,
    bucket: Bucket,
    suppressed: Option<Suppressed>,
}

/// Lines that were not written.
#[derive(Clone, Copy, Debug)]
struct Suppressed {
    lines: u64,
    /// When the first of them would have been.
    since: Instant,
}

impl Limited {
    fn new(rate: Rate) -> Self {
        Self { rate, bucket: Bucket::full(Instant::now()), suppressed: None }
    }

    /// Whether a line is written; it is not if it is not wanted.
    fn admit(&mut self, is_wanted: bool, now: Instant) -> bool {
        let is_admitted = is_wanted && self.bucket.take(self.rate, now);
        if !is_admitted {
            self.suppressed.get_or_insert(Suppressed { lines: 0, since: now }).lines += 1;
        }
        is_admitted
    }
}

/// So many at once, and from then on one for each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// A token bucket, told by the moment when it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes a token, or says that there is none.
    fn take(&mut self, Rate { burst, interval }: Rate, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + interval;
        let is_there = full_at <= now + interval * burst;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    use tokio::time::advance;
    use tracing::subscriber::{DefaultGuard, set_default};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What is logged by this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn start() -> (Self, DefaultGuard) {
            let log = Self::default();
            let writer = log.clone();
            let layer = tracing_subscriber::fmt::layer()
                .without_time()
                .with_target(false)
                .with_ansi(false)
                .with_writer(move || writer.clone());
            (log, set_default(tracing_subscriber::registry().with(layer)))
        }

        /// The lines since the last time.
        fn lines(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            let text = String::from_utf8(bytes).expect("lines are text");
            text.lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn host(number: u32) -> Peer {
        Peer::Host(Ipv4Addr::from_bits(number).into())
    }

    /// How many of so many refusals get a line.
    fn admitted(limits: &LogLimits, refusals: usize, peers: impl Fn(u32) -> Peer) -> usize {
        (0..).map(peers).take(refusals).filter(|peer| limits.admit_refusal(*peer)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusals_of_an_address_are_told_and_then_one_a_second() {
        let (log, _guard) = Log::start();
        let limits = LogLimits::new();
        assert_eq!(admitted(&limits, 5000, |_| host(7)), 20);
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(admitted(&limits, 100, |_| host(7)), 1);
        }
        // Another one can still be heard, an IPv6 host is its network, and this machine is one.
        assert_eq!(admitted(&limits, 100, |_| host(8)), 20);
        let in_network =
            |low| Peer::Host(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low)).into());
        assert_eq!(admitted(&limits, 100, in_network), 20);
        assert_eq!(admitted(&limits, 100, |_| Peer::Local), 20);

        limits.summarize();
        let lines = 5000 - 20 + 9 * 99 + 3 * 80;
        assert_eq!(
            log.lines(),
            [format!("INFO event=\"refused_suppressed\" lines={lines} window_ms=9000.0")]
        );
        limits.summarize();
        assert_eq!(log.lines(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_many_addresses_are_limited_together_and_take_bounded_memory() {
        let limits = LogLimits::new();
        assert_eq!(admitted(&limits, 100_000, host), 200);
        advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&limits, 100_000, |number| host(number + 1_000_000)), 10);
        assert_eq!(limits.0.lock().addresses.len(), MAX_ADDRESSES);
        // Those who came first are forgotten when they are as good as new.
        limits.summarize();
        assert_eq!(limits.0.lock().addresses.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_beyond_its_rate_takes_nothing_from_the_rate_of_all() {
        let limits = LogLimits::new();
        assert_eq!(admitted(&limits, 1_000_000, |_| host(7)), 20);
        assert_eq!(admitted(&limits, 180, |number| host(number + 100)), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_suppressed_is_told_without_another_refusal_and_at_the_end() {
        let (log, _guard) = Log::start();
        let limits = LogLimits::new();
        let last = limits.summarize_on_drop();
        let told = async {
            assert_eq!(admitted(&limits, 50, |_| host(7)), 20);
            sleep(SUMMARY_INTERVAL * 2).await;
            assert_eq!(
                log.lines(),
                ["INFO event=\"refused_suppressed\" lines=30 window_ms=10000.0"]
            );
            assert_eq!(admitted(&limits, 50, |_| host(7)), 20);
            assert_eq!((0..15).filter(|_| limits.admit_accept_failure()).count(), 10);
        };
        tokio::select! {
            () = told => {}
            () = limits.summarize_regularly() => {}
        }
        drop(last);
        assert_eq!(
            log.lines(),
            [
                "INFO event=\"refused_suppressed\" lines=30 window_ms=0.0",
                "WARN event=\"accept_failed_suppressed\" lines=5 window_ms=0.0"
            ]
        );
    }
}
