//! `main`: from the command line to the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::examination::examine;
use crate::options::Options;

/// The exit code if the runtime cannot be started, as for a failure.
const EXIT_FAILURE: u8 = 3;

/// Examines what the arguments say, prints the report to standard output, and returns its exit code.
/// Progress and errors of the command line go to standard error.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::from_arguments(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Help goes to standard output, and its exit code is 0; otherwise the exit code is 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "doctor: the runtime does not start: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let progress = |sentence: &str| {
        let _ = writeln!(io::stderr(), "{sentence} …");
    };
    let report = runtime.block_on(examine(&options, &progress));
    let text = if options.json { report.json() } else { report.text() };
    let _ = io::stdout().write_all(text.as_bytes());
    // A resolver that does not answer has a thread of its own, which is not waited for.
    runtime.shutdown_background();
    ExitCode::from(report.exit_code())
}
