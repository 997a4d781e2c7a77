//! Clients with long sessions, in a thread of their own. Each pings every second, measures the pong, and
//! checks that it receives every state once and in order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::faults::{Faults, Kind};
use super::publisher::Newest;
use super::session::{Event, Session};
use super::{Routes, source};

/// The most sessions that may be in their opening handshake at once.
const MAX_PENDING: usize = 256;
/// Time between two pings of a client.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a client connects again.
const RETRY: Duration = Duration::from_millis(100);
/// Limit for all sessions to be closed at the end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients. They connect again whenever their session ends.
pub struct Clients {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<Measured>>,
}

/// What the clients have measured.
pub struct Measured {
    /// Each ping that was answered.
    pub pongs: Vec<Pong>,
    /// Sessions that ended with code 1001 when the server was stopped.
    pub closed_at_the_end: usize,
}

/// A ping that was answered.
#[derive(Clone, Copy)]
pub struct Pong {
    sent_ms: u32,
    round_trip_us: u32,
}

impl Pong {
    /// Returns when the ping was sent, on the common clock.
    #[must_use]
    pub fn sent(self) -> Duration {
        Duration::from_millis(self.sent_ms.into())
    }

    /// Returns the time from the ping to the pong.
    #[must_use]
    pub fn round_trip(self) -> Duration {
        Duration::from_micros(self.round_trip_us.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No more pings.
    Quiet,
    /// Sessions may be closed.
    Ending,
}

struct Shared {
    phase: Mutex<Phase>,
    open: AtomicUsize,
}

impl Clients {
    /// Starts this many clients.
    ///
    /// # Errors
    ///
    /// `epoll_create1` failed.
    pub fn start(count: usize, routes: Routes, newest: Newest, faults: Faults) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { phase: Mutex::new(Phase::Running), open: AtomicUsize::new(0) });
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let driver = Driver {
            shared: Arc::clone(&shared),
            routes,
            newest,
            faults,
            epoll,
            clients: (0..count).map(|_| Client::default()).collect(),
            waiting: (0..count).map(|number| (Duration::ZERO, number)).collect(),
            pending: 0,
            pings: 0,
            pongs: Vec::new(),
            closed_at_the_end: 0,
            buffer: vec![0; 1 << 16],
        };
        Ok(Self { shared, thread: thread::spawn(move || driver.run()) })
    }

    /// Returns the number of sessions that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until this many sessions are open. Returns whether they were in time.
    #[must_use]
    pub fn wait_until_open(&self, count: usize, time: Duration) -> bool {
        let started = Instant::now();
        while self.open() < count && started.elapsed() < time {
            sleep(Duration::from_millis(5));
        }
        self.open() >= count
    }

    /// Sends no more pings.
    pub fn quieten(&self) {
        self.set(Phase::Quiet);
    }

    /// Allows the server to close the sessions.
    pub fn expect_end(&self) {
        self.set(Phase::Ending);
    }

    /// Waits until all sessions have ended, and returns what was measured.
    ///
    /// # Errors
    ///
    /// The thread failed.
    pub fn finish(self) -> io::Result<Measured> {
        self.expect_end();
        self.thread.join().map_err(|_| io::Error::other("the clients panicked"))?
    }

    fn set(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

#[derive(Default)]
struct Client {
    session: Option<Session>,
    /// The number of the newest state, over all its sessions; 0 before the first.
    newest: u64,
    /// Whether its session has received no state yet.
    is_fresh: bool,
    /// When the ping was sent that has no pong yet.
    ping_sent: Option<Duration>,
    /// The code and the reason of the Close frame.
    closed: Option<(u16, String)>,
}

struct Driver {
    shared: Arc<Shared>,
    routes: Routes,
    newest: Newest,
    faults: Faults,
    epoll: Epoll,
    clients: Vec<Client>,
    /// The clients without a session, and when they connect.
    waiting: VecDeque<(Duration, usize)>,
    /// Sessions that are not open yet.
    pending: usize,
    /// The turns to ping that have passed.
    pings: u128,
    pongs: Vec<Pong>,
    closed_at_the_end: usize,
    buffer: Vec<u8>,
}

impl Driver {
    fn run(mut self) -> io::Result<Measured> {
        let mut events = [EpollEvent::empty(); 128];
        let mut ending_since = None;
        loop {
            let phase = *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner);
            match phase {
                Phase::Running => {
                    self.connect()?;
                    self.ping();
                }
                Phase::Quiet => {}
                Phase::Ending => {
                    let since = *ending_since.get_or_insert_with(|| {
                        self.check_completeness();
                        Instant::now()
                    });
                    let is_over = self.clients.iter().all(|client| client.session.is_none());
                    if is_over || since.elapsed() > END_TIMEOUT {
                        break;
                    }
                }
            }
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(1_u8)) {
                Err(nix::errno::Errno::EINTR) => 0,
                outcome => outcome?,
            };
            for event in &events[..count] {
                let number = usize::try_from(event.data()).unwrap_or(usize::MAX);
                if let Err(error) = self.on_ready(number, event.events()) {
                    self.end(number, &error.to_string(), phase);
                }
            }
        }
        Ok(Measured { pongs: self.pongs, closed_at_the_end: self.closed_at_the_end })
    }

