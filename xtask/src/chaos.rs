//! The server under the misbehaving clients of `bench`, all in release builds.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{Failure, cargo, command, succeed, target};

/// Thousands of misbehaving clients: `cargo xtask chaos --seconds N`.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    let (mut chaos, release) = build("chaos")?;
    succeed(
        chaos.arg(release.join("server")).args(["--seconds", &seconds.to_string()]),
        "see the failures above; the first line has the path of the server's log",
    )
}

/// A few flooding clients: `cargo xtask floods`.
pub(crate) fn floods() -> Result<(), Failure> {
    let (mut floods, release) = build("floods")?;
    succeed(
        floods.arg(release.join("server")),
        "see the failures above; `target/release/floods SERVER --only NAME` runs one flood alone",
    )
}

/// Builds the server and a program of `bench` in release mode. Returns the program, and the folder of
/// both.
fn build(program: &str) -> Result<(Command, PathBuf), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], "fix the build")?;
    let target = target();
    let build = ["cargo", "build", "--release", "--locked", "--quiet"];
    let manifest = ["--manifest-path", "bench/Cargo.toml", "--bin", program];
    succeed(
        command(&[&build[..], &manifest].concat()).env("CARGO_TARGET_DIR", &target),
        "fix the build",
    )?;
    let release = target.join("release");
    let program = release.join(program).to_string_lossy().into_owned();
    Ok((command(&[&program]), release))
}
