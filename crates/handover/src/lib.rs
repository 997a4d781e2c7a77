//! The handover of sessions from a process to its successor as two pure state machines.

#![no_std]

pub mod predecessor;
pub mod successor;
mod time_limit;

pub use predecessor::Predecessor;
pub use successor::Successor;
pub use time_limit::TimeLimit;
