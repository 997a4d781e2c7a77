//! A handler that can be frozen: it sends each number once and in order, and echoes messages.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use transport::{Handler, Message, Next};

/// Sends the numbers up to the latest that was published through it or through a clone. It can be frozen,
/// even with echoes that it has not returned yet.
#[derive(Clone, Default)]
pub(crate) struct Numbers {
    source: Arc<Mutex<Source>>,
    /// The number that was sent last.
    sent: u64,
    echoes: VecDeque<Message>,
}

#[derive(Default)]
struct Source {
    latest: u64,
    wakers: Vec<Waker>,
    freezing: Freezing,
}

/// What a handler does when it is asked to freeze.
#[derive(Clone, Copy, Default)]
pub(crate) enum Freezing {
    #[default]
    Freezes,
    Panics,
    Refuses,
}

impl Numbers {
    /// Publishes the next number to all clones.
    pub(crate) fn publish(&self) {
        let wakers = {
            let mut source = self.source.lock().unwrap();
            source.latest += 1;
            mem::take(&mut source.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the latest number that was published.
    pub(crate) fn latest(&self) -> u64 {
        self.source.lock().unwrap().latest
    }

    /// Sets what all clones do when they are asked to freeze.
    pub(crate) fn set_freezing(&self, freezing: Freezing) {
        self.source.lock().unwrap().freezing = freezing;
    }
}

impl Handler for Numbers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(echo) = self.echoes.pop_front() {
            return Poll::Ready(Next::Send(echo));
        }
        let mut source = self.source.lock().unwrap();
        if source.latest > self.sent {
            self.sent += 1;
            return Poll::Ready(Next::Send(self.sent.to_string().into()));
        }
        if !source.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            source.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn receive(&mut self, message: Message) {
        self.echoes.push_back(message);
    }

    fn freeze(&self) -> Option<Bytes> {
        let freezing = self.source.lock().unwrap().freezing;
        match freezing {
            Freezing::Freezes => {}
            Freezing::Panics => panic!("this handler panics when it is frozen"),
            Freezing::Refuses => return None,
        }
        let mut lines = vec![self.sent.to_string()];
        lines.extend(self.echoes.iter().map(|echo| match echo {
            Message::Text(text) => text.to_string(),
            Message::Binary(_) => panic!("only texts are echoed"),
        }));
        Some(lines.join("\n").into())
    }

    fn thaw(&self, frozen: Bytes) -> Option<Self> {
        let frozen = String::from_utf8(frozen.into()).ok()?;
        let mut lines = frozen.split('\n');
        let sent = lines.next()?.parse().ok()?;
        let echoes = lines.map(Message::from).collect();
        Some(Self { source: Arc::clone(&self.source), sent, echoes })
    }
}
