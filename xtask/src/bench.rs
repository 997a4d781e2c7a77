//! Compares our server with others: `cargo xtask bench`, with the options of `bench/src/bin/bench.rs`.

use std::path::PathBuf;

use crate::tools::{self, Failure, Tool, cargo, command, root, succeed, target};

const REMEDY: &str = "fix the build";

const GO: Tool = Tool {
    name: "Go with gorilla/websocket",
    install: "apt-get install golang-go golang-github-gorilla-websocket-dev",
    probe: &["go", "version"],
};

/// Upgrades a server with thousands of clients: `cargo xtask handover`, with the options of
/// `bench/src/bin/handover.rs`.
pub(crate) fn handover(options: &[&str]) -> Result<(), Failure> {
    if options.contains(&"--haproxy") && !tools::HAPROXY.is_installed() {
        return Err(Failure::new("--haproxy needs HAProxy", tools::HAPROXY.install));
    }
    run_on_publish("handover", options)
}

/// Lets a server live for a long time: `cargo xtask soak`, with the options of `bench/src/bin/soak.rs`.
pub(crate) fn soak(options: &[&str]) -> Result<(), Failure> {
    run_on_publish("soak", options)
}

/// Builds a program of `bench` and the example `publish`, and runs the former on the latter. Its files are in
/// a folder with its name in the target folder.
fn run_on_publish(program: &str, options: &[&str]) -> Result<(), Failure> {
    let release = build(&[
        ["bench/Cargo.toml", &format!("--bin={program}")],
        ["examples/Cargo.toml", "--package=publish"],
    ])?;
    let path = release.join(program).to_string_lossy().into_owned();
    let mut run = command(&[&path]);
    run.arg(release.join("publish")).arg(target().join(program)).args(options);
    let remedy =
        format!("see the failures above; `target/{program}` has the logs of all processes");
    succeed(&mut run, &remedy)
}

/// Restarts a server with many feeds of the browser module, and writes `reconnects.svg` to the target folder.
pub(crate) fn reconnects() -> Result<(), Failure> {
    let release = build(&[
        ["bench/Cargo.toml", "--bin=reconnects"],
        ["examples/Cargo.toml", "--package=publish"],
    ])?;
    let program = release.join("reconnects").to_string_lossy().into_owned();
    let mut run = command(&[&program]);
    run.arg(release.join("publish")).arg(root().join("examples/browser/tools/feeds.mjs"));
    succeed(run.arg(target()), "see the failure above")
}

/// Builds the server and its peers in release mode, and measures them.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], REMEDY)?;
    let (root, target) = (root(), target());
    // Broadcast is measured on the example `publish`, because the server itself sends no messages.
    let release =
        build(&[["bench/Cargo.toml", "--bins"], ["examples/Cargo.toml", "--package=publish"]])?;
    let gorilla = "bench/peers/gorilla/main.go";
    if GO.is_installed() && root.join(gorilla).exists() {
        let mut build = command(&["go", "build", "-o"]);
        build.arg(release.join("peer-gorilla")).arg(gorilla);
        // Debian's packages use the GOPATH layout.
        build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
        succeed(&mut build, GO.install)?;
    }
    let bench = release.join("bench").to_string_lossy().into_owned();
    succeed(
        command(&[&bench]).arg(root).arg(target).args(options),
        "see the failures above: each names its peer and its mode",
    )
}

/// Builds programs of other workspaces in release mode, and returns their folder. Each is a manifest and
/// what to build of it.
fn build(programs: &[[&str; 2]]) -> Result<PathBuf, Failure> {
    let target = target();
    for program in programs {
        let build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path"];
        let mut build = command(&[&build[..], program].concat());
        succeed(build.env("CARGO_TARGET_DIR", &target), REMEDY)?;
    }
    Ok(target.join("release"))
}
