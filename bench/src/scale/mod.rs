//! Sessions by the hundred thousand: server processes that share an address, clients in processes of their
//! own, and what the sessions take of both the processes and the kernel. `bin/scale.rs` has the steps.

pub mod checks;
pub mod client_processes;
pub mod clients;
pub mod kernel;
pub mod report;
pub mod servers;
pub mod slope;
pub mod steps;

use std::io;

use nix::unistd::Pid;

/// The number of states that are published; the first one warms up.
pub const STATES: usize = 6;

const LENGTH: usize = 200;
const DIGITS: usize = 8;

/// Returns the text of a state, which differs from that of every other state.
#[must_use]
pub fn state(number: usize) -> String {
    format!("{number:0DIGITS$}{}", "s".repeat(LENGTH - DIGITS))
}

fn pid_of(id: u32) -> io::Result<Pid> {
    i32::try_from(id).map(Pid::from_raw).map_err(io::Error::other)
}
