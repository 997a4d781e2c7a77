//! A handler that tells each session the newest state, as a feature would.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use transport::{Handler, Message, Next, PreparedMessage};

/// Where the newest state is set. Clones are of the same.
#[derive(Clone, Default)]
pub(crate) struct Newest(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    number: u32,
    frame: Option<PreparedMessage>,
    waiting: Vec<Waker>,
}

/// The handler of a session.
#[derive(Clone)]
pub(crate) struct Told {
    newest: Newest,
    number: u32,
}

impl Newest {
    pub(crate) fn handler(&self) -> Told {
        Told { newest: self.clone(), number: 0 }
    }

    pub(crate) fn set(&self, state: impl Into<Message>) {
        let waiting = self.with(|it| {
            it.number += 1;
            it.frame = Some(PreparedMessage::from(state.into()));
            std::mem::take(&mut it.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Handler for Told {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let newest = self.newest.with(|it| {
            if it.number == self.number {
                it.waiting.push(cx.waker().clone());
                return None;
            }
            Some((it.number, it.frame.clone()?))
        });
        match newest {
            Some((number, frame)) => {
                self.number = number;
                Poll::Ready(Next::SendPrepared(frame))
            }
            None => Poll::Pending,
        }
    }

    fn receive(&mut self, _: Message) {}
}
