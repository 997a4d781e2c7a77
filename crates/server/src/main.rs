//! The binary: an endpoint without message logic.

use std::env;
use std::process::ExitCode;

use server::transport::Discard;

/// `docs/performance.md` has the figures for which it is here.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || Discard)
}
