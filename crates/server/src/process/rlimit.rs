//! The limit of open files, which bounds the number of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Assumed limit of a process without one: the default of `fs.nr_open` on Linux.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard limit, and returns the limit in force.
///
/// The default soft limit is low for the sake of programs that use `select`, which this one does not.
#[must_use = "the limit of connections depends on it"]
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // If the system refuses, the soft limit stays in force.
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    in_force.unwrap_or(UNLIMITED)
}
