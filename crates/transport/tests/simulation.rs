//! The simulation, with a handler that sends prepared messages.
#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "support/newest.rs"]
mod newest;
#[path = "simulation/play.rs"]
mod play;

pub(crate) use newest::{Newest as Subscription, Newest as Publisher};
