//! The binary: an endpoint without message logic.

use std::env;
use std::process::ExitCode;

use server::transport::Silent;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || Silent)
}
