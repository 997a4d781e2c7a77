//! The handler of a session, with the route that it was admitted by.

use std::task::{Context, Poll};

use hyper::body::Bytes;
use transport::{Handler, Message, Next};

/// A handler that knows its route, by which another process finds the application that
/// [thaws](transport::Admit::thaw) it. In a byte, which takes no memory of most sessions.
#[derive(Debug)]
pub(crate) struct Routed<H> {
    pub(crate) handler: H,
    /// The index of the route.
    pub(crate) route: u8,
}

impl<H: Handler> Handler for Routed<H> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.handler.poll_next(cx)
    }

    fn receive(&mut self, message: Message) {
        self.handler.receive(message);
    }

    fn pong(&mut self) {
        self.handler.pong();
    }

    /// Returns the route in the first byte.
    fn freeze(&self) -> Option<Bytes> {
        let frozen = self.handler.freeze()?;
        Some([&[self.route], &*frozen].concat().into())
    }
}
