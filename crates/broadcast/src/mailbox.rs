//! A bounded queue of events for one session.

use std::collections::VecDeque;
use std::error;
use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use transport::ws_core::{CloseCode, Reason};
use transport::{Handler, Message, Next, PreparedMessage};

use crate::sync::Mutex;

/// Creates a mailbox that queues at most `capacity` events, and its sender.
///
/// Unlike a state, each event counts: the session sends all of them, in order. It sends none while
/// earlier output is blocked, so `capacity` limits the memory that a peer which reads slowly takes.
///
/// A mailbox and its sender take at most 150 bytes while no event waits. Waiting events take 64 bytes
/// more or up to 32 each, whichever is more. An event itself takes 72 bytes and its frame, which sessions
/// can share.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use broadcast::{Sent, WhenFull, mailbox};
///
/// const CAPACITY: NonZeroUsize = NonZeroUsize::new(100).unwrap();
///
/// let (sender, mailbox) = mailbox(CAPACITY, WhenFull::DropOldest); // The handler of one session.
/// assert_eq!(sender.send("you have mail"), Ok(Sent::Queued));
/// drop(mailbox);
/// assert!(sender.send("too late").is_err());
/// ```
#[must_use]
pub fn mailbox(capacity: NonZeroUsize, when_full: WhenFull) -> (Sender, Mailbox) {
    let queue = Mutex::new(Queue {
        events: VecDeque::new(),
        end: None,
        dropped: 0,
        dropped_before_next: 0,
        waker: None,
    });
    let shared = Arc::new(Shared { queue, capacity, when_full });
    (Sender(Arc::clone(&shared)), Mailbox(shared))
}

/// What happens to an event for which the queue of its session has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The session discards its queue and closes with this code and reason, which are in its close
    /// record. It does so when the output that blocks it is sent, or ends by its write timeout before.
    Close(CloseCode, Reason),
    /// The oldest event is dropped, and the new one is queued.
    DropOldest,
    /// The event is refused, and the queue stays as it is.
    Refuse,
}

/// Sends events to the session of a [`Mailbox`].
///
/// A clone sends to the same session. The session does not end with its last sender: it sends what is
/// queued, and stays open.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Shared>);

/// The handler of a session that sends the events of its queue and discards the messages of its peer.
///
/// The session cannot be handed over to another process, and ends with this one: an event that is sent to it
/// meanwhile would be lost, and its peer would not know.
///
/// Another handler can contain a mailbox, and call [`poll_event`](Self::poll_event) in its own
/// [`poll_next`](Handler::poll_next):
///
/// ```
/// # use std::task::{Context, Poll};
/// use broadcast::Mailbox;
/// use transport::{Handler, Message, Next};
///
/// /// Tells the peer when events are missing.
/// struct Chat {
///     events: Mailbox,
///     held: Option<Next>,
/// }
///
/// impl Handler for Chat {
///     fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
///         if let Some(next) = self.held.take() {
///             return Poll::Ready(next);
///         }
///         self.events.poll_event(cx).map(|event| match event {
///             Ok(event) if event.dropped > 0 => {
///                 self.held = Some(Next::SendPrepared(event.message));
///                 Next::Send(Message::from(format!("{} events are missing", event.dropped)))
///             }
///             Ok(event) => Next::SendPrepared(event.message),
///             Err(overflow) => overflow.into(),
///         })
///     }
///
///     fn receive(&mut self, _: Message) {}
/// }
/// ```
#[derive(Debug)]
pub struct Mailbox(Arc<Shared>);

/// An event, as [`Mailbox::poll_event`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The event, for [`Next::SendPrepared`].
    pub message: PreparedMessage,
    /// The number of events between the previous one and this one that [`WhenFull::DropOldest`] dropped.
    pub dropped: u64,
}

/// The queue was full with [`WhenFull::Close`], so the session has to close with this code and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow(pub CloseCode, pub Reason);

/// An event is in the queue of its session.
///
/// It is sent unless the session ends first, or [`WhenFull::DropOldest`] drops it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There was a place for it.
    Queued,
    /// The oldest event was dropped for it, by [`WhenFull::DropOldest`].
    ReplacedOldest,
}

/// An event is not in the queue of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The queue is full, or was at an earlier event, and the session closes, by [`WhenFull::Close`].
    Closing,
    /// The session has ended: its mailbox was dropped.
    Ended,
    /// The queue is full, by [`WhenFull::Refuse`]. There is a place when the session has sent an event.
    Full,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    capacity: NonZeroUsize,
    when_full: WhenFull,
}

