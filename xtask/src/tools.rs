//! Runs programs, and reports how to fix a failure or a missing program.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A failed check: the problem, and how to fix it.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: String,
    remedy: String,
}

impl Failure {
    pub(crate) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nremedy: {}", self.problem, self.remedy)
    }
}

/// A program that a check needs, and that is not part of the Rust toolchain.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// A command that installs it.
    pub(crate) install: &'static str,
    /// A command that succeeds if it is installed.
    pub(crate) probe: &'static [&'static str],
}

pub(crate) const RUSTFMT: Tool = Tool {
    name: "rustfmt",
    install: "rustup component add rustfmt",
    probe: &["cargo", "fmt", "--version"],
};
pub(crate) const CLIPPY: Tool = Tool {
    name: "clippy",
    install: "rustup component add clippy",
    probe: &["cargo", "clippy", "--version"],
};
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    install: "cargo install cargo-deny --locked",
    probe: &["cargo", "deny", "--version"],
};
pub(crate) const CARGO_SEMVER_CHECKS: Tool = Tool {
    name: "cargo-semver-checks",
    install: "cargo install cargo-semver-checks --locked",
    probe: &["cargo", "semver-checks", "--version"],
};
pub(crate) const CARGO_CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    install: "cargo install cargo-cyclonedx --locked",
    probe: &["cargo", "cyclonedx", "--version"],
};
pub(crate) const CARGO_MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    install: "cargo install cargo-mutants --locked",
    probe: &["cargo", "mutants", "--version"],
};
pub(crate) const CXX: Tool =
    Tool { name: "a C++ compiler", install: "apt-get install g++", probe: &["c++", "--version"] };
pub(crate) const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz on the nightly toolchain",
    install: "rustup toolchain install nightly && cargo install cargo-fuzz --locked",
    probe: &["rustup", "run", "nightly", "cargo", "fuzz", "--version"],
};
pub(crate) const CURL: Tool =
    Tool { name: "curl", install: "apt-get install curl", probe: &["curl", "--version"] };
pub(crate) const PYTHON: Tool =
    Tool { name: "python3", install: "apt-get install python3", probe: &["python3", "--version"] };
pub(crate) const PYTHON_WEBSOCKETS: Tool = Tool {
    name: "Python's websockets",
    install: "python3 -m pip install websockets",
    probe: &["python3", "-c", "import websockets.asyncio.client"],
};
pub(crate) const WEBSOCKET_CLIENT: Tool = Tool {
    name: "Python's websocket-client",
    install: "python3 -m pip install websocket-client",
    probe: &["python3", "-c", "import websocket"],
};
pub(crate) const PYTHON_H2: Tool = Tool {
    name: "Python's h2 and wsproto",
    install: "python3 -m pip install h2 wsproto",
    probe: &["python3", "-c", "import h2.connection, wsproto"],
};
pub(crate) const NODE: Tool = Tool {
    name: "Node.js 20.11 or later",
    install: "apt-get install nodejs, or nodejs.org if that is older",
    probe: &["node", "-e", "require('node:test').mock.timers.enable({ apis: ['Date'] })"],
};
pub(crate) const NODE_WS: Tool = Tool {
    name: "npm's ws",
    install: "npm install --prefix target/node ws",
    probe: &["node", "-e", "require('ws')"],
};
pub(crate) const NPM_PACKAGES: Tool = Tool {
    name: "React, Svelte and TypeScript of npm",
    install: "node xtask/clients/npm_packages.cjs --install",
    probe: &["node", "xtask/clients/npm_packages.cjs"],
};
pub(crate) const WEBSOCAT: Tool = Tool {
    name: "websocat",
    install: "cargo install websocat --locked --no-default-features",
    probe: &["websocat", "--version"],
};
pub(crate) const CHROMIUM: Tool = Tool {
    name: "chromium",
    install: "apt-get install chromium",
    probe: &["chromium", "--version"],
};

