//! The driver: one session from its first byte to its closure record.

use std::future::Future;
use std::mem;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use ws_core::{Action, CloseFrame, CloseRecord, Event, Jitter, Lifecycle, SessionConfig, Stats};

use super::codec::Incoming;
use super::poll_buffers::PollBuffers;
use super::websocket::{Flushed, WebSocket};
use crate::catch_panic::Guarded;
use crate::drain::{DrainOptions, DrainToken, Phase};
use crate::handler::{Handler, Next};
use crate::stream_end::StreamEnd;
use crate::timer::{TimerHandle, TimerInstant};

/// So many sessions that opened one after the other are pinged in step: what they have in memory, here
/// and in the system, lies together, and is used together then. docs/performance.md has the figures.
const PHASE_GROUP: u64 = 64;

/// How often a wake-up reads or asks the handler before everybody else gets a turn.
const POLL_BUDGET: usize = 2;

/// Runs a session to its end.
///
/// `watch` is its token in the drain, whose keeper wakes it. The [front page](crate#a-handler) has an
/// example.
///
/// The future is `Unpin`, never fails, and may be dropped at any moment, which hangs up.
pub fn run<S, H>(
    socket: WebSocket<S>,
    config: Arc<SessionConfig>,
    handler: H,
    token: DrainToken,
) -> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    run_guarded(socket, config, Guarded::new(handler), token)
}

pub(crate) fn run_guarded<S, H>(
    socket: WebSocket<S>,
    config: Arc<SessionConfig>,
    handler: Guarded<H>,
    token: DrainToken,
) -> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let (timer, opened) = TimerHandle::new(token);
    let before = timer.id() - 1;
    let jitter = Jitter { ping: even_fraction(before / PHASE_GROUP), end: even_fraction(before) };
    Session {
        socket,
        lifecycle: Lifecycle::new(config, jitter),
        handler,
        phase: Phase::Serving,
        is_stuck: false,
        stream_end: None,
        opened,
        timer,
    }
}

/// A running session; see [`run`]. Its getters are what an [`Endpoint`](crate::Endpoint) makes its
/// facts of, and the [front page](crate#an-endpoint) shows those.
///
/// Each wake-up is handled whole and looks at everything, in this order: the drain, the socket, the
/// handler, the deadline. It never waits for one of them alone, so a peer that does not read cannot
/// keep the session from seeing its timeouts or the shutdown. The socket comes before the deadline:
/// after a stall of the process, what the peer said in time still counts.
#[must_use = "a session does nothing unless it is polled"]
pub struct Session<S, H> {
    socket: WebSocket<S>,
    lifecycle: Lifecycle,
    /// Gone after a panic.
    handler: Guarded<H>,
    /// As far as the machine was told of the drain.
    phase: Phase,
    /// Whether the latest flush was refused.
    is_stuck: bool,
    stream_end: Option<StreamEnd>,
    opened: TimerInstant,
    timer: TimerHandle<DrainToken>,
}

/// What a session knows only while it is awake.
struct PollContext<'a, 'cx> {
    cx: &'a mut Context<'cx>,
    now: TimerInstant,
}

/// Nothing in it is pinned: the stream says so itself, and the handler is never polled in place.
impl<S: Unpin, H> Unpin for Session<S, H> {}

impl<S, H> Future for Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    type Output = CloseRecord;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseRecord> {
        let session = self.get_mut();
        let outcome = catch_unwind(AssertUnwindSafe(|| session.poll_session(cx)))
            .unwrap_or_else(|_| session.end_after_panic(cx));
        match outcome {
            ControlFlow::Break(record) => Poll::Ready(record),
            ControlFlow::Continue(()) => Poll::Pending,
        }
    }
}

impl<S, H> Session<S, H> {
    /// A number that no other session of its drain has. The first one's is 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.timer.id()
    }

    /// How long after its beginning this session's turn comes in something that is spread over all, as
    /// a drain is: from zero to less than `spread`, evenly over all numbers.
    #[must_use]
    pub fn drain_offset(&self, spread: Duration) -> Duration {
        spread.mul_f64(f64::from(even_fraction(self.id() - 1)) / 2_f64.powi(32))
    }

    /// What has been counted and measured so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lifecycle.stats()
    }

    /// How the stream ended, if it did before this session let go of it.
    #[must_use]
    pub fn stream_end(&self) -> Option<StreamEnd> {
        self.stream_end
    }

    /// Whether the handler panicked, or the session itself.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.handler.is_gone()
    }
}

