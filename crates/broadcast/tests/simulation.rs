//! The simulation of the crate `transport`, with sessions that subscribe to a [`Publisher`].

#[path = "../../transport/tests/simulation/scenario.rs"]
mod scenario;

pub(crate) use broadcast::{Publisher, Subscription};
