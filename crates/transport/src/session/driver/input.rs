//! The part of a poll that reads: from the input to the events of the machine and the calls of the handler.

use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{CloseRecord, Event};

use super::{POLL_BUDGET, PollContext, Session, yield_to_others};
use crate::handler::Handler;
use crate::session::codec::Incoming;
use crate::timer::TimerInstant;

impl<S, H> Session<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    pub(super) fn poll_receive(
        &mut self,
        poll: &mut PollContext<'_, '_>,
        buffer: &mut [u8],
    ) -> ControlFlow<CloseRecord> {
        self.check_stall(poll.now)?;
        for _ in 0..POLL_BUDGET {
            if self.socket.is_finishing() {
                return ControlFlow::Continue(());
            }
            let was_partial = self.socket.is_partial();
            let mut input = match self.socket.poll_read(poll.cx, buffer) {
                Poll::Pending => return ControlFlow::Continue(()),
                Poll::Ready(Err(end)) => return self.disconnected(end, poll.now),
                Poll::Ready(Ok(input)) => input,
            };
            let mut has_ended = false;
            while let Some(incoming) = self.socket.decode(&mut input) {
                self.on_frame(incoming, poll)?;
                has_ended |= !self.socket.is_partial();
            }
            let is_partial = self.socket.is_partial();
            if was_partial && (has_ended || !is_partial) {
                self.dispatch(Event::MessageEnded, poll.now)?;
            }
            if is_partial {
                self.dispatch(Event::MessageBegan, poll.now)?;
            }
            if self.socket.is_full() && self.flush(poll)?.is_pending() {
                return ControlFlow::Continue(());
            }
        }
        yield_to_others(poll.cx);
        ControlFlow::Continue(())
    }

    /// Reports a stall to the machine before the input that accumulated during it is read.
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
                // The handler's answer is sent before the next frame is handled, which may close the
                // session.
                self.poll_handler(poll)
            }
            Incoming::Pings { count, bytes } => {
                self.dispatch(Event::Pings { count, bytes }, poll.now)
            }
            Incoming::Pong => self.on_pong(poll.now),
            Incoming::Violation(violation) => {
                self.dispatch(Event::Violation(violation), poll.now)?;
                //= rfc6455#7.1.7-4
                self.socket.discard_input();
                ControlFlow::Continue(())
            }
        }
    }

    fn on_pong(&mut self, now: TimerInstant) -> ControlFlow<CloseRecord> {
        let pongs = self.stats().pongs;
        let payload = self.socket.control_payload();
        self.dispatch(Event::Pong(payload.as_slice()), now)?;
        // The machine counts the pong to the latest ping. It may have closed the session by the same event.
        if self.stats().pongs != pongs && self.lifecycle.is_open() {
            self.call_handler(Handler::pong, now)?;
        }
        ControlFlow::Continue(())
    }
}
