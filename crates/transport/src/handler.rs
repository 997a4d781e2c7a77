//! The interface between a session and its application: what to send, and what to do with messages.

use std::task::{Context, Poll};

use bytes::Bytes;
use ws_core::{CloseCode, Reason};

use crate::message::Message;
use crate::prepared_message::PreparedMessage;

/// The next action of a handler. The [front page](crate#a-handler) has an example.
///
/// A handler that wraps another passes on the variants that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Close the session with this code and reason.
    Close(CloseCode, Reason),
    /// Send a ping now, behind what was sent before it. [`Handler::pong`] says when it is answered.
    ///
    /// The regular pings keep their schedule, and the pong timeout holds for this one as well. A peer may
    /// answer only the latest ping (RFC 6455, section 5.5.3), and pongs to earlier ones count against its
    /// rate: a handler that waits for a pong asks for no other ping.
    Ping,
    /// Send this message.
    Send(Message),
    /// Send this message, compressed if that was negotiated.
    ///
    /// The length of a compressed message tells whether its parts are alike. So it must not have a secret
    /// beside anything that its peer, or a page that its peer visits, has chosen (RFC 7692, section 8).
    SendCompressed(Message),
    /// Send this message, whose bytes are shared with other sessions.
    ///
    /// The handler is not polled again until the stream has accepted the message.
    SendPrepared(PreparedMessage),
}

/// The application logic of a session. Each session gets a clone of the endpoint's handler. The
/// [front page](crate#a-handler) has an example.
///
/// It is polled instead of being `async`, because every poll of the session polls it, and received
/// messages are passed to it as well: a future of an `async fn next` would borrow the handler while
/// `receive` needs it, and a future that is dropped and created again loses its position in wait queues.
///
/// A panic in one of its methods ends its session with close code 1011. A panic in its clone refuses the
/// request, and one in its drop is ignored. The panic hook runs for each.
pub trait Handler: Send + 'static {
    /// Returns what to send next. `Pending` means nothing for now; the waker in `cx` is woken when the
    /// handler has to be polled again.
    ///
    /// The handler is not polled while earlier output is blocked, so it needs no queue for a peer that
    /// reads slowly. It is not polled once the session is closing.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next>;

    /// Handles a message from the peer. Must not block.
    ///
    /// [`poll_next`](Self::poll_next) is called right after this, and can return an answer.
    fn receive(&mut self, message: Message);

    /// Handles the pong to the latest ping, which the handler or the session has sent. Must not block.
    ///
    /// TCP and HTTP/2 keep the order, so the peer's WebSocket implementation has received all that this
    /// session sent before that ping. It does not say that the page has handled it.
    ///
    /// [`poll_next`](Self::poll_next) is called after this. A handler that wraps another passes it on. By
    /// default it does nothing.
    fn pong(&mut self) {}

    /// Returns what another process needs to continue this session, or `None` if the session has to end
    /// with this process.
    ///
    /// It is called when everything that this handler returned has been written, and no message is incomplete
    /// that it has not received; later ones are received in the other process. A state that the handler has not returned yet is not part of it. The session may
    /// go on here afterwards, so this changes nothing. A handler that wraps another passes it on, with what is
    /// its own. By default it returns `None`.
    fn freeze(&self) -> Option<Bytes> {
        None
    }

    /// Returns a handler that continues a session of the process before this one, from what
    /// [`freeze`](Self::freeze) returned there, or `None` if it cannot. By default it cannot.
    ///
    /// It is called on a handler that admits sessions by being cloned.
    fn thaw(&self, frozen: Bytes) -> Option<Self>
    where
        Self: Sized,
    {
        drop(frozen);
        None
    }
}

/// A handler that sends nothing and drops all messages. The [front page](crate#an-endpoint) has an
/// example.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Handler for Discard {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}

    fn freeze(&self) -> Option<Bytes> {
        Some(Bytes::new())
    }

    fn thaw(&self, _: Bytes) -> Option<Self> {
        Some(Self)
    }
}
