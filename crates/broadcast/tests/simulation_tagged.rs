//! The simulation of the crate `transport`, with sessions that send tagged states, and resume after some of
//! them as if their clients had connected again.

#[path = "../../transport/tests/simulation/scenario.rs"]
mod scenario;

use std::str;
use std::task::{Context, Poll};

use broadcast::{Have, Publisher as States};
use transport::{Handler, Message, Next, PreparedMessage};

#[derive(Default)]
pub(crate) struct Publisher(States);

/// Subscribes again with the tag of every second state that it sends.
pub(crate) struct Subscription {
    states: broadcast::Subscription,
    publisher: States,
    sent: usize,
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Subscription {
        let states = self.0.subscribe_having(&Have::Nothing);
        Subscription { states, publisher: self.0.clone(), sent: 0 }
    }

    pub(crate) fn publish(&self, state: String) {
        self.0.publish(state);
    }
}

impl Handler for Subscription {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let next = self.states.poll_next(cx);
        if let Poll::Ready(Next::SendPrepared(message)) = &next {
            self.sent += 1;
            if self.sent.is_multiple_of(2) {
                self.states = self.publisher.subscribe_having(&Have::State(tag(message)));
            }
        }
        next
    }

    fn receive(&mut self, _: Message) {}
}

fn tag(message: &PreparedMessage) -> broadcast::Tag {
    let text = str::from_utf8(message.payload()).expect("a state is text");
    let (line, _) = text.split_once('\n').expect("the first line has the tag");
    line.strip_prefix("have=").and_then(|tag| tag.parse().ok()).expect("the line is a tag")
}