impl<S, H> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    fn poll_session(&mut self, cx: &mut Context<'_>) -> ControlFlow<CloseRecord> {
        // Not while it serves: sessions share the lock that is taken then.
        let is_told = self.phase != Phase::Serving && self.timer.owner().phase() == self.phase;
        if is_told && !self.lifecycle.is_open() && self.timer.must_wait(cx) {
            return ControlFlow::Continue(());
        }
        let mut buffers = PollBuffers::borrow(&mut self.socket.output);
        let now = self.timer.now();
        let outcome = self.poll_once(&mut PollContext { cx, now }, &mut buffers.input);
        if outcome.is_break() {
            // A stream that panics now must not take the closure record with it.
            let close_stream = || self.socket.close_stream(cx, &mut buffers.input);
            let _ = catch_unwind(AssertUnwindSafe(close_stream));
        }
        self.socket.release_idle();
        buffers.restore(&mut self.socket.output);
        outcome
    }

    fn poll_once(
        &mut self,
        poll: &mut PollContext<'_, '_>,
        buffer: &mut [u8],
    ) -> ControlFlow<CloseRecord> {
        self.check_drain(poll.now)?;
        let flushed = self.flush(poll)?.is_ready();
        if flushed || self.socket.is_discarding() {
            self.poll_receive(poll, buffer)?;
        }
        if flushed {
            self.poll_handler(poll)?;
        }
        self.check_deadline(poll.now)?;
        let _ = self.flush(poll)?;
        self.set_timer(poll);
        ControlFlow::Continue(())
    }

    /// Tells the machine what happened, and does what it says.
    fn dispatch(&mut self, event: Event<'_>, now: TimerInstant) -> ControlFlow<CloseRecord> {
        match self.lifecycle.handle(event, now.since(self.opened)) {
            None => {}
            Some(Action::Close(frame)) => self.socket.send_close(&frame),
            Some(Action::End(record)) => return ControlFlow::Break(record),
            Some(Action::Ping(payload)) => self.socket.send_ping(&payload),
        }
        ControlFlow::Continue(())
    }

    fn disconnected(&mut self, end: StreamEnd, now: TimerInstant) -> ControlFlow<CloseRecord> {
        self.stream_end = Some(end);
        self.dispatch(Event::Disconnected, now)
    }

    fn check_drain(&mut self, now: TimerInstant) -> ControlFlow<CloseRecord> {
        let phase = self.timer.owner().phase();
        if phase == self.phase {
            return ControlFlow::Continue(());
        }
        self.phase = phase;
        self.timer.count_delivered();
        let DrainOptions { code, spread } = self.timer.owner().options();
        match phase {
            Phase::Serving => ControlFlow::Continue(()),
            Phase::Draining => {
                self.dispatch(Event::Drain { code, after: self.drain_offset(spread) }, now)
            }
            Phase::Aborting => {
                self.dispatch(Event::Drain { code, after: Duration::ZERO }, now)?;
                self.dispatch(Event::Disconnected, now)
            }
        }
    }

    /// `Pending` is an output that is stuck: nothing more is read then, nor asked of the handler, or
    /// a peer that sends and does not read would make the output grow without bound.
    fn flush(&mut self, poll: &mut PollContext<'_, '_>) -> ControlFlow<CloseRecord, Poll<()>> {
        let waiting = self.socket.unsent();
        let flushed = self.socket.poll_flush(poll.cx);
        let was_stuck = mem::replace(&mut self.is_stuck, flushed.is_pending());
        // A stream with a buffer of its own takes the last bytes before it gets rid of them.
        if self.socket.unsent() < waiting || (was_stuck && flushed.is_ready()) {
            self.dispatch(Event::WriteProgressed, poll.now)?;
        }
        match flushed {
            Poll::Pending => {
                self.dispatch(Event::WriteBlocked, poll.now)?;
                return ControlFlow::Continue(Poll::Pending);
            }
            Poll::Ready(Ok(Flushed::Finished)) => self.dispatch(Event::Finished, poll.now)?,
            Poll::Ready(Ok(Flushed::Open)) => {}
            Poll::Ready(Err(error)) => {
                self.disconnected(StreamEnd::of_write(&error), poll.now)?;
            }
        }
        ControlFlow::Continue(Poll::Ready(()))
    }

    fn poll_receive(
        &mut self,
        poll: &mut PollContext<'_, '_>,
        buffer: &mut [u8],
    ) -> ControlFlow<CloseRecord> {
        self.check_stall(poll.now)?;
        for _ in 0..POLL_BUDGET {
            if self.socket.is_finishing() {
                return ControlFlow::Continue(());
            }
            let mut input = match self.socket.poll_read(poll.cx, buffer) {
                Poll::Pending => return ControlFlow::Continue(()),
                Poll::Ready(Err(end)) => return self.disconnected(end, poll.now),
                Poll::Ready(Ok(input)) => input,
            };
            while let Some(incoming) = self.socket.decode(&mut input) {
                self.on_frame(incoming, poll)?;
            }
            let rest =
                if self.socket.is_partial() { Event::MessageBegan } else { Event::MessageEnded };
            self.dispatch(rest, poll.now)?;
            if self.socket.is_full() && self.flush(poll)?.is_pending() {
                return ControlFlow::Continue(());
            }
        }
        yield_to_others(poll.cx);
        ControlFlow::Continue(())
    }

    /// What is read now may have gathered in a stall.
    fn check_stall(&mut self, now: TimerInstant) -> ControlFlow<CloseRecord> {
        match self.timer.stalled(now) {
            Duration::ZERO => ControlFlow::Continue(()),
            stall => self.dispatch(Event::Stalled(stall), now),
        }
    }

    fn on_frame(
        &mut self,
        incoming: Incoming,
        poll: &mut PollContext<'_, '_>,
    ) -> ControlFlow<CloseRecord> {
        match incoming {
            Incoming::Close(frame) => self.dispatch(Event::PeerClose(frame), poll.now),
            Incoming::Message(message) => {
                self.dispatch(Event::Message { bytes: message.payload_len() }, poll.now)?;
                if self.lifecycle.is_open() {
                    self.call_handler(|handler| handler.receive(message), poll.now)?;
                }
                // Its answer goes out before that to whatever came behind, which may be the end.
                self.poll_handler(poll)
            }
            Incoming::Ping(payload) => {
                self.dispatch(Event::Ping { bytes: payload.len() }, poll.now)
            }
            Incoming::Pong(payload) => self.dispatch(Event::Pong(&payload), poll.now),
            Incoming::Violation(violation) => {
                self.dispatch(Event::Violation(violation), poll.now)?;
                self.socket.discard_input();
                ControlFlow::Continue(())
            }
        }
    }

    fn poll_handler(&mut self, poll: &mut PollContext<'_, '_>) -> ControlFlow<CloseRecord> {
        for _ in 0..POLL_BUDGET {
            while !self.socket.is_full() {
                if !self.lifecycle.is_open() {
                    return ControlFlow::Continue(());
                }
                match self.call_handler(|handler| handler.poll_next(poll.cx), poll.now)? {
                    None | Some(Poll::Pending) => return ControlFlow::Continue(()),
                    Some(Poll::Ready(Next::Close(code, reason))) => {
                        self.dispatch(
                            Event::handler_closed(CloseFrame { code, reason }),
                            poll.now,
                        )?;
                    }
                    Some(Poll::Ready(Next::Send(message))) => {
                        let bytes = message.payload_len();
                        self.socket.send(message);
                        self.dispatch(Event::Sent { bytes }, poll.now)?;
                    }
                    Some(Poll::Ready(Next::SendPrepared(frame))) => {
                        let bytes = frame.payload_len();
                        self.socket.send_prepared(frame);
                        self.dispatch(Event::Sent { bytes }, poll.now)?;
                    }
                }
            }
            if self.flush(poll)?.is_pending() {
                return ControlFlow::Continue(());
            }
        }
        yield_to_others(poll.cx);
        ControlFlow::Continue(())
    }

    /// What `call` makes of the handler. Its panic ends this session alone: the peer is told, and what
    /// it has sent behind the message is still read, its answer to our Close frame included.
    fn call_handler<T>(
        &mut self,
        call: impl FnOnce(&mut H) -> T,
        now: TimerInstant,
    ) -> ControlFlow<CloseRecord, Option<T>> {
        let result = self.handler.call(call);
        if result.is_err() {
            self.dispatch(Event::panicked(), now)?;
        }
        ControlFlow::Continue(result.ok())
    }

    fn check_deadline(&mut self, now: TimerInstant) -> ControlFlow<CloseRecord> {
        match self.deadline() {
            Some(deadline) if deadline <= now => self.dispatch(Event::Tick, now),
            Some(_) | None => ControlFlow::Continue(()),
        }
    }

    /// The last thing before going to sleep, since whatever the machine is told may move its deadline.
    fn set_timer(&mut self, poll: &PollContext<'_, '_>) {
        if let Some(deadline) = self.deadline() {
            self.timer.set(deadline, poll.cx);
        }
        // Whoever woke the sleepers to see it may have come before the alarm was set.
        if self.timer.owner().phase() != self.phase {
            poll.cx.waker().wake_by_ref();
        }
    }

    fn deadline(&self) -> Option<TimerInstant> {
        self.lifecycle.deadline().map(|deadline| self.opened + deadline)
    }

    /// A panic of the stream, the codec or the session itself ends this session alone, and the peer is
    /// told, unless that panics too. What was read went with the stack, so nothing is decoded any more.
    fn end_after_panic(&mut self, cx: &mut Context<'_>) -> ControlFlow<CloseRecord> {
        let options = catch_unwind(AssertUnwindSafe(|| {
            self.handler.forget();
            self.dispatch(Event::panicked(), self.timer.now())?;
            self.socket.discard_input();
            self.poll_session(cx)
        }));
        options.unwrap_or_else(|panic| match self.dispatch(Event::Disconnected, self.timer.now()) {
            end @ ControlFlow::Break(_) => end,
            ControlFlow::Continue(()) => resume_unwind(panic),
        })
    }
}

/// Asks for another turn, after all other tasks that are ready and those that the network wakes.
///
/// A task that only wakes itself is polled again before the network is looked at, so a few peers that
/// always have something to say would keep all others waiting.
fn yield_to_others(cx: &mut Context<'_>) {
    // Its first poll is never ready, and leaves the waker with the runtime.
    let _ = pin!(yield_now()).poll(cx);
}

/// Where the one that has `before` before it stands among all. The multiples of the golden ratio leave
/// no gap anywhere, however many there are, so pings and closings are spread more evenly than by chance.
fn even_fraction(before: u64) -> u32 {
    let even_fraction = before.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(even_fraction).unwrap_or_default()
}
