//! A handler that sends prepared messages.

use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use transport::{Handler, Message, Next, PreparedMessage};

/// Sends the newest message that it or its origin was given, and each newer one after that.
#[derive(Default)]
pub(crate) struct Newest {
    board: Arc<Mutex<Board>>,
    sent: u64,
}

#[derive(Default)]
struct Board {
    number: u64,
    frame: Option<PreparedMessage>,
    waiting: Vec<Waker>,
}

impl Newest {
    /// A handler that sends what this one is given.
    pub(crate) fn subscribe(&self) -> Self {
        Self { board: Arc::clone(&self.board), sent: 0 }
    }

    /// Gives it a message.
    pub(crate) fn publish(&self, message: impl Into<Message>) {
        let waiting = {
            let board = &mut *self.board.lock().unwrap();
            board.number += 1;
            board.frame = Some(PreparedMessage::from(message.into()));
            mem::take(&mut board.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Handler for Newest {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let board = &mut *self.board.lock().unwrap();
        match &board.frame {
            Some(frame) if board.number != self.sent => {
                self.sent = board.number;
                Poll::Ready(Next::SendPrepared(frame.clone()))
            }
            Some(_) | None => {
                if !board.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    board.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn receive(&mut self, _: Message) {}
}
