//! Rate limits of log lines about refusals, failed accepts and a service that is not available. Lines above the limit are counted, and
//! reported in a summary.
//!
//! Sessions are not limited: each logs two lines. Metrics count every event.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use transport::Peer;

use crate::limits::client_network;
use crate::time::milliseconds;

/// Lines about refusals of one client address: the burst covers the requests of one connection.
const REFUSALS_OF_ADDRESS: Rate = Rate { burst: 20, interval: Duration::from_secs(1) };

/// Lines about refusals of all addresses: less than 2 GB per day with lines of maximum length.
const REFUSALS: Rate = Rate { burst: 200, interval: Duration::from_millis(100) };

/// Lines about failed accepts, which repeat ten times per second, mostly with the same reason.
const ACCEPT_FAILURES: Rate = Rate { burst: 10, interval: Duration::from_secs(10) };

/// Lines about failures of the service that authenticates clients: one for each handshake while it is down.
const AUTH_FAILURES: Rate = Rate { burst: 10, interval: Duration::from_secs(10) };

/// Interval of the summaries of suppressed lines.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum number of addresses with a limit of their own. Others are subject to the total limit only.
const MAX_ADDRESSES: usize = 1024;

/// Decides which lines are written, and counts the suppressed ones.
#[derive(Debug)]
pub(crate) struct LogLimits(Mutex<State>);

#[derive(Debug)]
struct State {
    refusals: LineLimiter,
    /// Addresses whose bucket is not full. `None` stands for peers on Unix sockets.
    addresses: HashMap<Option<IpAddr>, TokenBucket>,
    accept_failures: LineLimiter,
    auth_failures: LineLimiter,
}

impl LogLimits {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            refusals: LineLimiter::new(REFUSALS),
            addresses: HashMap::new(),
            accept_failures: LineLimiter::new(ACCEPT_FAILURES),
            auth_failures: LineLimiter::new(AUTH_FAILURES),
        }))
    }

    /// Whether to log a refusal of this peer. If not, it is counted as suppressed.
    pub(crate) fn admit_refusal(&self, peer: Peer) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock();
        let State { refusals, addresses, .. } = &mut *state;
        let address = peer.ip().map(client_network);
        let is_within_address_limit =
            if addresses.len() < MAX_ADDRESSES || addresses.contains_key(&address) {
                let bucket = addresses.entry(address).or_insert(TokenBucket::full(now));
                bucket.take(REFUSALS_OF_ADDRESS, now)
            } else {
                true
            };
        // A line above the limit of its address takes no token from the total limit.
        refusals.admit(is_within_address_limit, now)
    }

    /// Whether to log a failed accept. If not, it is counted as suppressed.
    pub(crate) fn admit_accept_failure(&self) -> bool {
        self.0.lock().accept_failures.admit(true, Instant::now())
    }

    /// Whether to log a failure of the service that authenticates clients. If not, it is counted as suppressed.
    pub(crate) fn admit_auth_failure(&self) -> bool {
        self.0.lock().auth_failures.admit(true, Instant::now())
    }

    /// Logs a summary every 10 seconds. Never returns.
    pub(crate) async fn summarize_periodically(&self) {
        loop {
            sleep(SUMMARY_INTERVAL).await;
            self.summarize();
        }
    }

    /// Returns a guard that logs the last summary at the end of the server.
    pub(crate) fn summarize_on_drop(&self) -> SummaryOnDrop<'_> {
        SummaryOnDrop(self)
    }

    /// Logs the lines suppressed since the previous summary, if any.
    pub(crate) fn summarize(&self) {
        let now = Instant::now();
        let (refusals, accept_failures, auth_failures) = {
            let mut state = self.0.lock();
            // A full bucket has the same effect as no entry.
            state.addresses.retain(|_, bucket| !bucket.is_full(now));
            let take = |limiter: &mut LineLimiter| limiter.suppressed.take();
            let State { refusals, accept_failures, auth_failures, .. } = &mut *state;
            (take(refusals), take(accept_failures), take(auth_failures))
        };
        if let Some(Suppressed { lines, since }) = refusals {
            let window_ms = milliseconds(now - since);
            info!(event = "refused_suppressed", lines, window_ms);
        }
        if let Some(Suppressed { lines, since }) = accept_failures {
            let window_ms = milliseconds(now - since);
            warn!(event = "accept_failed_suppressed", lines, window_ms);
        }
        if let Some(Suppressed { lines, since }) = auth_failures {
            let window_ms = milliseconds(now - since);
            warn!(event = "auth_unavailable_suppressed", lines, window_ms);
        }
    }
}

/// Logs a summary when it is dropped.
#[derive(Debug)]
#[must_use = "the summary is logged when it is dropped"]
pub(crate) struct SummaryOnDrop<'a>(&'a LogLimits);

impl Drop for SummaryOnDrop<'_> {
    fn drop(&mut self) {
        self.0.summarize();
    }
}

/// The limit of one kind of lines.
#[derive(Debug)]
struct LineLimiter {
    rate: Rate,
    bucket: TokenBucket,
    suppressed: Option<Suppressed>,
}

/// Suppressed lines since the previous summary.
#[derive(Clone, Copy, Debug)]
struct Suppressed {
    lines: u64,
    /// When the first line was suppressed.
    since: Instant,
}

impl LineLimiter {
    fn new(rate: Rate) -> Self {
        Self { rate, bucket: TokenBucket::full(Instant::now()), suppressed: None }
    }

    /// Whether to write a line. `is_allowed` is the decision of a more specific limit.
    fn admit(&mut self, is_allowed: bool, now: Instant) -> bool {
        let is_admitted = is_allowed && self.bucket.take(self.rate, now);
        if !is_admitted {
            self.suppressed.get_or_insert(Suppressed { lines: 0, since: now }).lines += 1;
        }
        is_admitted
    }
}

/// `burst` lines at once, and then one line per `interval`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// A token bucket, stored as the time at which it is full again.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    full_at: Instant,
}

impl TokenBucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes a token. Returns `false` if the bucket is empty.
    fn take(&mut self, Rate { burst, interval }: Rate, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + interval;
        let has_token = full_at <= now + interval * burst;
        if has_token {
            self.full_at = full_at;
        }
        has_token
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

    /// Captures the log of this thread.
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

        /// Returns the lines since the previous call.
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

    /// Returns how many of `refusals` refusals are logged.
    fn admitted(limits: &LogLimits, refusals: usize, peers: impl Fn(u32) -> Peer) -> usize {
        (0..).map(peers).take(refusals).filter(|peer| limits.admit_refusal(*peer)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusals_of_an_address_are_logged_and_then_one_per_second() {
        let (log, _guard) = Log::start();
        let limits = LogLimits::new();
        assert_eq!(admitted(&limits, 5000, |_| host(7)), 20);
        for _ in 0..9 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(admitted(&limits, 100, |_| host(7)), 1);
        }
        // Other addresses are not affected. IPv6 hosts share the limit of their /64, Unix peers share one.
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
        // Addresses are removed when their bucket is full again.
        limits.summarize();
        assert_eq!(limits.0.lock().addresses.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_above_its_limit_does_not_use_up_the_total_limit() {
        let limits = LogLimits::new();
        assert_eq!(admitted(&limits, 1_000_000, |_| host(7)), 20);
        assert_eq!(admitted(&limits, 180, |number| host(number + 100)), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn suppressed_lines_are_summarized_periodically_and_at_the_end() {
        let (log, _guard) = Log::start();
        let limits = LogLimits::new();
        let last = limits.summarize_on_drop();
        let checks = async {
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
            () = checks => {}
            () = limits.summarize_periodically() => {}
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
