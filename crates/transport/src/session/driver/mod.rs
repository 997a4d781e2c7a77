//! The driver: runs one session from its first byte to its close record.
//!
//! `input` has the part of a poll that reads, and `frozen` what a session is in another process.

mod frozen;
mod input;

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
use ws_core::{
    Action, CloseFrame, CloseRecord, Event, Jitter, Lifecycle, SessionConfig, Stats, retry_after,
};

use crate::catch_panic::CatchPanic;
use crate::drain::{DrainOptions, DrainToken, Phase};
use crate::handler::{Handler, Next};
use crate::session::poll_buffers::PollBuffers;
use crate::session::websocket::{Flushed, WebSocket};
use crate::stream_end::StreamEnd;
use crate::timer::{TimerHandle, TimerInstant};

/// Sessions that opened one after the other and are pinged at the same time. Their state lies together
/// in memory, here and in the kernel, and is used together then. docs/performance.md has the
/// measurements.
const PHASE_GROUP: u64 = 64;

/// Reads, and rounds of the handler's output, in one poll before the task yields to all others.
const POLL_BUDGET: usize = 2;

/// Runs a session to its end.
///
/// `token` belongs to the drain whose timer task wakes the session. The [front page](crate#a-handler)
/// has an example.
///
/// The future is `Unpin` and never fails. Dropping it drops the stream, without a closing handshake.
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
    Session::new(socket, config, CatchPanic::new(handler), token, None)
}

/// A running session; see [`run`]. An [`Endpoint`](crate::Endpoint) makes its events from the getters;
/// the [front page](crate#an-endpoint) has an example of these.
///
/// Every poll checks everything, in this order: the drain, the socket, the handler, the deadline. The
/// session never waits for one of them alone, so a peer that does not read can delay neither its
/// timeouts nor the shutdown. The socket comes before the deadline: after a stall of the process, input
/// that the peer sent in time still counts.
#[must_use = "a session does nothing unless it is polled"]
pub struct Session<S, H> {
    socket: WebSocket<S>,
    lifecycle: Lifecycle,
    /// Dropped after a panic.
    handler: CatchPanic<H>,
    /// The latest phase that was dispatched to the machine.
    phase: Phase,
    /// Whether the latest flush was pending.
    is_blocked: bool,
    /// Here and not in the task, because there is room.
    is_frozen: bool,
    stream_end: Option<StreamEnd>,
    opened: TimerInstant,
    timer: TimerHandle<DrainToken>,
}

/// The task's context, and the time when the poll began.
struct PollContext<'a, 'cx> {
    cx: &'a mut Context<'cx>,
    now: TimerInstant,
}

/// Nothing is pinned: the stream is `Unpin` itself, and the handler is polled through `&mut`.
impl<S: Unpin, H> Unpin for Session<S, H> {}

impl<S, H> Future for Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    type Output = CloseRecord;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseRecord> {
        let session = self.get_mut();
        let outcome = catch_unwind(AssertUnwindSafe(|| session.poll_inner(cx)))
            .unwrap_or_else(|_| session.end_after_panic(cx));
        match outcome {
            ControlFlow::Break(record) => Poll::Ready(record),
            ControlFlow::Continue(()) => Poll::Pending,
        }
    }
}

impl<S, H> Session<S, H> {
    /// Returns a number that is unique among the sessions of the drain. The first is 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.timer.id()
    }

    /// Returns the offset of this session in an operation that is spread over all sessions, such as a
    /// drain: at least zero and less than `spread`. The offsets of all sessions are evenly distributed.
    #[must_use]
    pub fn drain_offset(&self, spread: Duration) -> Duration {
        spread.mul_f64(f64::from(weyl_fraction(self.id() - 1)) / 2_f64.powi(32))
    }

    /// Returns whether the session has not been polled yet.
    pub(crate) fn is_new(&self) -> bool {
        self.timer.is_unset()
    }

    pub(crate) fn token(&self) -> &DrainToken {
        self.timer.owner()
    }

    /// Returns the counters and measurements so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lifecycle.stats()
    }

    /// Returns how the stream ended, if it ended before this session closed it.
    #[must_use]
    pub fn stream_end(&self) -> Option<StreamEnd> {
        self.stream_end
    }

    /// Returns whether the handler panicked, or the session itself.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.handler.is_dropped()
    }
}

