//! A handler that always sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use transport::{Handler, Message, Next};

/// Always has a message of 1 KiB to send. Counts its messages.
#[derive(Clone, Default)]
pub(crate) struct FloodingHandler(pub(crate) Arc<AtomicUsize>);

impl Handler for FloodingHandler {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Next::Send(Message::Binary(vec![0; 1024].into())))
    }

    fn receive(&mut self, _: Message) {}
}
