//! Starting programs, and saying what to do when one fails or is missing.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A check that failed: what, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    remedy: String,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nwhat to do: {}", self.what, self.remedy)
    }
}

/// A program that a check needs and a machine with only Rust may not have.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
    /// A command that succeeds where it is there.
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
    install: "apt-get install nodejs, or nodejs.org where that is older",
    probe: &["node", "-e", "require('node:test').mock.timers.enable({ apis: ['Date'] })"],
};
pub(crate) const NODE_WS: Tool = Tool {
    name: "npm's ws",
    install: "npm install --prefix target/node ws",
    probe: &["node", "-e", "require('ws')"],
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
pub(crate) const NATS_SERVER: Tool = Tool {
    name: "nats-server",
    install: "apt-get install nats-server",
    probe: &["nats-server", "--version"],
};
pub(crate) const NAMESPACES: Tool = Tool {
    name: "network namespaces and TUN devices",
    install: "apt-get install iproute2 util-linux, and run this as root where there is /dev/net/tun",
    probe: &["unshare", "--net", "ip", "tuntap", "add", "dev", "probe", "mode", "tun"],
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
    pub(crate) fn is_there(&self) -> bool {
        command(self.probe)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The target folder, which the workspaces beside ours share. Cargo has put this program into a
/// folder of its own there, wherever that is.
pub(crate) fn target() -> PathBuf {
    let here = env::current_exe().unwrap_or_default();
    here.ancestors().nth(2).unwrap_or(&here).to_owned()
}

/// A command that runs in the workspace's folder. `cargo` is the one that started us, and node
/// finds the packages that were installed for the checks.
pub(crate) fn command(words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().unwrap_or((&"false", &[]));
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

/// Runs cargo; `remedy` says what to do if it fails.
pub(crate) fn cargo(arguments: &[&str], remedy: &str) -> Result<(), Failure> {
    let words = [&["cargo"], arguments].concat();
    succeed(&mut command(&words), remedy)
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command, remedy: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{} failed ({status})", line(command)), remedy)),
        Err(error) => {
            Err(Failure::new(format!("{} did not start: {error}", line(command)), remedy))
        }
    }
}

/// What a command that has to succeed prints.
pub(crate) fn output(command: &mut Command, remedy: &str) -> Result<String, Failure> {
    let output = command.output();
    let failure = |why: String| Failure::new(format!("{} failed: {why}", line(command)), remedy);
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(failure(String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(error) => Err(failure(error.to_string())),
    }
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    format!("`{}`", words.join(" "))
}
