//! The parts of `soak`: the program under test with its successors, the clients of all four ways to a
//! session, and the points of rest at which both are compared.

pub mod certificates;
mod client;
mod connection;
pub mod life;
mod messages;
mod plan;
pub mod program;
pub mod rest;
mod stream;
pub mod world;
