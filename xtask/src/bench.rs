//! Compares our server with others: `cargo xtask bench`, with the options of `bench/src/bin/bench.rs`.

use crate::tools::{Failure, Tool, cargo, command, root, succeed, target};

const REMEDY: &str = "fix the build";

const GO: Tool = Tool {
    name: "Go with gorilla/websocket",
    install: "apt-get install golang-go golang-github-gorilla-websocket-dev",
    probe: &["go", "version"],
};

/// Restarts a server with many feeds of the browser module, and writes `reconnects.svg` to the target folder.
pub(crate) fn reconnects() -> Result<(), Failure> {
    let (root, target) = (root(), target());
    for what in
        [["bench/Cargo.toml", "--bin=reconnects"], ["examples/Cargo.toml", "--package=publish"]]
    {
        let build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path"];
        let mut build = command(&[&build[..], &what].concat());
        succeed(build.env("CARGO_TARGET_DIR", &target), REMEDY)?;
    }
    let release = target.join("release");
    let program = release.join("reconnects").to_string_lossy().into_owned();
    let mut run = command(&[&program]);
    run.arg(release.join("publish")).arg(root.join("examples/browser/tools/feeds.mjs"));
    succeed(run.arg(&target), "see the failure above")
}

/// Builds the server and its peers in release mode, and measures them.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], REMEDY)?;
    let (root, target) = (root(), target());
    // Broadcast is measured on the example `publish`, because the server itself sends no messages.
    for what in [["bench/Cargo.toml", "--bins"], ["examples/Cargo.toml", "--package=publish"]] {
        let build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path"];
        let mut build = command(&[&build[..], &what].concat());
        succeed(build.env("CARGO_TARGET_DIR", &target), REMEDY)?;
    }
    let release = target.join("release");
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
