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
use ws_core::{Action, CloseFrame, Closure, Event, Jitter, Lifecycle, Progress, Rules};

use super::codec::Incoming;
use super::poll_buffers::Scratch;
use super::websocket::{Flushed, Socket};
use crate::catch_panic::Guarded;
use crate::drain::{Farewell, Phase, Watch};
use crate::handler::{Handler, Next};
use crate::stream_end::StreamEnd;
use crate::timer::{Alarm, Moment};

/// So many sessions that opened one after the other are pinged in step: what they have in memory, here
/// and in the system, lies together, and is used together then. docs/performance.md has the figures.
const NEIGHBOURS: u64 = 64;

/// How often a wake-up reads or asks the handler before everybody else gets a turn.
const ROUNDS: usize = 2;

/// Runs a session to its end.
///
/// `watch` is its token in the drain, whose keeper wakes it. The [front page](crate#a-handler) has an
/// example.
///
/// The future is `Unpin`, never fails, and may be dropped at any moment, which hangs up.
pub fn run<S, H>(socket: Socket<S>, rules: Arc<Rules>, handler: H, watch: Watch) -> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    run_guarded(socket, rules, Guarded::new(handler), watch)
}

pub(crate) fn run_guarded<S, H>(
    socket: Socket<S>,
    rules: Arc<Rules>,
    handler: Guarded<H>,
    watch: Watch,
) -> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let (alarm, opened) = Alarm::new(watch);
    let before = alarm.number() - 1;
    let jitter = Jitter { ping: place(before / NEIGHBOURS), end: place(before) };
    Session {
        socket,
        lifecycle: Lifecycle::new(rules, jitter),
        handler,
        phase: Phase::Serving,
        is_stuck: false,
        stream_end: None,
        opened,
        alarm,
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
    socket: Socket<S>,
    lifecycle: Lifecycle,
    /// Gone after a panic.
    handler: Guarded<H>,
    /// As far as the machine was told of the drain.
    phase: Phase,
    /// Whether the latest flush was refused.
    is_stuck: bool,
    stream_end: Option<StreamEnd>,
    opened: Moment,
    alarm: Alarm<Watch>,
}

/// What a session knows only while it is awake.
struct WakeUp<'a, 'cx> {
    cx: &'a mut Context<'cx>,
    now: Moment,
}

/// Nothing in it is pinned: the stream says so itself, and the handler is never polled in place.
impl<S: Unpin, H> Unpin for Session<S, H> {}

impl<S, H> Future for Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    type Output = Closure;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closure> {
        let session = self.get_mut();
        let outcome = catch_unwind(AssertUnwindSafe(|| session.wake_up(cx)))
            .unwrap_or_else(|_| session.end_after_panic(cx));
        match outcome {
            ControlFlow::Break(closure) => Poll::Ready(closure),
            ControlFlow::Continue(()) => Poll::Pending,
        }
    }
}

