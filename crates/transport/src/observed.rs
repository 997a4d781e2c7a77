//! A session, and how its observer hears of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{Progress, Tally};

use crate::handler::Handler;
use crate::observer::{Event, Observer};
use crate::session::Session;

/// A session, with somebody who is told of it.
pub(crate) struct Observed<H, O, S> {
    session: Session<S, H>,
    observer: Arc<O>,
    told: Told,
}

/// What the observer was told of last: the lower halves, since what has come on top is told of before
/// the upper ones would make a difference.
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
        let Progress { pings, pongs, .. } = self.session.progress();
        let closure = Pin::new(&mut self.session).poll(cx);
        if self.session.has_panicked() && !had_panicked {
            self.observer.observe(&Event::Panicked { id });
        }
        let progress = self.session.progress();
        let received = self.told.received.until(progress.received);
        let sent = self.told.sent.until(progress.sent);
        let is_measured = progress.pongs != pongs;
        let counts = [received.messages, received.bytes, sent.messages, sent.bytes];
        let is_due = is_measured || progress.pings != pings || closure.is_ready();
        if is_due || counts.iter().any(|count| *count >= MANY) {
            let round_trip = progress.round_trip.filter(|_| is_measured);
            self.observer.observe(&Event::Tally { id, received, sent, round_trip });
            self.told = Told { received: progress.received.into(), sent: progress.sent.into() };
        }
        closure.map(|closure| self.observer.observe(&Event::Closed { id, closure: &closure }))
    }
}

impl From<Tally> for Low {
    fn from(Tally { messages, bytes }: Tally) -> Self {
        let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        Self { messages: low(messages), bytes: low(bytes) }
    }
}

impl Low {
    /// What has come on top of this.
    fn until(&self, later: Tally) -> Tally {
        let Self { messages, bytes } = later.into();
        Tally {
            messages: messages.wrapping_sub(self.messages).into(),
            bytes: bytes.wrapping_sub(self.bytes).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_halves_tell_what_has_come_on_top_even_where_they_wrap_around() {
        let earlier = Tally { messages: (1 << 32) - 1, bytes: (7 << 32) - 2 };
        let top = Tally { messages: 3, bytes: 1 << 20 };
        let mut later = earlier;
        later += top;
        assert_eq!(Low::from(earlier).until(later), top);
        assert_eq!(Low::from(later).until(later), Tally::default());
    }
}
