//! The task of a session: from the upgrade to the end, and how its observer hears of it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{Rules, Tally};

use super::driver::{Session, run_guarded};
use super::websocket::{Sizes, Socket};
use crate::catch_panic::Guarded;
use crate::drain::Watch;
use crate::events::{Event, Headers, Observer, tell};
use crate::handler::Handler;
use crate::handshake::Protocol;
use crate::peer::Peer;
use crate::permit::Slot;

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Pending<H, O> {
    pub(crate) headers: Headers,
    pub(crate) protocol: Protocol,
    pub(crate) peer: Peer,
    pub(crate) watch: Watch,
    pub(crate) handler: Guarded<H>,
    pub(crate) observer: Arc<O>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) sizes: Sizes,
}

impl<H: Handler, O: Observer> Pending<H, O> {
    fn open<S>(self, stream: S) -> Observed<H, O, S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { headers, protocol, peer, watch, handler, observer, rules, sizes } = self;
        let session = run_guarded(Socket::new(stream, sizes), rules, handler, watch);
        let request = headers.text();
        tell(&*observer, &Event::Opened { id: session.number(), peer, protocol, request });
        Observed::new(session, observer)
    }
}

/// What a session's task does.
///
/// tokio lays tasks out at multiples of 128 bytes, where heaps have blocks of 128, 256 and 512, and 24
/// bytes are left for us in the first. So most of it is in a box, of one size for all of its life, since
/// what comes and goes leaves gaps in the heap.
pub(crate) struct SessionTask<H, O, S> {
    stage: Box<Stage<H, O, S>>,
    /// Behind the session, so that its place is free only when its stream is closed.
    _slot: Slot,
}

impl<H: Handler, O: Observer, S: AsyncRead + AsyncWrite + Unpin> SessionTask<H, O, S> {
    /// The session begins when hyper gives the stream, of which `reclaim` makes the session's.
    pub(crate) fn upgrading(
        upgraded: OnUpgrade,
        reclaim: fn(Upgraded) -> S,
        pending: Pending<H, O>,
        slot: Slot,
    ) -> Self {
        Self { stage: Box::new(Stage::Upgrading { upgraded, reclaim, pending }), _slot: slot }
    }

    /// The session begins now.
    pub(crate) fn open(stream: S, pending: Pending<H, O>, slot: Slot) -> Self {
        Self { stage: Box::new(Stage::Open(pending.open(stream))), _slot: slot }
    }
}

enum Stage<H, O, S> {
    Upgrading { upgraded: OnUpgrade, reclaim: fn(Upgraded) -> S, pending: Pending<H, O> },
    Open(Observed<H, O, S>),
    Over,
}

/// Nothing in it is pinned.
impl<H, O, S> Unpin for SessionTask<H, O, S> {}

impl<H, O, S> Future for SessionTask<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = &mut *self.get_mut().stage;
        if let Stage::Upgrading { upgraded, .. } = stage {
            let upgraded = ready!(Pin::new(upgraded).poll(cx));
            // A client that went away before the 101 has not been a session.
            if let (Ok(upgraded), Stage::Upgrading { reclaim, pending, .. }) =
                (upgraded, mem::replace(stage, Stage::Over))
            {
                *stage = Stage::Open(pending.open(reclaim(upgraded)));
            }
        }
        match stage {
            Stage::Open(session) => Pin::new(session).poll(cx),
            Stage::Upgrading { .. } | Stage::Over => Poll::Ready(()),
        }
    }
}

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
    use crate::handler::Silent;

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

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_session_without_a_handler_of_any_size_takes_256_bytes() {
        // Over a stream of 48 bytes, as the server's is. The next size of a heap is 320.
        assert_eq!(size_of::<Stage<Silent, (), [u64; 6]>>(), 256);
    }
}
