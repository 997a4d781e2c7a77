//! The simulation of the crate `transport`, whose sessions are told the states of a publisher here.

#[path = "../../transport/tests/simulation/play.rs"]
mod play;

pub(crate) use broadcast::{Publisher, Subscription};