impl<S, H> Session<S, H> {
    /// A number that no other session of its drain has. The first one's is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.alarm.number()
    }

    /// How long after its beginning this session's turn comes in something that is spread over all, as
    /// a drain is: from zero to less than `spread`, evenly over all numbers.
    #[must_use]
    pub fn turn(&self, spread: Duration) -> Duration {
        spread.mul_f64(f64::from(place(self.number() - 1)) / 2_f64.powi(32))
    }

    /// What has been counted and measured so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lifecycle.progress()
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
    fn wake_up(&mut self, cx: &mut Context<'_>) -> ControlFlow<Closure> {
        // Not while it serves: sessions share the lock that is taken then.
        let is_told = self.phase != Phase::Serving && self.alarm.owner().phase() == self.phase;
        if is_told && !self.lifecycle.is_open() && self.alarm.has_to_wait(cx) {
            return ControlFlow::Continue(());
        }
        let mut scratch = Scratch::lend(&mut self.socket.output);
        let now = self.alarm.now();
        let outcome = self.look_around(&mut WakeUp { cx, now }, &mut scratch.input);
        if outcome.is_break() {
            // A stream that panics now must not take the closure record with it.
            let hang_up = || self.socket.hang_up(cx, &mut scratch.input);
            let _ = catch_unwind(AssertUnwindSafe(hang_up));
        }
        self.socket.rest();
        scratch.take_back(&mut self.socket.output);
        outcome
    }

    fn look_around(
        &mut self,
        wake: &mut WakeUp<'_, '_>,
        buffer: &mut [u8],
    ) -> ControlFlow<Closure> {
        self.look_at_drain(wake.now)?;
        let flushed = self.flush(wake)?.is_ready();
        if flushed || self.socket.is_failing() {
            self.receive(wake, buffer)?;
        }
        if flushed {
            self.ask_handler(wake)?;
        }
        self.look_at_clock(wake.now)?;
        let _ = self.flush(wake)?;
        self.set_alarm(wake);
        ControlFlow::Continue(())
    }

    /// Tells the machine what happened, and does what it says.
    fn tell(&mut self, event: Event<'_>, now: Moment) -> ControlFlow<Closure> {
        match self.lifecycle.handle(event, now.since(self.opened)) {
            None => {}
            Some(Action::Close(frame)) => self.socket.send_close(&frame),
            Some(Action::End(closure)) => return ControlFlow::Break(closure),
            Some(Action::Ping(payload)) => self.socket.send_ping(&payload),
        }
        ControlFlow::Continue(())
    }

    fn disconnected(&mut self, end: StreamEnd, now: Moment) -> ControlFlow<Closure> {
        self.stream_end = Some(end);
        self.tell(Event::Disconnected, now)
    }

    fn look_at_drain(&mut self, now: Moment) -> ControlFlow<Closure> {
        let phase = self.alarm.owner().phase();
        if phase == self.phase {
            return ControlFlow::Continue(());
        }
        self.phase = phase;
        self.alarm.count_told();
        let Farewell { code, spread } = self.alarm.owner().farewell();
        match phase {
            Phase::Serving => ControlFlow::Continue(()),
            Phase::Draining => self.tell(Event::Drain { code, after: self.turn(spread) }, now),
            Phase::Aborting => {
                self.tell(Event::Drain { code, after: Duration::ZERO }, now)?;
                self.tell(Event::Disconnected, now)
            }
        }
    }

    /// `Pending` is an output that is stuck: nothing more is read then, nor asked of the handler, or
    /// a peer that sends and does not read would make the output grow without bound.
    fn flush(&mut self, wake: &mut WakeUp<'_, '_>) -> ControlFlow<Closure, Poll<()>> {
        let waiting = self.socket.unsent();
        let flushed = self.socket.poll_flush(wake.cx);
        let was_stuck = mem::replace(&mut self.is_stuck, flushed.is_pending());
        // A stream with a buffer of its own takes the last bytes before it gets rid of them.
        if self.socket.unsent() < waiting || (was_stuck && flushed.is_ready()) {
            self.tell(Event::Written, wake.now)?;
        }
        match flushed {
            Poll::Pending => {
                self.tell(Event::Blocked, wake.now)?;
                return ControlFlow::Continue(Poll::Pending);
            }
            Poll::Ready(Ok(Flushed::Finished)) => self.tell(Event::Finished, wake.now)?,
            Poll::Ready(Ok(Flushed::Talking)) => {}
            Poll::Ready(Err(error)) => {
                self.disconnected(StreamEnd::of_write(&error), wake.now)?;
            }
        }
        ControlFlow::Continue(Poll::Ready(()))
    }

    fn receive(&mut self, wake: &mut WakeUp<'_, '_>, buffer: &mut [u8]) -> ControlFlow<Closure> {
        self.look_at_pulse(wake.now)?;
        for _ in 0..ROUNDS {
            if self.socket.is_finishing() {
                return ControlFlow::Continue(());
            }
            let mut input = match self.socket.poll_read(wake.cx, buffer) {
                Poll::Pending => return ControlFlow::Continue(()),
                Poll::Ready(Err(end)) => return self.disconnected(end, wake.now),
                Poll::Ready(Ok(input)) => input,
            };
            while let Some(incoming) = self.socket.decode(&mut input) {
                self.take_in(incoming, wake)?;
            }
            let rest = if self.socket.is_partial() { Event::Partial } else { Event::Complete };
            self.tell(rest, wake.now)?;
            if self.socket.is_full() && self.flush(wake)?.is_pending() {
                return ControlFlow::Continue(());
            }
        }
        give_way(wake.cx);
        ControlFlow::Continue(())
    }

    /// What is read now may have gathered in a stall.
    fn look_at_pulse(&mut self, now: Moment) -> ControlFlow<Closure> {
        match self.alarm.stalled(now) {
            Duration::ZERO => ControlFlow::Continue(()),
            stall => self.tell(Event::Stalled(stall), now),
        }
    }

    fn take_in(&mut self, incoming: Incoming, wake: &mut WakeUp<'_, '_>) -> ControlFlow<Closure> {
        match incoming {
            Incoming::Close(frame) => self.tell(Event::PeerClose(frame), wake.now),
            Incoming::Message(message) => {
                self.tell(Event::Message { bytes: message.payload_len() }, wake.now)?;
                if self.lifecycle.is_open() {
                    self.call_handler(|handler| handler.receive(message), wake.now)?;
                }
                // Its answer goes out before that to whatever came behind, which may be the end.
                self.ask_handler(wake)
            }
            Incoming::Ping(payload) => self.tell(Event::Ping { bytes: payload.len() }, wake.now),
            Incoming::Pong(payload) => self.tell(Event::Pong(&payload), wake.now),
            Incoming::Violation(violation) => {
                self.tell(Event::Violation(violation), wake.now)?;
                self.socket.fail();
                ControlFlow::Continue(())
            }
        }
    }

    fn ask_handler(&mut self, wake: &mut WakeUp<'_, '_>) -> ControlFlow<Closure> {
        for _ in 0..ROUNDS {
            while !self.socket.is_full() {
                if !self.lifecycle.is_open() {
                    return ControlFlow::Continue(());
                }
                match self.call_handler(|handler| handler.poll_next(wake.cx), wake.now)? {
                    None | Some(Poll::Pending) => return ControlFlow::Continue(()),
                    Some(Poll::Ready(Next::Close(code, reason))) => {
                        self.tell(Event::handler_closed(CloseFrame { code, reason }), wake.now)?;
                    }
                    Some(Poll::Ready(Next::Send(message))) => {
                        let bytes = message.payload_len();
                        self.socket.send(message);
                        self.tell(Event::Sent { bytes }, wake.now)?;
                    }
                    Some(Poll::Ready(Next::Share(frame))) => {
                        let bytes = frame.payload_len();
                        self.socket.share(frame);
                        self.tell(Event::Sent { bytes }, wake.now)?;
                    }
                }
            }
            if self.flush(wake)?.is_pending() {
                return ControlFlow::Continue(());
            }
        }
        give_way(wake.cx);
        ControlFlow::Continue(())
    }

    /// What `call` makes of the handler. Its panic ends this session alone: the peer is told, and what
    /// it has sent behind the message is still read, its answer to our Close frame included.
    fn call_handler<T>(
        &mut self,
        call: impl FnOnce(&mut H) -> T,
        now: Moment,
    ) -> ControlFlow<Closure, Option<T>> {
        let result = self.handler.call(call);
        if result.is_err() {
            self.tell(Event::panicked(), now)?;
        }
        ControlFlow::Continue(result.ok())
    }

    fn look_at_clock(&mut self, now: Moment) -> ControlFlow<Closure> {
        match self.deadline() {
            Some(deadline) if deadline <= now => self.tell(Event::Tick, now),
            Some(_) | None => ControlFlow::Continue(()),
        }
    }

    /// The last thing before going to sleep, since whatever the machine is told may move its deadline.
    fn set_alarm(&mut self, wake: &WakeUp<'_, '_>) {
        if let Some(deadline) = self.deadline() {
            self.alarm.set(deadline, wake.cx);
        }
        // Whoever woke the sleepers to see it may have come before the alarm was set.
        if self.alarm.owner().phase() != self.phase {
            wake.cx.waker().wake_by_ref();
        }
    }

    fn deadline(&self) -> Option<Moment> {
        self.lifecycle.deadline().map(|deadline| self.opened + deadline)
    }

    /// A panic of the stream, the codec or the session itself ends this session alone, and the peer is
    /// told, unless that panics too. What was read went with the stack, so nothing is decoded any more.
    fn end_after_panic(&mut self, cx: &mut Context<'_>) -> ControlFlow<Closure> {
        let farewell = catch_unwind(AssertUnwindSafe(|| {
            self.handler.forget();
            self.tell(Event::panicked(), self.alarm.now())?;
            self.socket.fail();
            self.wake_up(cx)
        }));
        farewell.unwrap_or_else(|panic| match self.tell(Event::Disconnected, self.alarm.now()) {
            end @ ControlFlow::Break(_) => end,
            ControlFlow::Continue(()) => resume_unwind(panic),
        })
    }
}

/// Asks for another turn, after all other tasks that are ready and those that the network wakes.
///
/// A task that only wakes itself is polled again before the network is looked at, so a few peers that
/// always have something to say would keep all others waiting.
fn give_way(cx: &mut Context<'_>) {
    // Its first poll is never ready, and leaves the waker with the runtime.
    let _ = pin!(yield_now()).poll(cx);
}

/// Where the one that has `before` before it stands among all. The multiples of the golden ratio leave
/// no gap anywhere, however many there are, so pings and closings are spread more evenly than by chance.
fn place(before: u64) -> u32 {
    let place = before.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(place).unwrap_or_default()
}
