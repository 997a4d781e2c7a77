//! The simulation of the crate `transport`, with sessions that subscribe to a topic.

#[path = "../../transport/tests/simulation/scenario.rs"]
mod scenario;

use broadcast::{TopicSubscription, Topics};

pub(crate) type Subscription = TopicSubscription<u8>;

/// Publishes to one of the topics, as a publisher.
#[derive(Default)]
pub(crate) struct Publisher(Topics<u8>);

impl Publisher {
    pub(crate) fn subscribe(&self) -> Subscription {
        self.0.subscribe(0)
    }

    pub(crate) fn publish(&self, state: String) {
        self.0.publish(&0, state);
    }
}
