//! Sessions that join a running feed: they wait for a read of the bucket before they receive a state.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use broadcast::{Have, Publisher, Subscription};
use server::transport::{
    Admission, Admit, Bytes, Denial, Handler, Handshake, Identity, Message, Next,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Timeout, timeout};

/// Opens sessions whose handler is a [`LateJoin`].
#[derive(Debug)]
pub struct LateJoins {
    publisher: Publisher,
    joins: mpsc::UnboundedSender<PendingJoin>,
    max_wait: Duration,
}

/// A handler that sends the latest state, but only after the node has read the bucket since the session
/// opened, and only if the client does not have it.
///
/// The client may have been connected to another node that was ahead of this one. Every state that the
/// other node sent was stored before, so a read that starts now returns no older state. The wait is
/// bounded by `max_wait`, in case the broker does not answer. A session that another process has handed over
/// waits as well, because that process may have been ahead of this one.
#[derive(Debug)]
pub struct LateJoin {
    latest: Subscription,
    joins: mpsc::UnboundedSender<PendingJoin>,
    max_wait: Duration,
    stage: Stage,
}

/// A session that waits for the read. Dropping this value releases the session.
#[derive(Debug)]
pub struct PendingJoin(oneshot::Sender<Infallible>);

#[derive(Debug)]
enum Stage {
    Opened,
    Subscribed,
    WaitingForRead(Pin<Box<Timeout<oneshot::Receiver<Infallible>>>>),
}

impl LateJoins {
    /// Opens sessions that are announced on `joins`, and then send the states of `publisher`.
    #[must_use]
    pub fn new(
        publisher: Publisher,
        joins: mpsc::UnboundedSender<PendingJoin>,
        max_wait: Duration,
    ) -> Self {
        Self { publisher, joins, max_wait }
    }

    /// The handler of a session whose client has this.
    #[must_use]
    pub fn open(&self, have: &Have) -> LateJoin {
        self.late_join(self.publisher.subscribe_having(have))
    }

    fn late_join(&self, latest: Subscription) -> LateJoin {
        let joins = self.joins.clone();
        LateJoin { latest, joins, max_wait: self.max_wait, stage: Stage::Opened }
    }
}

impl Admit for LateJoins {
    type Handler = LateJoin;

    fn admit(
        &self,
        handshake: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<LateJoin>, Denial>> + Send {
        let handler = self.open(&Have::from_query(handshake.query()));
        std::future::ready(Ok(Admission::new(handler)))
    }

    fn thaw(&self, _: Option<&Identity>, frozen: Bytes) -> Option<LateJoin> {
        Some(self.late_join(self.publisher.thaw(&frozen)?))
    }
}

impl PendingJoin {
    /// Whether the session has ended, or has waited for `max_wait`.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl Handler for LateJoin {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.stage {
                Stage::Opened => {
                    let (pending, read) = oneshot::channel();
                    // If the node has stopped, the send fails, the sender is dropped and the wait ends at
                    // once.
                    let _ = self.joins.send(PendingJoin(pending));
                    self.stage = Stage::WaitingForRead(Box::pin(timeout(self.max_wait, read)));
                }
                Stage::WaitingForRead(read) => {
                    let _ = ready!(read.as_mut().poll(cx));
                    self.stage = Stage::Subscribed;
                }
                Stage::Subscribed => return self.latest.poll_next(cx),
            }
        }
    }

    fn receive(&mut self, _: Message) {}

    fn pong(&mut self) {
        self.latest.pong();
    }

    fn freeze(&self) -> Option<Bytes> {
        // Before the read, this node may not know the state that the client has.
        matches!(self.stage, Stage::Subscribed).then(|| self.latest.freeze())
    }
}
