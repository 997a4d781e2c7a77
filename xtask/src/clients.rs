//! Clients of the real world against the real binary. Each is a small program in `xtask/clients`
//! that starts the server it is given, and exits with 0 if it saw what it should.

use std::env;

use crate::tools::{Failure, cargo, command, succeed, target};

pub(crate) fn curl() -> Result<(), Failure> {
    against_the_server(&["bash", "xtask/clients/curl.sh"])
}

pub(crate) fn python() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/python_websockets.py"])
}

pub(crate) fn websocket_client() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/websocket_client.py"])
}

pub(crate) fn python_h2() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/python_h2.py"])
}

pub(crate) fn node() -> Result<(), Failure> {
    against_the_server(&["node", "xtask/clients/node_ws.cjs"])
}

pub(crate) fn websocat() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/websocat.py"])
}

pub(crate) fn chromium() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/chromium.py"])
}

pub(crate) fn chromium_tls() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/chromium_tls.py"])
}

pub(crate) fn admin_page() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/admin_page.py"])
}

/// The module of examples/browser, alone.
pub(crate) fn browser_module() -> Result<(), Failure> {
    let test = "examples/browser/status-feed.test.js";
    succeed(
        &mut command(&["node", "--no-warnings", "--test", "--test-reporter=spec", test]),
        "mend what the failing test above names",
    )
}

/// The page of examples/browser, against an example that publishes what it is told to.
pub(crate) fn browser() -> Result<(), Failure> {
    against_an_example("publish", &["python3", "-B", "xtask/clients/status_feed.py"])
}

pub(crate) fn promtool() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/promtool.py"])
}

pub(crate) fn proxies() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/proxies.py"])
}

pub(crate) fn proxies_h2() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/proxies_h2.py"])
}

pub(crate) fn units() -> Result<(), Failure> {
    against_the_server(&["python3", "-B", "xtask/clients/units.py"])
}

pub(crate) fn nats() -> Result<(), Failure> {
    against_an_example("nats-status", &["python3", "-B", "xtask/clients/nats.py"])
}

/// The network is one of its own, in which slow links are made.
pub(crate) fn slow_links() -> Result<(), Failure> {
    build_the_server()?;
    let program = ["unshare", "--net", "python3", "-B", "xtask/clients/slow_links.py"];
    against_an_example("publish", &program)
}

fn against_the_server(program: &[&str]) -> Result<(), Failure> {
    build_the_server()?;
    against("server", program)
}

/// Some clients need a certificate, and find the example that makes one below the server.
fn build_the_server() -> Result<(), Failure> {
    let what = ["--package", "server", "--bin", "server", "--example", "certificate"];
    cargo(&[&["build", "--locked", "--quiet"], &what[..]].concat(), "mend the build")
}

fn against(server: &str, program: &[&str]) -> Result<(), Failure> {
    // Cargo has put it beside this program, wherever the target folder is.
    let server = env::current_exe().unwrap_or_default().with_file_name(server);
    succeed(
        command(program).arg(server),
        "run that program by hand; it says what it expected and what it saw",
    )
}

/// The same for a program of the workspace of examples.
fn against_an_example(name: &str, program: &[&str]) -> Result<(), Failure> {
    let words = ["cargo", "build", "--manifest-path", "examples/Cargo.toml", "--package", name];
    let mut build = command(&[&words[..], &["--locked", "--quiet"]].concat());
    succeed(build.env("CARGO_TARGET_DIR", target()), "mend the build")?;
    against(name, program)
}
