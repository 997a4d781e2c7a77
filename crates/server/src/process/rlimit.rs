//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process without a limit is taken to have, which is Linux' default for `fs.nr_open`.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard one, and returns what it is then.
///
/// The soft limit is low only for the sake of programs that use `select`.
#[must_use = "how many connections there may be follows from it"]
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // Where that is refused, the soft limit stays in force, and the default below it does as well.
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    in_force.unwrap_or(UNLIMITED)
}
