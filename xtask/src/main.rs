//! The checks of the project: `cargo xtask ci` runs them all, and each is a separate command.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod bench;
mod browser;
mod chaos;
mod clients;
mod code_map;
mod concurrency;
mod dist;
mod docs;
mod files;
mod floors;
mod fuzz;
mod instructions;
mod layers;
mod modules;
mod mutants;
mod requirements;
mod semver;
mod tools;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use crate::tools::{Failure, Tool, cargo, command, succeed, target};

/// A check with a name.
struct Check {
    name: &'static str,
    meaning: &'static str,
    /// The tools that it needs. Without them `ci` skips the check, and `ci --all` fails.
    tools: &'static [Tool],
    run: fn() -> Result<(), Failure>,
}

const CHECKS: &[Check] = &[
    Check { name: "fmt", meaning: "the code is formatted", tools: &[tools::RUSTFMT], run: fmt },
    Check { name: "lint", meaning: "clippy reports nothing", tools: &[tools::CLIPPY], run: lint },
    Check {
        name: "lint-bench",
        meaning: "clippy reports nothing in bench",
        tools: &[tools::CLIPPY],
        run: || lint_workspace("bench"),
    },
    Check {
        name: "lint-examples",
        meaning: "clippy reports nothing in examples",
        tools: &[tools::CLIPPY],
        run: || lint_workspace("examples"),
    },
    Check {
        name: "lint-fuzz",
        meaning: "clippy reports nothing in fuzz",
        tools: &[tools::CLIPPY, tools::CXX],
        run: || lint_workspace("fuzz"),
    },
    Check {
        name: "layers",
        meaning: "crates and modules depend only on what xtask/src/layers.rs and floors.rs allow",
        tools: &[],
        run: layers::check,
    },
    Check {
        name: "requirements",
        meaning: "code and tests cite each requirement of the RFCs, and docs/conformance.md is current",
        tools: &[],
        run: requirements::check,
    },
    Check { name: "test", meaning: "all tests pass, doctests included", tools: &[], run: test },
    Check {
        name: "test-bench",
        meaning: "the tests of bench pass",
        tools: &[],
        // In release mode, as the programs of bench, so that their dependencies are built once.
        run: || test_workspace("bench", &["--release", "--lib"]),
    },
    Check {
        name: "test-examples",
        meaning: "the tests of examples pass",
        tools: &[],
        run: || test_workspace("examples", &["--workspace"]),
    },
    Check {
        name: "docs",
        meaning: "rustdoc builds, links are valid, and the code map and tables match the code",
        tools: &[],
        run: docs::check,
    },
    Check {
        name: "generated",
        meaning: "the schema, the example file, completions, the man page and the manual's table are current",
        tools: &[],
        run: dist::check_generated,
    },
    Check {
        name: "deny",
        meaning: "licences, duplicates and sources conform to deny.toml",
        tools: &[tools::CARGO_DENY],
        run: deny,
    },
    Check {
        name: "client-curl",
        meaning: "curl: each kind of refusal, the handshake, and 1001 on SIGTERM",
        tools: &[tools::CURL],
        run: clients::curl,
    },
    Check {
        name: "client-python",
        meaning: "Python's websockets connects, pings and is closed with 1001",
        tools: &[tools::PYTHON_WEBSOCKETS],
        run: clients::python,
    },
    Check {
        name: "client-websocket-client",
        meaning: "Python's websocket-client sends the server's own origin, and \"self\" allows it",
        tools: &[tools::WEBSOCKET_CLIENT],
        run: clients::websocket_client,
    },
    Check {
        name: "client-h2",
        meaning: "Python's h2 opens WebSockets on HTTP/2 streams, with and without TLS",
        tools: &[tools::PYTHON_H2],
        run: clients::python_h2,
    },
    Check {
        name: "client-node",
        meaning: "npm's ws connects, pings and is closed with 1001",
        tools: &[tools::NODE_WS],
        run: clients::node,
    },
    Check {
        name: "client-websocat",
        meaning: "websocat connects, answers pings and is closed with 1001",
        tools: &[tools::WEBSOCAT, tools::PYTHON],
        run: clients::websocat,
    },
    Check {
        name: "client-chromium",
        meaning: "a page of an allowed origin connects, and one of another origin does not",
        tools: &[tools::CHROMIUM, tools::PYTHON],
        run: clients::chromium,
    },
    Check {
        name: "client-chromium-tls",
        meaning: "a page opens sockets over TLS, and over HTTP/2 after it has loaded a resource",
        tools: &[tools::CHROMIUM, tools::PYTHON],
        run: clients::chromium_tls,
    },
    Check {
        name: "client-admin-page",
        meaning: "the admin page is correct in Chromium, on a phone and for a screen reader",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::admin_page,
    },
    Check {
        name: "client-browser-module",
        meaning: "the module of examples/browser waits, reconnects and stops as its tables define",
        tools: &[tools::NODE],
        run: browser::module,
    },
    Check {
        name: "client-browser-bindings",
        meaning: "the module's bindings for React and Svelte, its types and its package are correct",
        tools: &[tools::NODE, tools::NPM_PACKAGES],
        run: browser::bindings,
    },
    Check {
        name: "client-browser",
        meaning: "the page of examples/browser reconnects after restarts, kills and refusals",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::browser,
    },
    Check {
        name: "client-browser-shared",
        meaning: "ten tabs share a connection, by worker and by lock, and lose no state with its holder",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::browser_shared,
    },
    Check {
        name: "client-teams",
        meaning: "a page of a user who is logged in shows the state of the team, until the logout",
        tools: &[tools::CHROMIUM, tools::PYTHON_WEBSOCKETS],
        run: clients::teams,
    },
    Check {
        name: "client-compression",
        meaning: "ten thousand random states, compressed, reach each kind of client byte for byte",
        tools: &[tools::CHROMIUM, tools::NODE_WS, tools::PYTHON_WEBSOCKETS],
        run: clients::compression,
    },
    Check {
        name: "client-handover",
        meaning: "clients outlive upgrades of their server: every state once, every ping answered, no close",
        tools: &[tools::CHROMIUM, tools::NODE_WS, tools::PYTHON_WEBSOCKETS],
        run: clients::handover,
    },
    Check {
        name: "prometheus",
        meaning: "promtool accepts the metrics and the alerts, and the alerts pass their tests",
        tools: &[tools::PROMTOOL, tools::PYTHON_WEBSOCKETS],
        run: clients::promtool,
    },
    Check {
        name: "proxies",
        meaning: "the examples for nginx, HAProxy and Caddy: addresses, idle limits, 1001, restarts, identities",
        tools: &[
            tools::NGINX,
            tools::HAPROXY,
            tools::CADDY,
            tools::OPENSSL,
            tools::PYTHON_WEBSOCKETS,
        ],
        run: clients::proxies,
    },
    Check {
        name: "proxies-h2",
        meaning: "the example for HAProxy with HTTP/2: the same, shared connections, bad requests",
        tools: &[tools::HAPROXY, tools::PYTHON_WEBSOCKETS, tools::PYTHON_H2],
        run: clients::proxies_h2,
    },
    Check {
        name: "doctor",
        meaning: "the doctor objects to no example for a proxy, and names each directive that is missing",
        tools: &[
            tools::NGINX,
            tools::HAPROXY,
            tools::CADDY,
            tools::OPENSSL,
            tools::PYTHON_WEBSOCKETS,
        ],
        run: clients::doctor,
    },
    Check {
        name: "bench-short",
        meaning: "the benchmark succeeds, for the server over each protocol, with each compression, \
            and for the floor",
        tools: &[],
        run: || {
            let peers = "ws-status,ws-status-tls,ws-status-h2,ws-status-h2-tls,\
                ws-status-fresh,ws-status-shared,floor";
            let modes = "connect,ping-16,absorb,drain,fan-out,fan-out-json";
            bench::run(&["--quick", "--peers", peers, "--modes", modes])
        },
    },
    Check {
        name: "chaos-short",
        meaning: "ten seconds of the binary under misbehaving clients",
        tools: &[],
        run: || chaos::run(10),
    },
    Check {
        name: "units",
        meaning: "systemd accepts the units, and the manifests are consistent with their settings",
        tools: &[tools::SYSTEMD_ANALYZE, tools::PYTHON_YAML],
        run: clients::units,
    },
    Check {
        name: "nats",
        meaning: "nodes with a NATS bucket behind HAProxy: rolling restart, no state out of order",
        tools: &[tools::NATS_SERVER, tools::HAPROXY, tools::PYTHON_WEBSOCKETS],
        run: clients::nats,
    },
];

