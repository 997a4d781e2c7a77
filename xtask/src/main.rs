//! The project's checks: `cargo xtask ci` runs them all, and each is a command of its own.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod bench;
mod chaos;
mod clients;
mod code_map;
mod docs;
mod files;
mod floors;
mod fuzz;
mod layers;
mod modules;
mod semver;
mod tools;

use std::env;
use std::process::ExitCode;

use crate::tools::{Failure, Tool, cargo, command, succeed, target};

/// A check that can be run by its name.
struct Check {
    name: &'static str,
    meaning: &'static str,
    /// Without these it is skipped, unless every check is asked for.
    tools: &'static [Tool],
    run: fn() -> Result<(), Failure>,
}

const CHECKS: &[Check] = &[
    Check { name: "fmt", meaning: "the code is formatted", tools: &[tools::RUSTFMT], run: fmt },
    Check {
        name: "lint",
        meaning: "clippy has nothing to say",
        tools: &[tools::CLIPPY],
        run: lint,
    },
    Check {
        name: "lint-bench",
        meaning: "clippy has nothing to say of bench",
        tools: &[tools::CLIPPY],
        run: || lint_beside("bench"),
    },
    Check {
        name: "lint-examples",
        meaning: "clippy has nothing to say of examples",
        tools: &[tools::CLIPPY],
        run: || lint_beside("examples"),
    },
    Check {
        name: "lint-fuzz",
        meaning: "clippy has nothing to say of fuzz",
        tools: &[tools::CLIPPY, tools::CXX],
        run: || lint_beside("fuzz"),
    },
    Check {
        name: "layers",
        meaning: "crates and modules use what xtask/src/layers.rs and floors.rs allow them",
        tools: &[],
        run: layers::check,
    },
    Check { name: "test", meaning: "all tests pass, doctests included", tools: &[], run: test },
    Check {
        name: "test-examples",
        meaning: "the tests of examples pass, with clients and servers of their own",
        tools: &[],
        run: test_examples,
    },
    Check {
        name: "docs",
        meaning: "rustdoc builds, links lead somewhere, and map and tables agree with the code",
        tools: &[],
        run: docs::check,
    },
    Check {
        name: "deny",
        meaning: "licences, duplicates and sources are those of deny.toml",
        tools: &[tools::CARGO_DENY],
        run: deny,
    },
    Check {
        name: "client-curl",
        meaning: "curl gets the right answer to each mistake",
        tools: &[tools::CURL],
        run: clients::curl,
    },
    Check {
        name: "client-python",
        meaning: "Python's websockets connects, pings and is told 1001",
        tools: &[tools::PYTHON_WEBSOCKETS],
        run: clients::python,
    },
    Check {
        name: "client-websocket-client",
        meaning: "Python's websocket-client sends the server's own origin, and \"self\" lets it in",
        tools: &[tools::WEBSOCKET_CLIENT],
        run: clients::websocket_client,
    },
    Check {
        name: "client-h2",
        meaning: "Python's h2 opens WebSockets on streams of HTTP/2, in the clear and within TLS",
        tools: &[tools::PYTHON_H2],
        run: clients::python_h2,
    },
    Check {
        name: "client-node",
        meaning: "npm's ws connects, pings and is told 1001",
        tools: &[tools::NODE_WS],
        run: clients::node,
    },
    Check {
        name: "client-websocat",
        meaning: "websocat connects, stays and is told 1001",
        tools: &[tools::WEBSOCAT, tools::PYTHON],
        run: clients::websocat,
    },
    Check {
        name: "client-chromium",
        meaning: "a page on an allowed origin connects, and one on another does not",
        tools: &[tools::CHROMIUM, tools::PYTHON],
        run: clients::chromium,
    },
    Check {
        name: "client-chromium-tls",
        meaning: "a page opens sockets within TLS, over HTTP/2 where it has loaded something before",
        tools: &[tools::CHROMIUM, tools::PYTHON],
        run: clients::chromium_tls,
    },
    Check {
        name: "client-admin-page",
        meaning: "the admin page shows in Chromium what is true, on a phone and to a screen reader",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::admin_page,
    },
    Check {
        name: "client-browser-module",
        meaning: "the module of examples/browser waits, comes back and stops as its tables say",
        tools: &[tools::NODE],
        run: clients::browser_module,
    },
    Check {
        name: "client-browser",
        meaning: "the page of examples/browser is back in Chromium after restarts, kills, refusals",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::browser,
    },
    Check {
        name: "prometheus",
        meaning: "promtool accepts the metrics and the alerts, and the alerts pass their tests",
        tools: &[tools::PROMTOOL, tools::PYTHON_WEBSOCKETS],
        run: clients::promtool,
    },
    Check {
        name: "proxies",
        meaning: "nginx, HAProxy and Caddy by their examples: addresses, idleness, 1001, restarts",
        tools: &[tools::NGINX, tools::HAPROXY, tools::CADDY, tools::PYTHON_WEBSOCKETS],
        run: clients::proxies,
    },
    Check {
        name: "proxies-h2",
        meaning: "HAProxy by its example with HTTP/2: the same, shared connections, bad neighbours",
        tools: &[tools::HAPROXY, tools::PYTHON_WEBSOCKETS, tools::PYTHON_H2],
        run: clients::proxies_h2,
    },
    Check {
        name: "bench-short",
        meaning: "the benchmark measures what it says, on the server in each way and on the floor",
        tools: &[],
        run: || {
            let peers = "ws-status,ws-status-tls,ws-status-h2,ws-status-h2-tls,floor";
            let modes = "connect,ping-16,absorb,drain,fan-out";
            bench::run(&["--quick", "--peers", peers, "--modes", modes])
        },
    },
    Check {
        name: "chaos-short",
        meaning: "ten seconds of the real binary among hostile clients",
        tools: &[],
        run: || chaos::run(10),
    },
    Check {
        name: "units",
        meaning: "systemd accepts the units, and the manifests agree with their settings",
        tools: &[tools::SYSTEMD_ANALYZE, tools::PYTHON_YAML],
        run: clients::units,
    },
    Check {
        name: "nats",
        meaning: "nodes with a NATS bucket behind HAProxy: all restarted in turn, no state out of order",
        tools: &[tools::NATS_SERVER, tools::HAPROXY, tools::PYTHON_WEBSOCKETS],
        run: clients::nats,
    },
];

