//! Compares our server with others: `cargo xtask bench`, with the options of `bench/src/bin/bench.rs`.

use std::path::{Path, PathBuf};

use crate::tools::{self, CXX, Failure, Tool, cargo, command, output, root, succeed, target};

const REMEDY: &str = "fix the build";

/// The peers in Rust that are not in the workspace `bench`.
const PEERS_APART: &str = "bench/peers/rust/Cargo.toml";
/// Boost's header of Beast, which Debian's libboost-dev installs.
const BEAST: &str = "/usr/include/boost/beast.hpp";

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

/// Opens a hundred thousand sessions: `cargo xtask scale`, with the options of `bench/src/bin/scale.rs`.
pub(crate) fn scale(options: &[&str]) -> Result<(), Failure> {
    run_on_publish("scale", options)
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
    let wanted = options.iter().skip_while(|option| **option != "--peers").nth(1);
    // `gorilla-deflate` is the program of `gorilla` with one more argument.
    let is_wanted =
        |peer: &str| wanted.is_none_or(|it| it.split(',').any(|it| it.starts_with(peer)));
    build_peers(&release, is_wanted)?;
    let bench = release.join("bench").to_string_lossy().into_owned();
    succeed(
        command(&[&bench]).arg(root).arg(target).args(options),
        "see the failures above: each names its peer and its mode",
    )
}

/// Builds the peers that are not in the workspace `bench`, if they are wanted and their compiler is
/// installed.
fn build_peers(release: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for peer in ["yawc", "sockudo-ws", "tokio-websockets", "ntex"] {
        if is_wanted(peer) {
            // Each alone, so that it has no features of another one's dependencies.
            build(&[[PEERS_APART, &format!("--features={peer}")]])?;
        }
    }
    let program = |peer: &str| release.join(format!("peer-{peer}"));
    if is_wanted("gorilla") && GO.is_installed() {
        let mut build = command(&["go", "build", "-o"]);
        build.arg(program("gorilla")).arg("bench/peers/gorilla/main.go");
        // Debian's packages use the GOPATH layout.
        build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
        succeed(&mut build, GO.install)?;
    }
    // The options of uWebSockets' own build. `gcc` compiles each file in its language.
    let optimized = &["gcc", "-O3", "-march=native", "-flto=auto", "-w"];
    if is_wanted("uwebsockets") && CXX.is_installed() {
        let sources = uwebsockets_sources()?;
        let sockets = sources.join("uSockets/src");
        let mut build = command(optimized);
        build.args(["-DLIBUS_NO_SSL", "-DUWS_NO_ZLIB", "-std=c++20"]);
        build.arg("-I").arg(sources.join("src")).arg("-I").arg(&sockets);
        build.arg("bench/peers/uwebsockets/main.cpp");
        build
            .args(["bsd.c", "context.c", "loop.c", "socket.c", "udp.c"].map(|it| sockets.join(it)));
        build.arg(sockets.join("eventing/epoll_kqueue.c"));
        succeed(build.arg("-lstdc++").arg("-o").arg(program("uwebsockets")), REMEDY)?;
    }
    if is_wanted("beast") && CXX.is_installed() && Path::new(BEAST).exists() {
        let mut build = command(optimized);
        build.args(["-std=c++20", "bench/peers/beast/main.cpp", "-lstdc++", "-o"]);
        succeed(build.arg(program("beast")), REMEDY)?;
    }
    Ok(())
}

/// Fetches the crate with the sources of uWebSockets, and returns their folder.
fn uwebsockets_sources() -> Result<PathBuf, Failure> {
    let metadata = ["cargo", "metadata", "--format-version=1", "--locked", "--quiet"];
    let crates = ["--manifest-path", PEERS_APART, "--features=uwebsockets-sources"];
    let metadata = output(&mut command(&[&metadata[..], &crates].concat()), REMEDY)?;
    let mut texts = metadata.split('"');
    let manifest =
        texts.find(|text| text.contains("/libuwebsockets-sys-") && text.ends_with("/Cargo.toml"));
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    let folder =
        folder.ok_or_else(|| Failure::new("libuwebsockets-sys was not fetched", REMEDY))?;
    Ok(folder.join("uWebSockets"))
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
