//! What the programs in `src/bin` share: a client that writes its frames by hand, and a server as a
//! process.

pub mod client;
pub mod healthy;
pub mod hostile;
pub mod load;
pub mod process;