pub(crate) const PROMTOOL: Tool = Tool {
    name: "promtool",
    install: "apt-get install --no-install-recommends prometheus",
    probe: &["promtool", "--version"],
};

pub(crate) const NGINX: Tool =
    Tool { name: "nginx", install: "apt-get install nginx", probe: &["nginx", "-v"] };
pub(crate) const HAPROXY: Tool =
    Tool { name: "HAProxy", install: "apt-get install haproxy", probe: &["haproxy", "-v"] };
pub(crate) const CADDY: Tool =
    Tool { name: "Caddy", install: "apt-get install caddy", probe: &["caddy", "version"] };
pub(crate) const OPENSSL: Tool =
    Tool { name: "openssl", install: "apt-get install openssl", probe: &["openssl", "version"] };
pub(crate) const NATS_SERVER: Tool = Tool {
    name: "nats-server",
    install: "apt-get install nats-server",
    probe: &["nats-server", "--version"],
};
pub(crate) const NAMESPACES: Tool = Tool {
    name: "network namespaces and TUN devices",
    install: "apt-get install iproute2 util-linux, and run as root on a machine with /dev/net/tun",
    probe: &["unshare", "--net", "ip", "tuntap", "add", "dev", "probe", "mode", "tun"],
};
pub(crate) const VALGRIND: Tool = Tool {
    name: "valgrind",
    install: "apt-get install valgrind",
    probe: &["valgrind", "--version"],
};
pub(crate) const SYSTEMD_ANALYZE: Tool = Tool {
    name: "systemd-analyze",
    install: "apt-get install systemd",
    probe: &["systemd-analyze", "--version"],
};
pub(crate) const PYTHON_YAML: Tool = Tool {
    name: "Python's yaml",
    install: "python3 -m pip install pyyaml",
    probe: &["python3", "-c", "import yaml"],
};

impl Tool {
    pub(crate) fn is_installed(&self) -> bool {
        command(self.probe)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The target folder, which all workspaces of the repository share. Found from the path of this program,
/// which cargo puts into a subfolder of it.
pub(crate) fn target() -> PathBuf {
    let here = env::current_exe().unwrap_or_default();
    here.ancestors().nth(2).unwrap_or(&here).to_owned()
}

/// A command that runs in the folder of the workspace. `cargo` is the cargo that started this program,
/// and `NODE_PATH` is the folder with the npm packages of the checks.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let (program, arguments) = arguments.split_first().unwrap_or((&"false", &[]));
    let mut command = match (*program, env::var_os("CARGO")) {
        ("cargo", Some(cargo)) => Command::new(cargo),
        (program, _) => Command::new(program),
    };
    command
        .args(arguments)
        .current_dir(root())
        .env("NODE_PATH", root().join("target/node/node_modules"));
    command
}

/// Runs cargo; `remedy` is reported if it fails.
pub(crate) fn cargo(arguments: &[&str], remedy: &str) -> Result<(), Failure> {
    let arguments = [&["cargo"], arguments].concat();
    succeed(&mut command(&arguments), remedy)
}

/// Runs a command, which has to succeed.
pub(crate) fn succeed(command: &mut Command, remedy: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(format!("{} failed ({status})", command_line(command)), remedy))
        }
        Err(error) => {
            Err(Failure::new(format!("{} did not start: {error}", command_line(command)), remedy))
        }
    }
}

/// Runs a command, which has to succeed, and returns its output.
pub(crate) fn output(command: &mut Command, remedy: &str) -> Result<String, Failure> {
    let output = command.output();
    let failure =
        |why: String| Failure::new(format!("{} failed: {why}", command_line(command)), remedy);
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(failure(String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(error) => Err(failure(error.to_string())),
    }
}

fn command_line(command: &Command) -> String {
    let mut arguments = vec![command.get_program().to_string_lossy()];
    arguments.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    format!("`{}`", arguments.join(" "))
}
