//! Sessions that have just opened, and what they wait for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use broadcast::Subscription;
use server::transport::{Handler, Message, Next};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Timeout, timeout};

/// The handler of sessions that are told the newest state, but not before the node has asked the broker
/// since the session opened.
///
/// Its client may come from another node, which was ahead of this one. Whatever that node has told was
/// stored before, so what the broker says now is no older. A broker that does not answer is waited for
/// only so long.
#[derive(Debug)]
pub struct Newcomer {
    latest: Subscription,
    door: mpsc::UnboundedSender<Waiting>,
    patience: Duration,
    stage: Stage,
}

/// A session that waits for the broker's word; it goes on when this is dropped.
#[derive(Debug)]
pub struct Waiting(oneshot::Sender<Infallible>);

#[derive(Debug)]
enum Stage {
    Opened,
    Told,
    Waits(Pin<Box<Timeout<oneshot::Receiver<Infallible>>>>),
}

impl Newcomer {
    /// Sessions that come by this door and then are told what `latest` knows.
    #[must_use]
    pub fn new(
        latest: Subscription,
        door: mpsc::UnboundedSender<Waiting>,
        patience: Duration,
    ) -> Self {
        Self { latest, door, patience, stage: Stage::Opened }
    }
}

impl Waiting {
    /// Whether the session has ended, or has lost its patience.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}

impl Handler for Newcomer {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.stage {
                Stage::Opened => {
                    let (waiting, word) = oneshot::channel();
                    // If nobody asks any more, it goes on at once.
                    let _ = self.door.send(Waiting(waiting));
                    self.stage = Stage::Waits(Box::pin(timeout(self.patience, word)));
                }
                Stage::Waits(word) => {
                    let _ = ready!(word.as_mut().poll(cx));
                    self.stage = Stage::Told;
                }
                Stage::Told => return self.latest.poll_next(cx),
            }
        }
    }

    fn receive(&mut self, _: Message) {}
}

impl Clone for Newcomer {
    /// A session of its own, which has not waited yet.
    fn clone(&self) -> Self {
        Self::new(self.latest.clone(), self.door.clone(), self.patience)
    }
}
