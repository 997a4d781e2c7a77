//! The task of a session, from the upgrade to the end, and the events for its observer.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use ws_core::{Counters, SessionConfig, Stats};

use super::driver::Session;
use super::websocket::{SizeLimits, WebSocket};
use crate::admission::Grant;
use crate::catch_panic::CatchPanic;
use crate::compression::Compression;
use crate::drain::{DrainToken, Phase};
use crate::events::{EndpointEvent, Headers, Observer, observe};
use crate::handler::Handler;
use crate::handover::Verdict;
use crate::handshake::Protocol;
use crate::peer::Peer;
use crate::permit::Permit;

/// A session that has no stream yet.
#[derive(Debug)]
pub(crate) struct PendingSession<H, O> {
    pub(crate) headers: Headers,
    pub(crate) protocol: Protocol,
    pub(crate) peer: Peer,
    pub(crate) token: DrainToken,
    pub(crate) handler: CatchPanic<H>,
    pub(crate) observer: Arc<O>,
    pub(crate) config: Arc<SessionConfig>,
    pub(crate) sizes: SizeLimits,
    /// As it was negotiated.
    pub(crate) compression: Option<Compression>,
    /// Boxed, because most sessions have none.
    pub(crate) grant: Option<Box<Grant>>,
}

impl<H: Handler, O: Observer> PendingSession<H, O> {
    fn open<S>(self, stream: S) -> Observed<H, O, S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            headers,
            protocol,
            peer,
            token,
            handler,
            observer,
            config,
            sizes,
            compression,
            grant,
        } = self;
        let Grant { identity, expires, calls } = grant.map(|grant| *grant).unwrap_or_default();
        let lifetime = expires.map(|at| at.saturating_duration_since(Instant::now()));
        let socket = WebSocket::new(stream, sizes).with_compression(compression);
        let session = Session::new(socket, config, handler, token, lifetime);
        let (id, request) = (session.id(), headers.text());
        let entry = identity.clone();
        // First, so that the session can be ended once it is known to be open.
        if let Some(identity) = entry {
            session.token().sessions().insert(id, identity, calls);
        }
        let identity = identity.as_ref();
        let event = EndpointEvent::Opened { id, identity, peer, protocol, compression, request };
        observe(&*observer, &event);
        Observed::new(session, observer)
    }
}

/// The future that is spawned for a session.
///
/// tokio aligns tasks to 128 bytes, and allocators have size classes of 128, 256 and 512 bytes. In the
/// smallest, 24 bytes are left for the future, so most of its state is in a box. The box has one size
/// for the whole life of the session, because short-lived allocations fragment the heap.
pub(crate) struct SessionTask<H, O, S> {
    state: Box<TaskState<H, O, S>>,
    /// Declared after the session, so that it is released when the stream has been closed.
    permit: Permit,
}

impl<H: Handler, O: Observer, S: AsyncRead + AsyncWrite + Unpin> SessionTask<H, O, S> {
    /// Opens the session when hyper has upgraded the connection. `reclaim` extracts the session's
    /// stream.
    pub(crate) fn upgrading(
        upgraded: OnUpgrade,
        reclaim: fn(Upgraded) -> S,
        pending: PendingSession<H, O>,
        permit: Permit,
    ) -> Self {
        Self { state: Box::new(TaskState::Upgrading { upgraded, reclaim, pending }), permit }
    }

    /// Runs a session of another process.
    pub(crate) fn observed(session: Session<S, H>, observer: Arc<O>, permit: Permit) -> Self {
        Self { state: Box::new(TaskState::Open(Observed::new(session, observer))), permit }
    }

    /// Opens the session at once.
    pub(crate) fn open(stream: S, pending: PendingSession<H, O>, permit: Permit) -> Self {
        Self { state: Box::new(TaskState::Open(pending.open(stream))), permit }
    }
}

enum TaskState<H, O, S> {
    Upgrading { upgraded: OnUpgrade, reclaim: fn(Upgraded) -> S, pending: PendingSession<H, O> },
    Open(Observed<H, O, S>),
    Done,
}

/// Nothing is pinned: the state is in a box, and each of its futures is `Unpin`.
impl<H, O, S> Unpin for SessionTask<H, O, S> {}

impl<H, O, S> Future for SessionTask<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { state, permit } = self.get_mut();
        let state = &mut **state;
        if let TaskState::Upgrading { upgraded, .. } = state {
            let upgraded = ready!(Pin::new(upgraded).poll(cx));
            // If the client disconnects before the 101 is sent, no session opens.
            if let (Ok(upgraded), TaskState::Upgrading { reclaim, pending, .. }) =
                (upgraded, mem::replace(state, TaskState::Done))
            {
                *state = TaskState::Open(pending.open(reclaim(upgraded)));
            }
        }
        let TaskState::Open(observed) = state else { return Poll::Ready(()) };
        let session = &mut observed.session;
        if session.is_frozen() {
            match ready!(session.poll_verdict()) {
                Verdict::HandedOver => {
                    observed.end_here();
                    *state = TaskState::Done;
                    return Poll::Ready(());
                }
                Verdict::Resumed(since) => session.resume(since),
            }
        }
        if session.is_new() {
            session.token().sessions().set_waker(session.id(), cx.waker());
        }
        let ended = Pin::new(&mut *observed).poll(cx);
        if ended.is_pending() {
            observed.try_freeze(permit);
        }
        ended
    }
}

/// A session that reports to an observer.
pub(crate) struct Observed<H, O, S> {
    session: Session<S, H>,
    observer: Arc<O>,
    reported: Reported,
}

/// The counters in the latest report. Their lowest bits are enough, because before each poll less than the
/// thresholds is unreported.
#[derive(Clone, Copy, Default)]
struct Reported {
    received: Truncated,
    sent: Truncated,
}