impl<S, H> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    pub(crate) fn new(
        socket: WebSocket<S>,
        config: Arc<SessionConfig>,
        handler: CatchPanic<H>,
        token: DrainToken,
        lifetime: Option<Duration>,
    ) -> Self {
        let (timer, opened) = TimerHandle::new(token);
        let index = timer.id() - 1;
        let jitter = Jitter { ping: weyl_fraction(index / PHASE_GROUP), end: weyl_fraction(index) };
        let lifecycle = Lifecycle::new(config, jitter);
        let lifecycle = match lifetime {
            Some(lifetime) => lifecycle.expiring_at(lifetime),
            None => lifecycle,
        };
        Self {
            socket,
            lifecycle,
            handler,
            phase: Phase::Serving,
            is_blocked: false,
            is_frozen: false,
            stream_end: None,
            opened,
            timer,
        }
    }

    /// Creates a session without a handler, which sends this Close frame and ends. A drain does not change
    /// the frame. It takes an id, as every session does.
    pub(crate) fn closing(
        socket: WebSocket<S>,
        config: Arc<SessionConfig>,
        token: DrainToken,
        frame: CloseFrame,
    ) -> Self {
        let mut session = Self::new(socket, config, CatchPanic::dropped(), token, None);
        let _ = session.dispatch(Event::handler_closed(frame), session.opened);
        session
    }

    /// Polls once, with the buffers of the thread. Closes the stream when the session has ended.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> ControlFlow<CloseRecord> {
        // A session that is closing waits until all others have been woken for the phase: in a drain the
        // last Close frame is sent before the answers to the first are read. `must_wait` takes a lock
        // that all sessions share, so it is not called while the drain is serving.
        let has_seen_phase =
            self.phase != Phase::Serving && self.timer.owner().phase() == self.phase;
        if has_seen_phase && !self.lifecycle.is_open() && self.timer.must_wait(cx) {
            return ControlFlow::Continue(());
        }
        let mut buffers = PollBuffers::borrow(&mut self.socket.output);
        let now = self.timer.now();
        let outcome = self.poll_steps(&mut PollContext { cx, now }, &mut buffers.input);
        if outcome.is_break() {
            // A panic of the stream must not lose the close record.
            let close_stream = || self.socket.close_stream(cx, &mut buffers.input);
            let _ = catch_unwind(AssertUnwindSafe(close_stream));
        }
        self.socket.release_idle();
        buffers.restore(&mut self.socket.output);
        outcome
    }

    /// The steps of one poll. [`Session`] has the reasons of their order.
    fn poll_steps(
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

    /// Dispatches an event to the machine, and performs the action that it returns.
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

    /// Dispatches a close from outside: of this session, or of all of them.
    fn check_drain(&mut self, now: TimerInstant) -> ControlFlow<CloseRecord> {
        if let Some(frame) = self.token().sessions().take_request(self.id()) {
            self.dispatch(Event::disconnect_requested(frame), now)?;
        }
        let phase = self.timer.owner().phase();
        if phase == self.phase {
            return ControlFlow::Continue(());
        }
        self.phase = phase;
        self.timer.count_delivered();
        let DrainOptions { code, spread, reconnect_spread } = self.timer.owner().options();
        match phase {
            Phase::Serving => ControlFlow::Continue(()),
            Phase::Draining => {
                let retry = retry_after(reconnect_spread, spread, weyl_fraction(self.id() - 1));
                self.dispatch(Event::Drain { code, after: self.drain_offset(spread), retry }, now)
            }
            Phase::Aborting => {
                self.dispatch(Event::Drain { code, after: Duration::ZERO, retry: None }, now)?;
                self.dispatch(Event::Disconnected, now)
            }
        }
    }

    /// Writes the output to the stream.
    ///
    /// Returns `Pending` if the output is blocked. Then the session neither reads nor polls the handler:
    /// a peer that sends and does not read would make the output grow without bound.
    fn flush(&mut self, poll: &mut PollContext<'_, '_>) -> ControlFlow<CloseRecord, Poll<()>> {
        let unsent_before = self.socket.unsent();
        let flushed = self.socket.poll_flush(poll.cx);
        let was_blocked = mem::replace(&mut self.is_blocked, flushed.is_pending());
        // A stream with a buffer accepts the last bytes before it has written them, so a flush that
        // completes is progress, too.
        if was_blocked && (self.socket.unsent() < unsent_before || flushed.is_ready()) {
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
                    Some(Poll::Ready(Next::Ping)) => {
                        self.dispatch(Event::PingRequested, poll.now)?;
                    }
                    Some(Poll::Ready(Next::Send(message))) => {
                        let bytes = message.payload_len();
                        self.socket.send(&message);
                        self.dispatch(Event::Sent { bytes }, poll.now)?;
                    }
                    Some(Poll::Ready(Next::SendCompressed(message))) => {
                        let bytes = message.payload_len();
                        self.socket.send_compressed(&message);
                        self.dispatch(Event::Sent { bytes }, poll.now)?;
                    }
                    Some(Poll::Ready(Next::SendPrepared(message))) => {
                        let bytes = message.payload_len();
                        self.socket.send_prepared(message);
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

    /// Calls the handler; returns `None` if it panics. A panic ends only this session: the peer receives
    /// a Close frame, and its later input is still read, including its own Close frame.
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

    /// The last step of a poll, because every event may move the deadline of the machine.
    fn set_timer(&mut self, poll: &PollContext<'_, '_>) {
        if let Some(deadline) = self.deadline() {
            self.timer.set(deadline, poll.cx);
        }
        // The phase change may have been announced before this timer was registered: check again.
        if self.timer.owner().phase() != self.phase {
            poll.cx.waker().wake_by_ref();
        }
    }

    fn deadline(&self) -> Option<TimerInstant> {
        self.lifecycle.deadline().map(|deadline| self.opened + deadline)
    }

    /// Ends only this session after a panic of the stream, the codec or the session itself. The peer
    /// receives a Close frame, unless sending it panics as well. The input that was read is lost with
    /// the stack, so nothing more is decoded.
    fn end_after_panic(&mut self, cx: &mut Context<'_>) -> ControlFlow<CloseRecord> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.handler.drop_handler();
            self.dispatch(Event::panicked(), self.timer.now())?;
            self.socket.discard_input();
            self.poll_inner(cx)
        }));
        outcome.unwrap_or_else(|panic| match self.dispatch(Event::Disconnected, self.timer.now()) {
            end @ ControlFlow::Break(_) => end,
            ControlFlow::Continue(()) => resume_unwind(panic),
        })
    }
}

/// Schedules this task behind all other tasks that are ready, and those that the I/O driver wakes.
///
/// A task that only wakes itself is polled again before the runtime polls the I/O driver, so a few peers
/// that always have input would starve all others.
fn yield_to_others(cx: &mut Context<'_>) {
    // The first poll is always pending, and defers the waker in the runtime.
    let _ = pin!(yield_now()).poll(cx);
}

/// Returns the element at `index` of the Weyl sequence of the golden ratio, as a fraction of 2³². Any
/// run of it leaves no large gap, so pings and closings are distributed more evenly than at random.
fn weyl_fraction(index: u64) -> u32 {
    let fraction = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(fraction).unwrap_or_default()
}
