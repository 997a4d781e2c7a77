//! What the programs in `src/bin` share: a client that writes its frames by hand, a server as a
//! process, and what the peers in Rust have in common.

pub mod client;
pub mod flood;
pub mod healthy;
pub mod hostile;
pub mod load;
pub mod peer;
pub mod process;
pub mod publisher;