/// The lowest bits of the counters of a direction.
#[derive(Clone, Copy, Default)]
struct Truncated {
    messages: u16,
    control_frames: u16,
    bytes: u32,
}

/// Messages or control frames that are reported without waiting for a ping.
const FRAME_THRESHOLD: u64 = 1 << 15;

/// Bytes that are reported without waiting for a ping.
const BYTE_THRESHOLD: u64 = 1 << 20;

impl<H, O, S> Observed<H, O, S> {
    pub(crate) fn new(session: Session<S, H>, observer: Arc<O>) -> Self {
        let reported = Reported::from(session.stats());
        Self { session, observer, reported }
    }
}

impl<H, O, S> Observed<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Reports the traffic, if that is due. `before` are the statistics before the current poll.
    fn report(&mut self, before: Stats, is_last: bool) {
        let after = self.session.stats();
        let reported = Reported::from(after);
        let received = self.reported.received.unreported(before.received, after.received);
        let sent = self.reported.sent.unreported(before.sent, after.sent);
        let control_frames_received =
            reported.received.control_frames_since(self.reported.received);
        let control_frames_sent = reported.sent.control_frames_since(self.reported.sent);
        let has_pong = after.pongs != before.pongs;
        let frames =
            [received.messages, sent.messages, control_frames_received, control_frames_sent];
        let is_due = has_pong
            || after.pings != before.pings
            || is_last
            || frames.iter().any(|count| *count >= FRAME_THRESHOLD)
            || received.bytes.max(sent.bytes) >= BYTE_THRESHOLD;
        if is_due {
            let event = EndpointEvent::Traffic {
                id: self.session.id(),
                received,
                sent,
                control_frames_received,
                control_frames_sent,
                round_trip: after.round_trip.filter(|_| has_pong),
            };
            observe(&*self.observer, &event);
            self.reported = reported;
        }
    }

    /// Freezes the session, if sessions are being frozen, it is at rest and it is taken.
    fn try_freeze(&mut self, permit: &Permit)
    where
        S: 'static,
    {
        let session = &self.session;
        let handover = session.token().handover();
        // A session that a drain has told to close later is not another process's.
        if handover.is_freezing() && session.token().phase() == Phase::Serving {
            let now = session.now();
            let is_frozen = handover.try_freeze(session.id(), now, |sink| {
                sink.offer(session.stream(), permit, &|| session.freeze(now))
            });
            self.session.set_frozen(is_frozen);
        }
    }

    /// Ends the session in this process: another one has it.
    fn end_here(&mut self)
    where
        S: 'static,
    {
        self.report(self.session.stats(), true);
        let id = self.session.id();
        self.session.release_stream();
        observe(&*self.observer, &EndpointEvent::HandedOver { id });
    }
}

/// A session may be dropped before its end, with its runtime.
impl<H, O, S> Drop for Observed<H, O, S> {
    fn drop(&mut self) {
        self.session.token().sessions().remove(self.session.id());
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
        self.report(before, record.is_ready());
        let stream_end = self.session.stream_end();
        record.map(|record| {
            let identity = self.session.token().sessions().remove(id);
            let (record, identity) = (&record, identity.as_ref());
            let event = EndpointEvent::Closed { id, identity, record, stream_end };
            observe(&*self.observer, &event);
        })
    }
}

impl From<Stats> for Reported {
    fn from(stats: Stats) -> Self {
        Self {
            received: Truncated::new(stats.received, stats.control_frames_received),
            sent: Truncated::new(stats.sent, stats.control_frames_sent),
        }
    }
}

impl Truncated {
    fn new(Counters { messages, bytes }: Counters, control_frames: u16) -> Self {
        Self {
            messages: u16::try_from(messages & u64::from(u16::MAX)).unwrap_or_default(),
            control_frames,
            bytes: u32::try_from(bytes & u64::from(u32::MAX)).unwrap_or_default(),
        }
    }

    /// Returns the increase since this report. `before` and `after` are the counters around the current
    /// poll: up to `before` it is less than the thresholds, from there to `after` it may be anything.
    fn unreported(self, before: Counters, after: Counters) -> Counters {
        let Self { messages, bytes, .. } = Self::new(before, 0);
        let mut increase = after.since(before);
        increase += Counters {
            messages: messages.wrapping_sub(self.messages).into(),
            bytes: bytes.wrapping_sub(self.bytes).into(),
        };
        increase
    }

    /// Returns the control frames since an earlier report. A poll reads far fewer than 2¹⁵, so the
    /// difference is exact.
    fn control_frames_since(self, earlier: Self) -> u64 {
        self.control_frames.wrapping_sub(earlier.control_frames).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Discard;

    #[test]
    fn truncated_counters_give_the_increase_even_if_they_wrap_around() {
        let reported = Counters { messages: (1 << 16) - 1, bytes: (7 << 32) - 2 };
        let mut before = reported;
        before += Counters { messages: FRAME_THRESHOLD - 1, bytes: BYTE_THRESHOLD - 1 };
        let mut after = before;
        after += Counters { messages: 1 << 40, bytes: 9 << 32 };
        let report = Truncated::new(reported, u16::MAX);
        assert_eq!(report.unreported(before, after), after.since(reported));
        assert_eq!(Truncated::new(after, 0).unreported(after, after), Counters::default());
        assert_eq!(Truncated::new(after, 9).control_frames_since(report), 10);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_session_without_a_handler_of_any_size_takes_256_bytes() {
        // With a stream of 48 bytes, as the server has. The next size class of an allocator is 320
        // bytes.
        assert_eq!(size_of::<TaskState<Discard, (), [u64; 6]>>(), 256);
    }
}
