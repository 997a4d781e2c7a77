//! A session, and how its observer hears of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::Tally;

use crate::handler::Handler;
use crate::observer::{Event, Observer, tell};
use crate::session::Session;

/// A session, with somebody who is told of it.
pub(crate) struct Observed<H, O, S> {
    session: Session<S, H>,
    observer: Arc<O>,
    told: Told,
}

/// What the observer was told of last. The lower halves are enough, since between two wake-ups there is
/// never much that is not told.
#[derive(Default)]
struct Told {
    received: Low,
    sent: Low,
}

/// The lower half of a [`Tally`].
#[derive(Default)]
struct Low {
    messages: u32,
    bytes: u32,
}

/// So many messages or bytes are told of without waiting for a ping.
const MANY: u64 = 1 << 20;

impl<H, O, S> Observed<H, O, S> {
    pub(crate) fn new(session: Session<S, H>, observer: Arc<O>) -> Self {
        Self { session, observer, told: Told::default() }
    }
}

impl<H, O, S> Future for Observed<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (id, had_panicked) = (self.session.number(), self.session.has_panicked());
        let before = self.session.progress();
        let closure = Pin::new(&mut self.session).poll(cx);
        if self.session.has_panicked() && !had_panicked {
            tell(&*self.observer, &Event::Panicked { id });
        }
        let after = self.session.progress();
        let received = self.told.received.until(before.received, after.received);
        let sent = self.told.sent.until(before.sent, after.sent);
        let is_measured = after.pongs != before.pongs;
        let counts = [received.messages, received.bytes, sent.messages, sent.bytes];
        let is_due = is_measured || after.pings != before.pings || closure.is_ready();
        if is_due || counts.iter().any(|count| *count >= MANY) {
            let round_trip = after.round_trip.filter(|_| is_measured);
            tell(&*self.observer, &Event::Tally { id, received, sent, round_trip });
            self.told = Told { received: after.received.into(), sent: after.sent.into() };
        }
        let stream_end = self.session.stream_end();
        closure.map(|closure| {
            tell(&*self.observer, &Event::Closed { id, closure: &closure, stream_end });
        })
    }
}

impl From<Tally> for Low {
    fn from(Tally { messages, bytes }: Tally) -> Self {
        let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        Self { messages: low(messages), bytes: low(bytes) }
    }
}

impl Low {
    /// What has come on top of this: less than [`MANY`] before the latest wake-up, and whatever that
    /// has brought.
    fn until(&self, before: Tally, after: Tally) -> Tally {
        let Self { messages, bytes } = before.into();
        let mut top = after.since(before);
        top += Tally {
            messages: messages.wrapping_sub(self.messages).into(),
            bytes: bytes.wrapping_sub(self.bytes).into(),
        };
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_halves_tell_what_has_come_on_top_even_where_they_wrap_around() {
        let told = Tally { messages: (1 << 32) - 1, bytes: (7 << 32) - 2 };
        let mut before = told;
        before += Tally { messages: 3, bytes: MANY - 1 };
        let mut after = before;
        after += Tally { messages: 1, bytes: 9 << 32 };
        assert_eq!(Low::from(told).until(before, after), after.since(told));
        assert_eq!(Low::from(after).until(after, after), Tally::default());
    }
}
