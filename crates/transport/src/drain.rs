//! Graceful shutdown: announces its phases, and waits until all token holders have ended.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ws_core::CloseCode;

use crate::handover::{Handover, SessionSink};
use crate::registry::SessionRegistry;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Notify, watch};
use crate::timer::TimerService;

/// The phase of a shutdown. [`Drain`] has an example.
///
/// Every token holder has to handle each phase, so a new one is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No shutdown has begun.
    Serving,
    /// New sessions are refused, and open sessions close.
    Draining,
    /// Everything that is left ends at once.
    Aborting,
}

impl Phase {
    /// The generation that announces it to the timer service.
    fn generation(self) -> u8 {
        match self {
            Self::Serving => 0,
            Self::Draining => 1,
            Self::Aborting => 2,
        }
    }

    fn of(generation: u8) -> Self {
        match generation {
            0 => Self::Serving,
            1 => Self::Draining,
            _ => Self::Aborting,
        }
    }
}

/// How a drain closes sessions. [`Drain`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOptions {
    /// The code of the Close frames.
    pub code: CloseCode,
    /// The time over which the sessions are closed, at an even rate. Zero closes all of them at once.
    pub spread: Duration,
    /// The time over which their clients come back, at an even rate, counted from the beginning of the
    /// drain: the reason of each Close says when ([`retry_after`](ws_core::retry_after)). Zero says nothing.
    pub reconnect_spread: Duration,
}

/// Close code 1001 (Going Away), all sessions at once.
impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            code: CloseCode::GOING_AWAY,
            spread: Duration::ZERO,
            reconnect_spread: Duration::ZERO,
        }
    }
}

/// Announces a shutdown, and waits until it is complete.
///
/// Every session and every task that a shutdown must wait for holds a [`DrainToken`]. Tasks wait for a
/// phase on a channel ([`DrainToken::past`]). Sessions are woken by the timer task, as for their
/// deadlines, because waiting on the channel would take a future for each session.
///
/// Dropping the drain is the same as [`abort`](Self::abort).
///
/// ```
/// use transport::ws_core::CloseCode;
/// use transport::{Drain, DrainOptions, Phase};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (drain, timer_task) = Drain::new();
/// tokio::spawn(timer_task);
///
/// // A task that is no session. `run` takes a token for a session.
/// let token = drain.token();
/// let worker = tokio::spawn(async move {
///     token.past(Phase::Serving).await;
///     token.options().code
/// });
///
/// drain.start(DrainOptions { code: CloseCode::SERVICE_RESTART, ..DrainOptions::default() });
/// drain.closed().await;
/// assert_eq!(worker.await.unwrap(), CloseCode::SERVICE_RESTART);
/// # }
/// ```
#[derive(Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    signal: watch::Sender<Announced>,
    timers: TimerService,
    sessions: SessionRegistry,
    handover: Handover,
    tokens: AtomicUsize,
    all_dropped: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    phase: Phase,
    options: DrainOptions,
}

