//! The seam for the features to come: what a session sends, and what becomes of what it receives.

use std::task::{Context, Poll};

use ws_core::{CloseCode, Reason};

use crate::message::{Message, PreparedMessage};

/// What a handler wants next. The [front page](crate#a-handler) has an example.
///
/// A handler around another passes on what it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Close the session with this code and reason.
    Close(CloseCode, Reason),
    /// Send this message.
    Send(Message),
    /// Send this message, which others are sent as well: its bytes are shared with them.
    ///
    /// Nothing more is asked for until the stream has taken it.
    SendPrepared(PreparedMessage),
}

/// What a session is for. Each session gets a clone of the endpoint's handler. The
/// [front page](crate#a-handler) has an example.
///
/// It polls instead of being `async` because the session asks it on every wake-up and also hands it
/// what came: a future of `next` would borrow the handler while `receive` needs it, and dropping
/// and making it anew would lose its place in line.
///
/// A panic in one of its methods ends its session with 1011, and one in its clone refuses the request;
/// one in its drop is passed over. The panic hook is told of each.
pub trait Handler: Send + 'static {
    /// What to send next. `Pending` is nothing for now; the waker in `cx` says when to ask again.
    ///
    /// This is not asked while what was sent before is stuck, so a handler needs no queue for a peer
    /// that reads slowly. It is not asked any more once the session is closing.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next>;

    /// Takes a message of the peer. Must not block.
    ///
    /// [`poll_next`](Self::poll_next) is asked right after this, so an answer can be given there.
    fn receive(&mut self, message: Message);
}

/// The handler of a scaffold: it says nothing, and drops what it is told. The
/// [front page](crate#an-endpoint) has an endpoint with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Handler for Discard {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}
