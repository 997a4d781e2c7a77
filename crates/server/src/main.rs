//! The binary: a server whose handler discards all messages.

use std::env;
use std::process::ExitCode;

use server::transport::Discard;

/// `docs/performance.md` has the measurements that justify it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || Discard)
}
