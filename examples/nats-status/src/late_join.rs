//! Sessions that join a running feed: they wait for a read of the bucket before they receive a state.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use broadcast::Subscription;
use server::transport::{Handler, Message, Next};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Timeout, timeout};

/// A handler that sends the latest state, but only after the node has read the bucket since the session
/// opened.
///
/// The client may have been connected to another node that was ahead of this one. Every state that the
/// other node sent was stored before, so a read that starts now returns no older state. The wait is
/// bounded by `max_wait`, in case the broker does not answer.
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

impl LateJoin {
    /// A handler that announces each session on `joins`, and then forwards `latest`.
    #[must_use]
    pub fn new(
        latest: Subscription,
        joins: mpsc::UnboundedSender<PendingJoin>,
        max_wait: Duration,
    ) -> Self {
        Self { latest, joins, max_wait, stage: Stage::Opened }
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
}

impl Clone for LateJoin {
    /// A handler for another session, which has not waited yet.
    fn clone(&self) -> Self {
        Self::new(self.latest.clone(), self.joins.clone(), self.max_wait)
    }
}
