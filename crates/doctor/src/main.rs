//! The binary: one call of the library.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    doctor::main(env::args_os().skip(1))
}