#[derive(Debug)]
struct Queue {
    /// Takes no memory while it is empty.
    events: VecDeque<PreparedMessage>,
    /// Why no event is accepted any more.
    end: Option<End>,
    /// How many were dropped or refused until now.
    dropped: u64,
    /// How many of them were dropped since one was taken.
    dropped_before_next: u64,
    /// Present while the session waits for an event.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ended,
    Overflow,
}

impl Sender {
    /// Queues an event, and wakes the session to send it. Does not wait for the session.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the session has ended or its queue is full.
    ///
    /// # Panics
    ///
    /// If the waker of the session panics. The wakers of tokio never do.
    pub fn send(&self, event: impl Into<Message>) -> Result<Sent, SendError> {
        self.send_prepared(PreparedMessage::from(event.into()))
    }

    /// Queues an event whose bytes may be shared with other sessions. Otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the session has ended or its queue is full.
    ///
    /// # Panics
    ///
    /// If the waker of the session panics. The wakers of tokio never do.
    pub fn send_prepared(&self, event: PreparedMessage) -> Result<Sent, SendError> {
        let (result, waker) = self.queue(event);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Returns how many events the full queue has dropped or refused until now, of all senders.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.queue.lock().dropped
    }

    /// Queues an event, and returns the waker that has to be woken.
    pub(crate) fn queue(&self, event: PreparedMessage) -> (Result<Sent, SendError>, Option<Waker>) {
        let Shared { queue, capacity, when_full } = &*self.0;
        let queue = &mut *queue.lock();
        let result = match queue.end {
            Some(End::Ended) => Err(SendError::Ended),
            Some(End::Overflow) => Err(SendError::Closing),
            None if queue.events.len() < capacity.get() => Ok(Sent::Queued),
            None => match when_full {
                WhenFull::Close(..) => Err(SendError::Closing),
                WhenFull::DropOldest => Ok(Sent::ReplacedOldest),
                WhenFull::Refuse => Err(SendError::Full),
            },
        };
        match result {
            Ok(Sent::Queued) => queue.events.push_back(event),
            Ok(Sent::ReplacedOldest) => {
                queue.events.pop_front();
                queue.events.push_back(event);
                queue.dropped += 1;
                queue.dropped_before_next += 1;
            }
            Err(SendError::Closing) => {
                let discarded = mem::take(&mut queue.events).len();
                queue.dropped += 1 + u64::try_from(discarded).unwrap_or(u64::MAX);
                queue.end = Some(End::Overflow);
            }
            Err(SendError::Ended) => {}
            Err(SendError::Full) => queue.dropped += 1,
        }
        (result, queue.waker.take())
    }
}

impl Mailbox {
    /// Returns the next event, or [`Overflow`] if the session has to close.
    ///
    /// `Pending` means that the queue is empty; the waker in `cx` is woken when an event is sent. Only
    /// the waker of the latest call is woken. A mailbox without senders stays pending.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if the queue was full with [`WhenFull::Close`]; then each call returns it.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Overflow>> {
        let Shared { queue, when_full, .. } = &*self.0;
        let mut queue = queue.lock();
        if let (Some(End::Overflow), WhenFull::Close(code, reason)) = (queue.end, when_full) {
            return Poll::Ready(Err(Overflow(*code, reason.clone())));
        }
        if let Some(message) = queue.events.pop_front() {
            if queue.events.is_empty() {
                queue.events = VecDeque::new(); // Frees its memory.
            }
            let dropped = mem::take(&mut queue.dropped_before_next);
            return Poll::Ready(Ok(Event { message, dropped }));
        }
        // While the queue is locked, so no event comes in between.
        if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let replaced = queue.waker.replace(cx.waker().clone());
            drop(queue);
            drop(replaced); // Without the lock: it may drop a task that sends to this mailbox.
        }
        Poll::Pending
    }
}

impl Handler for Mailbox {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.poll_event(cx).map(|event| match event {
            Ok(event) => Next::SendPrepared(event.message),
            Err(overflow) => overflow.into(),
        })
    }

    fn receive(&mut self, _: Message) {}
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.end = Some(End::Ended);
        let discarded = (mem::take(&mut queue.events), queue.waker.take());
        drop(queue);
        drop(discarded); // Without the lock, as in `poll_event`.
    }
}

impl From<Overflow> for Next {
    fn from(Overflow(code, reason): Overflow) -> Self {
        Self::Close(code, reason)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closing => "the session closes because its mailbox is full",
            Self::Ended => "the session has ended",
            Self::Full => "the mailbox is full",
        })
    }
}

impl error::Error for SendError {}
