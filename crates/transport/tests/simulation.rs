//! The simulation, with a handler that sends prepared messages.
#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "support/latest_message.rs"]
mod latest_message;
#[path = "simulation/scenario.rs"]
mod scenario;

pub(crate) use latest_message::{LatestMessage as Publisher, LatestMessage as Subscription};