    fn connect(&mut self) -> io::Result<()> {
        let now = self.faults.clock.now();
        while self.pending < MAX_PENDING
            && let Some((at, number)) = self.waiting.front().copied()
            && at <= now
        {
            self.waiting.pop_front();
            match Session::connect(self.routes.of(number), source(number)) {
                Ok(session) => {
                    let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
                    self.epoll.add(&session.stream, EpollEvent::new(both, number as u64))?;
                    self.clients[number].session = Some(session);
                    self.pending += 1;
                }
                Err(error) => {
                    self.faults.add(Kind::Connect, format!("client {number}: {error}"));
                    self.waiting.push_back((now + RETRY, number));
                }
            }
        }
        Ok(())
    }

    /// Pings for the clients whose turn it is. Their turns are spread evenly over the interval.
    fn ping(&mut self) {
        let now = self.faults.clock.now();
        let count = self.clients.len() as u128;
        let due = now.as_micros() * count / PING_INTERVAL.as_micros();
        // After a pause of this thread each client has one turn, and not those that it has missed.
        self.pings = self.pings.max(due.saturating_sub(count));
        while self.pings < due {
            let number = usize::try_from(self.pings % count).unwrap_or(0);
            self.pings += 1;
            let client = &mut self.clients[number];
            let Some(session) = client.session.as_mut().filter(|session| session.is_open()) else {
                continue;
            };
            if client.ping_sent.is_some() {
                continue; // The time until its pong is one measurement.
            }
            client.ping_sent = Some(now);
            if let Err(error) = session.ping(payload(now)) {
                self.end(number, &error.to_string(), Phase::Running);
            }
        }
    }

    fn on_ready(&mut self, number: usize, flags: EpollFlags) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        // An event of a session that has just ended.
        let Some(mut session) = client.session.take() else { return Ok(()) };
        let outcome = (|| {
            if flags.contains(EpollFlags::EPOLLOUT) {
                session.on_connected()?;
                let mut event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
                self.epoll.modify(&session.stream, &mut event)?;
            }
            if flags.intersects(!EpollFlags::EPOLLOUT) {
                let mut buffer = std::mem::take(&mut self.buffer);
                let outcome =
                    session.on_readable(&mut buffer, |event| self.on_event(number, event));
                self.buffer = buffer;
                outcome?;
            }
            Ok(())
        })();
        self.clients[number].session = Some(session);
        outcome
    }

    fn on_event(&mut self, number: usize, event: Event) {
        let client = &mut self.clients[number];
        match event {
            Event::Closed(code, reason) => client.closed = Some((code, reason)),
            Event::Opened => {
                client.is_fresh = true;
                self.pending -= 1;
                self.shared.open.fetch_add(1, Ordering::SeqCst);
            }
            Event::Pong(bytes) => {
                let now = self.faults.clock.now();
                match client.ping_sent.take_if(|sent| payload(*sent) == bytes) {
                    Some(sent) => self.pongs.push(Pong {
                        sent_ms: u32::try_from(sent.as_millis()).unwrap_or(u32::MAX),
                        round_trip_us: u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX),
                    }),
                    None => {
                        self.faults
                            .add(Kind::Unanswered, format!("client {number}: an unsolicited pong"));
                    }
                }
            }
            Event::State(state) => {
                let (newest, is_fresh) = (client.newest, client.is_fresh);
                (client.newest, client.is_fresh) = (newest.max(state), false);
                let fault = if is_fresh {
                    // A new session begins with the newest state, which the one before may have had.
                    (state < newest).then_some(Kind::OutOfOrder)
                } else if state <= newest {
                    Some(Kind::OutOfOrder)
                } else {
                    (newest > 0 && state > newest + 1).then_some(Kind::Missing)
                };
                if let Some(kind) = fault {
                    self.faults.add(kind, format!("client {number}: {state} after {newest}"));
                }
            }
        }
    }

    /// Checks before the end that all pings have been answered and the newest state has arrived.
    fn check_completeness(&self) {
        let published = self.newest.number();
        for (number, client) in self.clients.iter().enumerate() {
            if client.ping_sent.is_some() {
                self.faults.add(Kind::Unanswered, format!("client {number}: at the end"));
            }
            if client.session.is_some() && client.newest != published {
                let text = format!("client {number}: {} and not {published}", client.newest);
                self.faults.add(Kind::Missing, text);
            }
        }
    }

    fn end(&mut self, number: usize, error: &str, phase: Phase) {
        let client = &mut self.clients[number];
        let Some(session) = client.session.take() else { return };
        let (closed, _) = (client.closed.take(), client.ping_sent.take());
        let is_open = session.is_open();
        if is_open {
            self.shared.open.fetch_sub(1, Ordering::SeqCst);
        } else {
            self.pending -= 1;
        }
        if phase == Phase::Ending && closed.as_ref().is_some_and(|(code, _)| *code == 1001) {
            self.closed_at_the_end += 1;
            return;
        }
        let end = closed.map_or(error.to_owned(), |(code, reason)| format!("{code} {reason}"));
        let kind = if is_open { Kind::Closed } else { Kind::Connect };
        self.faults.add(kind, format!("client {number}: {end}"));
        self.waiting.push_back((self.faults.clock.now() + RETRY, number));
    }
}

/// The payload of a ping that is sent at this time.
fn payload(sent: Duration) -> [u8; 8] {
    u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX).to_be_bytes()
}
