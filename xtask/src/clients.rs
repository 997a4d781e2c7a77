//! Real clients against the real binary. Each is a program in `xtask/clients` that starts the server
//! given on its command line, and exits with 0 if all its expectations hold.

use std::env;

use crate::tools::{Failure, cargo, command, succeed, target};

pub(crate) fn curl() -> Result<(), Failure> {
    run_with_server(&["bash", "xtask/clients/curl.sh"])
}

pub(crate) fn python() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/python_websockets.py"])
}

pub(crate) fn websocket_client() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/websocket_client.py"])
}

pub(crate) fn python_h2() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/python_h2.py"])
}

pub(crate) fn node() -> Result<(), Failure> {
    run_with_server(&["node", "xtask/clients/node_ws.cjs"])
}

pub(crate) fn websocat() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/websocat.py"])
}

pub(crate) fn chromium() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/chromium.py"])
}

pub(crate) fn chromium_tls() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/chromium_tls.py"])
}

pub(crate) fn admin_page() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/admin_page.py"])
}

/// The page of examples/browser, with the example `publish` as its server.
pub(crate) fn browser() -> Result<(), Failure> {
    run_with_example("publish", &["python3", "-B", "xtask/clients/status_feed.py"])
}

/// Tabs that share a connection of the module of examples/browser, with the same server.
pub(crate) fn browser_shared() -> Result<(), Failure> {
    run_with_example("publish", &["python3", "-B", "xtask/clients/shared_feed.py"])
}

/// A page with the example `teams`.
pub(crate) fn teams() -> Result<(), Failure> {
    run_with_example("teams", &["python3", "-B", "xtask/clients/teams.py"])
}

/// Upgrades of the example `publish`.
pub(crate) fn handover() -> Result<(), Failure> {
    run_with_example("publish", &["python3", "-B", "xtask/clients/handover.py"])
}

/// The example `publish` with compression, and a server whose build has the generator of certificates.
pub(crate) fn compression() -> Result<(), Failure> {
    build_server()?;
    run_with_example("publish", &["python3", "-B", "xtask/clients/compression.py"])
}

pub(crate) fn promtool() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/promtool.py"])
}

pub(crate) fn proxies() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/proxies.py"])
}

pub(crate) fn proxies_h2() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/proxies_h2.py"])
}

/// The doctor, which is built beside the server.
pub(crate) fn doctor() -> Result<(), Failure> {
    cargo(&["build", "--locked", "--quiet", "--package", "doctor"], "fix the build")?;
    run_with_server(&["python3", "-B", "xtask/clients/doctor.py"])
}

pub(crate) fn units() -> Result<(), Failure> {
    run_with_server(&["python3", "-B", "xtask/clients/units.py"])
}

pub(crate) fn nats() -> Result<(), Failure> {
    run_with_example("nats-status", &["python3", "-B", "xtask/clients/nats.py"])
}

/// Runs in a separate network namespace, in which the links are created.
pub(crate) fn slow_links() -> Result<(), Failure> {
    build_server()?;
    let program = ["unshare", "--net", "python3", "-B", "xtask/clients/slow_links.py"];
    run_with_example("publish", &program)
}

fn run_with_server(program: &[&str]) -> Result<(), Failure> {
    build_server()?;
    run_program("server", program)
}

/// Builds the server, and the example that generates a certificate for some clients.
fn build_server() -> Result<(), Failure> {
    let what = ["--package", "server", "--bin", "server", "--example", "certificate"];
    cargo(&[&["build", "--locked", "--quiet"], &what[..]].concat(), "fix the build")
}

fn run_program(server: &str, program: &[&str]) -> Result<(), Failure> {
    // Cargo puts it into the same folder as this program.
    let server = env::current_exe().unwrap_or_default().with_file_name(server);
    succeed(
        command(program).arg(server),
        "run that program by hand; it prints the expected and the actual value",
    )
}

/// Builds a program of the examples workspace, and runs a client with it.
fn run_with_example(name: &str, program: &[&str]) -> Result<(), Failure> {
    let words = ["cargo", "build", "--manifest-path", "examples/Cargo.toml", "--package", name];
    let mut build = command(&[&words[..], &["--locked", "--quiet"]].concat());
    succeed(build.env("CARGO_TARGET_DIR", target()), "fix the build")?;
    run_program(name, program)
}
