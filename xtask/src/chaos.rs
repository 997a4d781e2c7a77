//! The real binary among clients of `bench` that mean no good, each built as it ships.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{Failure, cargo, command, succeed, target};

/// Thousands of hostile clients: `cargo xtask chaos --seconds N`.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    let (mut chaos, release) = build("chaos")?;
    succeed(
        chaos.arg(release.join("server")).args(["--seconds", &seconds.to_string()]),
        "look at what it says above; the server's log is kept where its first line says",
    )
}

/// A few that send as fast as they can: `cargo xtask floods`.
pub(crate) fn floods() -> Result<(), Failure> {
    let (mut floods, release) = build("floods")?;
    succeed(
        floods.arg(release.join("server")),
        "look at what it says above; `target/release/floods SERVER --only NAME` is one flood alone",
    )
}

/// Builds the server and a program in `bench` as they ship. Gives that program, and where they are.
fn build(program: &str) -> Result<(Command, PathBuf), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], "mend the build")?;
    let target = target();
    let build = ["cargo", "build", "--release", "--locked", "--quiet"];
    let manifest = ["--manifest-path", "bench/Cargo.toml", "--bin", program];
    succeed(
        command(&[&build[..], &manifest].concat()).env("CARGO_TARGET_DIR", &target),
        "mend the build",
    )?;
    let release = target.join("release");
    let program = release.join(program).to_string_lossy().into_owned();
    Ok((command(&[&program]), release))
}
