//! Our server beside others: `cargo xtask bench`, with the options of `bench/src/bin/bench.rs`.

use crate::tools::{Failure, Tool, cargo, command, root, succeed, target};

const MEND: &str = "mend the build";

const GO: Tool = Tool {
    name: "Go with gorilla/websocket",
    install: "apt-get install golang-go golang-github-gorilla-websocket-dev",
    probe: &["go", "version"],
};

/// Builds the server and its peers as they ship, and measures them.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    cargo(&["build", "--package", "server", "--release", "--locked", "--quiet"], MEND)?;
    let (root, target) = (root(), target());
    // The fan-out is measured on the example, since the server itself has nothing to say.
    for what in [["bench/Cargo.toml", "--bins"], ["examples/Cargo.toml", "--package=publish"]] {
        let build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path"];
        let mut build = command(&[&build[..], &what].concat());
        succeed(build.env("CARGO_TARGET_DIR", &target), MEND)?;
    }
    let release = target.join("release");
    let gorilla = "bench/peers/gorilla/main.go";
    if GO.is_there() && root.join(gorilla).exists() {
        let mut build = command(&["go", "build", "-o"]);
        build.arg(release.join("peer-gorilla")).arg(gorilla);
        // Debian's packages are laid out in the manner before modules.
        build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
        succeed(&mut build, GO.install)?;
    }
    let bench = release.join("bench").to_string_lossy().into_owned();
    succeed(
        command(&[&bench]).arg(root).arg(target).args(options),
        "look at what it says above: each failure names its peer and its mode",
    )
}
