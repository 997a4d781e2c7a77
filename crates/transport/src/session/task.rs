//! The task of a session: from the upgrade to the end, and how its observer hears of it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{Counters, SessionConfig};

use super::driver::{Session, run_guarded};
use super::websocket::{SizeLimits, WebSocket};
use crate::catch_panic::Guarded;
use crate::drain::DrainToken;
use crate::events::{EndpointEvent, Headers, Observer, observe};
use crate::handler::Handler;
use crate::handshake::Protocol;
use crate::peer::Peer;
use crate::permit::Permit;

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Pending<H, O> {
    pub(crate) headers: Headers,
    pub(crate) protocol: Protocol,
    pub(crate) peer: Peer,
    pub(crate) token: DrainToken,
    pub(crate) handler: Guarded<H>,
    pub(crate) observer: Arc<O>,
    pub(crate) config: Arc<SessionConfig>,
    pub(crate) sizes: SizeLimits,
}

impl<H: Handler, O: Observer> Pending<H, O> {
    fn open<S>(self, stream: S) -> Observed<H, O, S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { headers, protocol, peer, token, handler, observer, config, sizes } = self;
        let session = run_guarded(WebSocket::new(stream, sizes), config, handler, token);
        let request = headers.text();
        observe(&*observer, &EndpointEvent::Opened { id: session.id(), peer, protocol, request });
        Observed::new(session, observer)
    }
}

/// What a session's task does.
///
/// tokio lays tasks out at multiples of 128 bytes, where heaps have blocks of 128, 256 and 512, and 24
/// bytes are left for us in the first. So most of it is in a box, of one size for all of its life, since
/// what comes and goes leaves gaps in the heap.
pub(crate) struct SessionTask<H, O, S> {
    state: Box<TaskState<H, O, S>>,
    /// Behind the session, so that its place is free only when its stream is closed.
    _permit: Permit,
}

impl<H: Handler, O: Observer, S: AsyncRead + AsyncWrite + Unpin> SessionTask<H, O, S> {
    /// The session begins when hyper gives the stream, of which `reclaim` makes the session's.
    pub(crate) fn upgrading(
        upgraded: OnUpgrade,
        reclaim: fn(Upgraded) -> S,
        pending: Pending<H, O>,
        permit: Permit,
    ) -> Self {
        Self {
            state: Box::new(TaskState::Upgrading { upgraded, reclaim, pending }),
            _permit: permit,
        }
    }

    /// The session begins now.
    pub(crate) fn open(stream: S, pending: Pending<H, O>, permit: Permit) -> Self {
        Self { state: Box::new(TaskState::Open(pending.open(stream))), _permit: permit }
    }
}

enum TaskState<H, O, S> {
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
        let state = &mut *self.get_mut().state;
        if let TaskState::Upgrading { upgraded, .. } = state {
            let upgraded = ready!(Pin::new(upgraded).poll(cx));
            // A client that went away before the 101 has not been a session.
            if let (Ok(upgraded), TaskState::Upgrading { reclaim, pending, .. }) =
                (upgraded, mem::replace(state, TaskState::Over))
            {
                *state = TaskState::Open(pending.open(reclaim(upgraded)));
            }
        }
        match state {
            TaskState::Open(session) => Pin::new(session).poll(cx),
            TaskState::Upgrading { .. } | TaskState::Over => Poll::Ready(()),
        }
    }
}

/// A session, with somebody who is told of it.
pub(crate) struct Observed<H, O, S> {
    session: Session<S, H>,
    observer: Arc<O>,
    reported: Reported,
}

/// What the observer was told of last. The lower halves are enough, since between two wake-ups there is
/// never much that is not told.
#[derive(Default)]
struct Reported {
    received: Truncated,
    sent: Truncated,
}

/// The lower half of a [`Counters`].
#[derive(Default)]
struct Truncated {
    messages: u32,
    bytes: u32,
}

/// So many messages or bytes are told of without waiting for a ping.
const MANY: u64 = 1 << 20;

impl<H, O, S> Observed<H, O, S> {
    pub(crate) fn new(session: Session<S, H>, observer: Arc<O>) -> Self {
        Self { session, observer, reported: Reported::default() }
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
        let (id, had_panicked) = (self.session.id(), self.session.has_panicked());
        let before = self.session.stats();
        let record = Pin::new(&mut self.session).poll(cx);
        if self.session.has_panicked() && !had_panicked {
            observe(&*self.observer, &EndpointEvent::Panicked { id });
        }
        let after = self.session.stats();
        let received = self.reported.received.until(before.received, after.received);
        let sent = self.reported.sent.until(before.sent, after.sent);
        let is_measured = after.pongs != before.pongs;
        let counts = [received.messages, received.bytes, sent.messages, sent.bytes];
        let is_due = is_measured || after.pings != before.pings || record.is_ready();
        if is_due || counts.iter().any(|count| *count >= MANY) {
            let round_trip = after.round_trip.filter(|_| is_measured);
            observe(&*self.observer, &EndpointEvent::Traffic { id, received, sent, round_trip });
            self.reported = Reported { received: after.received.into(), sent: after.sent.into() };
        }
        let stream_end = self.session.stream_end();
        record.map(|record| {
            observe(&*self.observer, &EndpointEvent::Closed { id, record: &record, stream_end });
        })
    }
}

impl From<Counters> for Truncated {
    fn from(Counters { messages, bytes }: Counters) -> Self {
        let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        Self { messages: low(messages), bytes: low(bytes) }
    }
}

impl Truncated {
    /// What has come on top of this: less than [`MANY`] before the latest wake-up, and whatever that
    /// has brought.
    fn until(&self, before: Counters, after: Counters) -> Counters {
        let Self { messages, bytes } = before.into();
        let mut top = after.since(before);
        top += Counters {
            messages: messages.wrapping_sub(self.messages).into(),
            bytes: bytes.wrapping_sub(self.bytes).into(),
        };
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Discard;

    #[test]
    fn lower_halves_tell_what_has_come_on_top_even_where_they_wrap_around() {
        let reported = Counters { messages: (1 << 32) - 1, bytes: (7 << 32) - 2 };
        let mut before = reported;
        before += Counters { messages: 3, bytes: MANY - 1 };
        let mut after = before;
        after += Counters { messages: 1, bytes: 9 << 32 };
        assert_eq!(Truncated::from(reported).until(before, after), after.since(reported));
        assert_eq!(Truncated::from(after).until(after, after), Counters::default());
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_session_without_a_handler_of_any_size_takes_256_bytes() {
        // Over a stream of 48 bytes, as the server's is. The next size of a heap is 320.
        assert_eq!(size_of::<TaskState<Discard, (), [u64; 6]>>(), 256);
    }
}
