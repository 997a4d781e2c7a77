//! Starts the successor of this process on SIGUSR2: the program as its file is now, with the same arguments.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use tracing::{info, warn};

/// The option that names the takeover listener of the predecessor.
const TAKE_OVER: &str = "--take-over";

/// Variables of the service manager that are for one process only.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_PID"];

/// What a successor is started with.
#[derive(Debug)]
pub(super) struct SuccessorCommand {
    /// Read when the process started: an upgrade replaces the file, and the system then says that it is deleted.
    program: io::Result<PathBuf>,
    arguments: Vec<OsString>,
}

impl SuccessorCommand {
    /// `arguments` are those of this process, without the program's name.
    pub(super) fn new(arguments: &[OsString]) -> Self {
        Self { program: env::current_exe(), arguments: without_take_over(arguments) }
    }

    /// Starts the successor, which takes over from the listener at `takeover`. The log says so, and if it ends
    /// without having taken over.
    pub(super) fn start(&self, takeover: Option<&Path>) {
        let started = match (&self.program, takeover) {
            (Ok(program), Some(takeover)) => self.spawn(program, takeover),
            (Ok(_), None) => Err(io::Error::other("takeover_listen is not set")),
            (Err(error), _) => Err(io::Error::other(error.to_string())),
        };
        match started {
            Ok(pid) => info!(event = "successor_started", successor = pid),
            Err(error) => warn!(event = "successor_failed", problem = %error),
        }
    }

    fn spawn(&self, program: &Path, takeover: &Path) -> io::Result<u32> {
        let mut command = Command::new(program);
        let address: OsString = [OsStr::new("unix:"), takeover.as_os_str()].into_iter().collect();
        command.args(&self.arguments).arg(TAKE_OVER).arg(address).stdin(Stdio::null());
        OF_THIS_PROCESS.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut child = command.spawn()?;
        let pid = child.id();
        // If it takes over, this process ends before it.
        thread::Builder::new().name("successor".to_owned()).spawn(move || match child.wait() {
            Ok(status) => warn!(event = "successor_failed", successor = pid, problem = %status),
            Err(error) => warn!(event = "successor_failed", successor = pid, problem = %error),
        })?;
        Ok(pid)
    }
}

/// Returns the arguments without the option by which this process took over itself.
fn without_take_over(arguments: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == TAKE_OVER {
            rest.next();
        } else if !argument.as_bytes().starts_with(b"--take-over=") {
            kept.push(argument.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_has_the_arguments_of_its_predecessor_but_takes_over_from_that() {
        let arguments = ["--take-over", "unix:/a", "--config", "/c", "--take-over=unix:/b"];
        let arguments = arguments.map(OsString::from);
        assert_eq!(without_take_over(&arguments), ["--config", "/c"]);
    }
}