impl Drain {
    /// Creates a drain, and the timer task of the sessions that hold a [`DrainToken`] of it.
    ///
    /// The caller has to spawn the timer task in the runtime of the sessions, and keep it running until
    /// the last session has ended. It wakes sessions at their deadlines and when the phase changes, and
    /// detects that the runtime stalled.
    #[must_use = "sessions see neither deadlines nor the drain unless the timer task runs"]
    pub fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::with_sessions(SessionRegistry::default())
    }

    /// Like [`new`](Self::new), with the registry in which its sessions are entered.
    #[must_use = "sessions see neither deadlines nor the drain unless the timer task runs"]
    pub fn with_sessions(
        sessions: SessionRegistry,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let signal = Announced { phase: Phase::Serving, options: DrainOptions::default() };
        let shared = Arc::new(Shared {
            signal: watch::Sender::new(signal),
            timers: TimerService::default(),
            sessions,
            handover: Handover::default(),
            tokens: AtomicUsize::new(0),
            all_dropped: Notify::new(),
        });
        (Self(Arc::clone(&shared)), async move { shared.timers.run().await })
    }

    /// Returns a token. [`closed`](Self::closed) waits until it is dropped.
    #[must_use]
    pub fn token(&self) -> DrainToken {
        DrainToken::new(&self.0)
    }

    /// Begins the shutdown: sessions close as `options` say. Only the first call has an effect, and none
    /// after [`abort`](Self::abort).
    pub fn start(&self, options: DrainOptions) {
        self.announce(Phase::Draining, |signal| signal.options = options);
    }

    /// Ends everything at once: no session waits for the closing handshake.
    pub fn abort(&self) {
        self.announce(Phase::Aborting, |_| {});
    }

    /// Waits until every [`DrainToken`] is dropped.
    pub async fn closed(&self) {
        loop {
            let mut all_dropped = pin!(self.0.all_dropped.notified());
            // Registered before the count is read, so the drop of the last token cannot be missed.
            all_dropped.as_mut().enable();
            if self.0.tokens.load(Ordering::SeqCst) == 0 {
                return;
            }
            all_dropped.await;
        }
    }

    /// Begins to freeze sessions, so that another process continues them: from now on each is offered to
    /// `sink` when it is at rest, at the end of a poll. [`wake_sessions`](Self::wake_sessions) has all of them
    /// polled.
    ///
    /// [`seal`](Self::seal) ends this, and then [`hand_over`](Self::hand_over) or [`resume`](Self::resume)
    /// decides about those that were taken. Until then they do nothing, and a drain that begins does not close
    /// them.
    pub fn freeze(&self, sink: Arc<dyn SessionSink>) {
        self.0.handover.freeze(sink);
    }

    /// Wakes all sessions.
    pub async fn wake_sessions(&self) {
        self.0.timers.wake_all().await;
    }

    /// Freezes no more sessions. One that is being offered at this moment may still be taken.
    pub fn seal(&self) {
        self.0.handover.seal();
    }

    /// Ends the frozen sessions in `taken` without a word to their peers, because another process has them.
    /// Those in `refused`, which it has refused, go on here and are not offered again. The next
    /// [`wake_sessions`](Self::wake_sessions) performs it.
    ///
    /// The observer gets [`HandedOver`](crate::EndpointEvent::HandedOver) for each that is taken.
    pub fn hand_over(
        &self,
        taken: impl IntoIterator<Item = u64>,
        refused: impl IntoIterator<Item = u64>,
    ) {
        self.0.handover.commit(taken, refused);
    }

    /// Freezes no more sessions, and lets the frozen ones go on. The next
    /// [`wake_sessions`](Self::wake_sessions) performs it.
    pub fn resume(&self) {
        self.0.handover.resume();
    }

    /// Returns the id of the next session.
    #[must_use]
    pub fn next_session_id(&self) -> u64 {
        self.0.timers.next_id()
    }

    /// Gives new sessions ids from `first` on, because another process has assigned those below.
    pub fn skip_session_ids_below(&self, first: u64) {
        self.0.timers.skip_ids_below(first);
    }

    fn announce(&self, phase: Phase, change: impl FnOnce(&mut Announced)) {
        self.0.signal.send_if_modified(|signal| {
            let is_later = phase > signal.phase;
            if is_later {
                signal.phase = phase;
                change(signal);
                // Under the lock of the channel, so a session that sees the phase gets its options.
                self.0.timers.announce(phase.generation());
            }
            is_later
        });
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Delays the completion of a [`Drain`] until it is dropped, and shows its phase. [`Drain`] has an
/// example.
#[derive(Debug)]
pub struct DrainToken(Arc<Shared>);

impl DrainToken {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.tokens.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }

    /// Returns the current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::of(self.0.timers.generation())
    }

    /// Returns the options of [`Drain::start`], or the defaults if it was not called.
    #[must_use]
    pub fn options(&self) -> DrainOptions {
        self.0.signal.borrow().options
    }

    /// Returns which sessions are frozen.
    pub(crate) fn handover(&self) -> &Handover {
        &self.0.handover
    }

    /// Returns the registry of the sessions.
    pub(crate) fn sessions(&self) -> &SessionRegistry {
        &self.0.sessions
    }

    /// Waits for a phase later than `seen`, and returns it.
    ///
    /// Cancel safe.
    pub async fn past(&self, seen: Phase) -> Phase {
        let mut signal = self.0.signal.subscribe();
        let announced = signal.wait_for(|signal| signal.phase > seen).await;
        announced.map_or(Phase::Aborting, |signal| signal.phase)
    }
}

/// A timer handle owns a token, and reaches the timer service through it.
impl AsRef<TimerService> for DrainToken {
    fn as_ref(&self) -> &TimerService {
        &self.0.timers
    }
}

impl Clone for DrainToken {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for DrainToken {
    fn drop(&mut self) {
        if self.0.tokens.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.all_dropped.notify_waiters();
        }
    }
}
