//! The load generator of `bench`: it drives one server process at a time, and measures it from outside.
//! Start with `modes`, the measurements; `clients` has the sessions that they use.

mod byte_stream;
pub mod chart;
pub mod clients;
mod connection;
pub mod deflate;
pub(crate) mod http2;
pub mod modes;
pub mod peer;
pub mod peer_process;
pub mod plots;
pub mod process_stats;
pub mod protocol;
mod publication;
pub mod report;
pub mod results;
pub mod session;
mod slab;
