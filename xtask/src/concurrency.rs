//! Runs the models of threads: `cargo xtask concurrency`. They are in the folders `concurrency` of the crates.

use std::env;

use crate::tools::{Failure, command, succeed, target};

/// The preemptions of the models that do not try every order, if there is time. Each model has its own number
/// otherwise.
const PREEMPTIONS: &str = "5";

/// Runs all models, with the numbers of preemptions that they have themselves.
pub(crate) fn run() -> Result<(), Failure> {
    run_with(&[])
}

/// Runs the models with more preemptions, each for at most `seconds`.
pub(crate) fn run_longer(seconds: u64) -> Result<(), Failure> {
    run_with(&[("LOOM_MAX_PREEMPTIONS", PREEMPTIONS), ("LOOM_MAX_DURATION", &seconds.to_string())])
}

fn run_with(variables: &[(&str, &str)]) -> Result<(), Failure> {
    let packages = ["--package", "transport", "--package", "broadcast", "--lib"];
    let test = [&["cargo", "test", "--locked"], &packages[..], &["--", "concurrency::"]].concat();
    let mut test = command(&[&test[..], &["--show-output"]].concat());
    // Flags apply to all dependencies, so the folder is another one than that of other builds.
    let flags = env::var("RUSTFLAGS").unwrap_or_default() + " --cfg loom_models";
    test.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", target().join("loom"));
    test.envs(variables.iter().copied());
    succeed(&mut test, "find the model that fails, as docs/mutation.md says, and fix what it shows")
}
