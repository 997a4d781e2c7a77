//! The real binary among hostile clients: `cargo xtask chaos --seconds N`.

use crate::tools::{Failure, cargo, command, succeed, target};

/// Builds the server and the program in `bench` as they ship, and lets one loose on the other.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], "mend the build")?;
    let target = target();
    let build = ["cargo", "build", "--release", "--locked", "--quiet"];
    let manifest = ["--manifest-path", "bench/Cargo.toml", "--bin", "chaos"];
    succeed(
        command(&[&build[..], &manifest].concat()).env("CARGO_TARGET_DIR", &target),
        "mend the build",
    )?;
    let release = target.join("release");
    let chaos = release.join("chaos").to_string_lossy().into_owned();
    let server = release.join("server");
    succeed(
        command(&[&chaos]).arg(server).args(["--seconds", &seconds.to_string()]),
        "look at what it says above; the server's log is kept where its first line says",
    )
}