/// Checks of the same kind that are no part of `ci`: they take minutes, and judge times, for which the
/// machine has to be quiet.
const APART: &[Check] = &[
    Check {
        name: "floods",
        meaning: "nobody else waits while three clients send as fast as they can",
        tools: &[],
        run: chaos::floods,
    },
    Check {
        name: "slow-links",
        meaning: "who reads as fast as a slow link lets them is not cut, and is told what is new",
        tools: &[tools::NAMESPACES, tools::PYTHON_H2],
        run: clients::slow_links,
    },
];

/// A search that goes on for as long as it is told to, and is no part of `ci`.
struct Search {
    name: &'static str,
    meaning: &'static str,
    run: fn(u64) -> Result<(), Failure>,
}

const SEARCHES: &[Search] = &[
    Search {
        name: "chaos",
        meaning: "the real binary among thousands of hostile clients",
        run: chaos::run,
    },
    Search {
        name: "fuzz",
        meaning: "random inputs against what always holds, on the nightly toolchain",
        run: fuzz::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["ci"] => ci(Missing::Skip),
        ["ci", "--all"] => ci(Missing::Fail),
        ["bench", options @ ..] => bench::run(options),
        ["semver"] => semver::run(None),
        ["semver", revision] => semver::run(Some(revision)),
        [name, "--seconds", seconds] => {
            let search = SEARCHES.iter().find(|search| search.name == *name);
            match (search, seconds.parse()) {
                (Some(search), Ok(seconds)) => (search.run)(seconds),
                _ => return usage(),
            }
        }
        [name] => match CHECKS.iter().chain(APART).find(|check| check.name == *name) {
            Some(check) => run(check, Missing::Fail).map(|_| ()),
            None => return usage(),
        },
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What becomes of a check whose tool is missing.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Fail,
    Skip,
}

fn ci(missing: Missing) -> Result<(), Failure> {
    let mut skipped = Vec::new();
    for check in CHECKS {
        skipped.extend(run(check, missing)?);
    }
    println!();
    for (name, tool) in &skipped {
        println!("skipped {name}: there is no {}; install it with: {}", tool.name, tool.install);
    }
    println!("{} checks passed, {} skipped", CHECKS.len() - skipped.len(), skipped.len());
    Ok(())
}

/// Runs a check, or says which tool it lacks.
fn run(
    check: &'static Check,
    missing: Missing,
) -> Result<Option<(&'static str, &'static Tool)>, Failure> {
    println!("\n== {}: {}", check.name, check.meaning);
    if let Some(tool) = check.tools.iter().find(|tool| !tool.is_there()) {
        let Tool { name, install, .. } = tool;
        return match missing {
            Missing::Fail => Err(Failure::new(format!("{} needs {name}", check.name), *install)),
            Missing::Skip => {
                println!("skipped: there is no {name}");
                Ok(Some((check.name, tool)))
            }
        };
    }
    (check.run)().map(|()| None)
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask COMMAND\n");
    eprintln!("  {:16} all of these; a check whose tool is missing is skipped", "ci");
    eprintln!("  {:16} all of these; a missing tool is a failure", "ci --all");
    for Check { name, meaning, .. } in CHECKS {
        eprintln!("  {name:16} {meaning}");
    }
    eprintln!("\nand these with --seconds N:\n");
    for Search { name, meaning, .. } in SEARCHES {
        eprintln!("  {name:16} {meaning}");
    }
    eprintln!("\nand these, which are no part of ci either:\n");
    let bench = "our server beside others, in figures and plots; its own file says the options";
    eprintln!("  {:16} {bench}", "bench");
    let semver = "what has changed in ws-core and transport since the latest tag, or a REVISION";
    eprintln!("  {:16} {semver}", "semver");
    for Check { name, meaning, .. } in APART {
        eprintln!("  {name:16} {meaning}");
    }
    ExitCode::FAILURE
}

fn fmt() -> Result<(), Failure> {
    for folder in [".", "bench", "examples", "fuzz"] {
        let manifest = &format!("{folder}/Cargo.toml");
        let remedy = format!("run `cargo fmt --all --manifest-path {manifest}`");
        cargo(&["fmt", "--all", "--check", "--manifest-path", manifest], &remedy)?;
    }
    Ok(())
}

fn lint() -> Result<(), Failure> {
    let everything: &[&str] = &["--workspace", "--all-targets"];
    // Its one feature is a default.
    let without_features: &[&str] =
        &["--package", "server", "--no-default-features", "--all-targets"];
    for what in [everything, without_features] {
        let words = [&["clippy", "--locked", "--quiet"], what, &["--", "-D", "warnings"]].concat();
        cargo(&words, "mend what clippy names above, or `#[expect]` it with a reason")?;
    }
    Ok(())
}

/// The same for a workspace beside ours.
fn lint_beside(folder: &str) -> Result<(), Failure> {
    let manifest = format!("{folder}/Cargo.toml");
    let words = ["cargo", "clippy", "--manifest-path", &manifest, "--workspace", "--locked"];
    let lints = ["--quiet", "--all-targets", "--", "-D", "warnings"];
    let mut clippy = command(&[&words[..], &lints].concat());
    succeed(clippy.env("CARGO_TARGET_DIR", target()), "mend what clippy names above")
}

fn deny() -> Result<(), Failure> {
    // It looks at the crates of every target, and a build has fetched those of one.
    cargo(&["fetch", "--locked", "--quiet"], "see what cargo says")?;
    let arguments = ["deny", "--offline", "check", "licenses", "bans", "sources"];
    cargo(&arguments, "choose another crate or version, or change deny.toml and say why")
}

fn test() -> Result<(), Failure> {
    cargo(&["test", "--workspace", "--locked"], "mend what the failing test above names")
}

fn test_examples() -> Result<(), Failure> {
    let manifest = "examples/Cargo.toml";
    let words = ["cargo", "test", "--manifest-path", manifest, "--workspace", "--locked"];
    let mut test = command(&words);
    succeed(test.env("CARGO_TARGET_DIR", target()), "mend what the failing test above names")
}