/// Checks that are not part of `ci`: they take minutes, measure times, which needs an idle machine, or only
/// print figures.
const SEPARATE: &[Check] = &[
    Check {
        name: "concurrency",
        meaning: "loom finds no lost wake-up, no missed phase and no session with two owners",
        tools: &[],
        run: concurrency::run,
    },
    Check {
        name: "instructions",
        meaning: "the instructions that a session takes for a ping and for a message",
        tools: &[tools::VALGRIND],
        run: instructions::run,
    },
    Check {
        name: "floods",
        meaning: "other clients are not delayed while three clients flood the server",
        tools: &[],
        run: chaos::floods,
    },
    Check {
        name: "reconnects",
        meaning: "what 2,000 feeds do in each second after a restart, told when to come back and not",
        tools: &[tools::NODE],
        run: bench::reconnects,
    },
    Check {
        name: "slow-links",
        meaning: "a client that reads as fast as its slow link permits stays open and gets new states",
        tools: &[tools::NAMESPACES, tools::PYTHON_H2],
        run: clients::slow_links,
    },
    Check {
        name: "test-fuzz",
        meaning: "no kept input of the fuzzer fails",
        tools: &[tools::CXX],
        // The library only: the targets need the fuzzer.
        run: || test_workspace("fuzz", &["--lib"]),
    },
];

