//! Shared by the programs in `src/bin`: clients on raw frames, the server as a process, the load
//! generator, and the common parts of the peers in Rust.

pub mod client;
pub mod flood;
pub mod floor;
pub mod handover;
pub mod load;
pub mod misbehaving;
pub mod peer;
pub mod process;
pub mod publisher;
pub mod scale;
pub mod soak;
pub mod well_behaved;
