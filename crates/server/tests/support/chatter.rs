//! A handler that says all it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use transport::{Handler, Message, Next};

/// Never stops talking, and counts its words of 1 KiB.
#[derive(Clone, Default)]
pub(crate) struct Chatter(pub(crate) Arc<AtomicUsize>);

impl Handler for Chatter {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Next::Send(Message::Binary(vec![0; 1024].into())))
    }

    fn receive(&mut self, _: Message) {}
}