/// A check that runs for a given time, and is not part of `ci`.
struct TimedCheck {
    name: &'static str,
    meaning: &'static str,
    run: fn(u64) -> Result<(), Failure>,
}

const TIMED_CHECKS: &[TimedCheck] = &[
    TimedCheck {
        name: "chaos",
        meaning: "the binary under thousands of misbehaving clients",
        run: chaos::run,
    },
    TimedCheck {
        name: "concurrency",
        meaning: "the models of concurrency with more preemptions, each for this time at most",
        run: concurrency::run_longer,
    },
    TimedCheck {
        name: "fuzz",
        meaning: "the fuzz targets, on the nightly toolchain",
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
        ["browser-types"] => browser::write_declarations(),
        ["dist"] => dist::run(),
        ["fuzz", "--minimize"] => fuzz::minimize(),
        ["handover", options @ ..] => bench::handover(options),
        ["mutants", name] => mutants::run(name, None),
        ["mutants", name, area] => mutants::run(name, Some(area)),
        ["requirements", "--write"] => requirements::write(),
        ["scale", options @ ..] => bench::scale(options),
        ["semver"] => semver::run(None),
        ["semver", revision] => semver::run(Some(revision)),
        ["soak", options @ ..] => bench::soak(options),
        [name, "--seconds", seconds] => {
            let check = TIMED_CHECKS.iter().find(|check| check.name == *name);
            match (check, seconds.parse()) {
                (Some(check), Ok(seconds)) => (check.run)(seconds),
                _ => return usage(),
            }
        }
        [name] => match CHECKS.iter().chain(SEPARATE).find(|check| check.name == *name) {
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

/// The handling of a check whose tool is missing.
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
        println!("skipped {name}: {} is missing; install it with: {}", tool.name, tool.install);
    }
    println!("{} checks passed, {} skipped", CHECKS.len() - skipped.len(), skipped.len());
    Ok(())
}

/// Runs a check, or returns the tool that is missing.
fn run(
    check: &'static Check,
    missing: Missing,
) -> Result<Option<(&'static str, &'static Tool)>, Failure> {
    println!("\n== {}: {}", check.name, check.meaning);
    if let Some(tool) = check.tools.iter().find(|tool| !tool.is_installed()) {
        let Tool { name, install, .. } = tool;
        return match missing {
            Missing::Fail => Err(Failure::new(format!("{} needs {name}", check.name), *install)),
            Missing::Skip => {
                println!("skipped: {name} is missing");
                Ok(Some((check.name, tool)))
            }
        };
    }
    let began = Instant::now();
    (check.run)()?;
    println!("{} took {} s", check.name, began.elapsed().as_secs());
    Ok(None)
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask COMMAND\n");
    eprintln!("  {:24} all of these; skips a check whose tool is missing", "ci");
    eprintln!("  {:24} all of these; fails if a tool is missing", "ci --all");
    for Check { name, meaning, .. } in CHECKS {
        eprintln!("  {name:24} {meaning}");
    }
    eprintln!("\nand these with --seconds N:\n");
    for TimedCheck { name, meaning, .. } in TIMED_CHECKS {
        eprintln!("  {name:24} {meaning}");
    }
    eprintln!("\nand these, which are not part of ci:\n");
    let bench = "our server compared with others; options: see bench/src/bin/bench.rs";
    eprintln!("  {:24} {bench}", "bench");
    let types = "writes the declarations of examples/browser from the comments of the module";
    eprintln!("  {:24} {types}", "browser-types");
    let dist = "the release binaries with checksums, bills of materials, man page and completions";
    eprintln!("  {:24} {dist}", "dist");
    let minimize = "replaces the kept inputs of the fuzz targets by as few as reach the same code";
    eprintln!("  {:24} {minimize}", "fuzz --minimize");
    let handover = "upgrades that clients must not notice; options: see bench/src/bin/handover.rs";
    eprintln!("  {:24} {handover}", "handover");
    let mutants = "changes to a CRATE, or to an AREA of it, that no test detects; all take hours";
    eprintln!("  {:24} {mutants}", "mutants");
    let page = "writes docs/conformance.md";
    eprintln!("  {:24} {page}", "requirements --write");
    let scale = "a hundred thousand sessions on this machine; options: see bench/src/bin/scale.rs";
    eprintln!("  {:24} {scale}", "scale");
    let semver = "breaking changes in the libraries since the latest tag, or a REVISION";
    eprintln!("  {:24} {semver}", "semver");
    let soak = "mixed life for --minutes N, with leaks found; options: see bench/src/bin/soak.rs";
    eprintln!("  {:24} {soak}", "soak");
    for Check { name, meaning, .. } in SEPARATE {
        eprintln!("  {name:24} {meaning}");
    }
    ExitCode::FAILURE
}

fn fmt() -> Result<(), Failure> {
    for folder in [".", "bench", "bench/peers/rust", "examples", "fuzz"] {
        let manifest = &format!("{folder}/Cargo.toml");
        let remedy = format!("run `cargo fmt --all --manifest-path {manifest}`");
        cargo(&["fmt", "--all", "--check", "--manifest-path", manifest], &remedy)?;
    }
    Ok(())
}

fn lint() -> Result<(), Failure> {
    let everything = &["--workspace", "--all-targets", "--features", "broadcast/prometheus"];
    // The server has one feature, which is enabled by default; broadcast has one, which is not.
    let without_features = &[
        "--package",
        "server",
        "--package",
        "broadcast",
        "--no-default-features",
        "--all-targets",
    ];
    for what in [&everything[..], without_features] {
        let arguments =
            [&["clippy", "--locked", "--quiet"], what, &["--", "-D", "warnings"]].concat();
        cargo(&arguments, "fix the warnings above, or `#[expect]` them with a reason")?;
    }
    Ok(())
}

/// Lints another workspace of the repository.
fn lint_workspace(folder: &str) -> Result<(), Failure> {
    let manifest = format!("{folder}/Cargo.toml");
    let arguments = ["cargo", "clippy", "--manifest-path", &manifest, "--workspace", "--locked"];
    let lints = ["--quiet", "--all-targets", "--", "-D", "warnings"];
    let mut clippy = command(&[&arguments[..], &lints].concat());
    succeed(clippy.env("CARGO_TARGET_DIR", target()), "fix the warnings above")
}

fn deny() -> Result<(), Failure> {
    // cargo-deny reads the crates of every target, but a build fetches only those of one.
    cargo(&["fetch", "--locked", "--quiet"], "see the message of cargo")?;
    let arguments = ["deny", "--offline", "check", "licenses", "bans", "sources"];
    cargo(&arguments, "choose another crate or version, or change deny.toml with a reason")
}

fn test() -> Result<(), Failure> {
    let features = ["--features", "broadcast/prometheus"];
    let arguments = [&["test", "--workspace", "--locked"], &features[..]].concat();
    cargo(&arguments, "fix the failing test above")
}

/// Runs the tests of another workspace of the repository.
fn test_workspace(folder: &str, options: &[&str]) -> Result<(), Failure> {
    let manifest = format!("{folder}/Cargo.toml");
    let arguments = ["cargo", "test", "--manifest-path", &manifest, "--locked"];
    let mut test = command(&[&arguments[..], options].concat());
    succeed(test.env("CARGO_TARGET_DIR", target()), "fix the failing test above")
}
