//! The load generator of `bench`: it drives one server at a time, and measures it from outside.

mod carrier;
pub mod chart;
pub mod fleet;
pub(crate) mod http2;
pub mod link;
pub mod modes;
pub mod peer;
pub mod plots;
mod publication;
pub mod report;
pub mod results;
pub mod running;
mod slab;
pub mod vitals;
pub mod way;
mod wire;
