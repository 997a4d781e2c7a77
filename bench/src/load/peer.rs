//! The servers that are compared: their commands and their versions.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modes::{COMPRESSION, Size};
use super::protocol::{Certificate, Http, Protocol};

/// The peer to which the others are compared.
pub const OURS: &str = "ws-status";

/// A server that can be started here.
pub struct Peer {
    pub name: &'static str,
    pub version: String,
    pub protocol: Protocol,
    /// The modes in which it is measured, or `None` for all.
    pub modes: Option<&'static [&'static str]>,
    /// Whether it can broadcast what is published.
    pub can_publish: bool,
    /// Whether it compresses messages for clients that offer permessage-deflate.
    pub compresses: bool,
    command: Box<dyn Fn(Ports, u64) -> Command>,
}

/// Free ports for a peer.
#[derive(Clone, Copy)]
pub struct Ports {
    pub sessions: u16,
    /// A port for the peer's own use.
    pub own: u16,
    /// The port of its publisher, if it broadcasts.
    pub publisher: Option<u16>,
}

impl Peer {
    /// Whether it is our server over TLS or HTTP/2; the peers use HTTP/1.1 without TLS.
    #[must_use]
    pub fn is_protocol_variant(&self) -> bool {
        !self.protocol.is_plain()
    }

    /// The command that starts it. A ping interval of 0 disables pings.
    #[must_use]
    pub fn command(&self, ports: Ports, ping_interval: u64) -> Command {
        (self.command)(ports, ping_interval)
    }
}

/// The folders that the benchmark uses.
pub struct Paths {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's target folder, which also has the npm packages.
    pub target: PathBuf,
}

/// The peers without a publisher.
const WITHOUT_PUBLISHER: &[&str] = &["fastwebsockets", "tokio-floor", "websockets"];

/// A peer that may not be installed.
struct Candidate {
    name: &'static str,
    /// The command line, up to the port.
    command_line: Vec<String>,
    /// The program or script; without it the peer is skipped.
    file: PathBuf,
    version: Option<String>,
    compresses: bool,
    /// As in [`Peer`].
    modes: Option<&'static [&'static str]>,
}

/// Returns every peer that is installed, and a message about each that is not.
#[must_use]
pub fn all(paths: &Paths, size: Size) -> (Vec<Peer>, Vec<String>) {
    let mut peers = vec![own_server(paths, OURS, Protocol::PLAIN, None, "off")];
    let mut missing = Vec::new();
    peers.extend([("ws-status-fresh", "fresh"), ("ws-status-shared", "shared")].map(
        |(name, compression)| Peer {
            modes: Some(&[COMPRESSION]),
            ..own_server(paths, name, Protocol::PLAIN, None, compression)
        },
    ));
    match variants(paths, size) {
        Ok(variants) => peers.extend(variants),
        Err(error) => missing.push(format!("skipped TLS and HTTP/2: {error}")),
    }
    for candidate in candidates(paths) {
        let Candidate { name, command_line, file, version, compresses, modes } = candidate;
        match version.filter(|_| file.exists()) {
            Some(version) => {
                let modules = paths.target.join("node/node_modules");
                let command_for = move |ports: Ports, ping_interval: u64| {
                    let mut command = clean_command(&command_line[0]);
                    command.args(&command_line[1..]).args([ports.sessions.to_string()]);
                    command.arg(ping_interval.to_string()).env("NODE_PATH", &modules);
                    command.args(ports.publisher.map(|port| port.to_string()));
                    command.args(compresses.then_some("deflate"));
                    command
                };
                peers.push(Peer {
                    name,
                    version,
                    protocol: Protocol::PLAIN,
                    modes,
                    can_publish: !WITHOUT_PUBLISHER.contains(&name),
                    compresses,
                    command: Box::new(command_for),
                });
            }
            None => missing.push(format!("skipped {name}: not built or not installed")),
        }
    }
    (peers, missing)
}

/// Our server over the other protocols, in the modes in which the protocol matters. One session on each
/// HTTP/2 connection measures the cost of a connection.
fn variants(paths: &Paths, size: Size) -> Result<Vec<Peer>, Box<dyn Error>> {
    const FULL: &[&str] =
        &["memory", "connect", "ping-1", "ping-16", "absorb", "drain", "keep-alive"];
    const COSTS: &[&str] = &["memory", "connect"];
    // The last mode takes as long as all others together.
    let all = size.pick(&FULL[..FULL.len() - 1], FULL);
    let certificate = Certificate::generate(&paths.target.join("bench-certificate"))?;
    let [many, one] = [64, 1].map(|sessions| Http::Two { sessions });
    let plain = |http| Protocol { http, ..Protocol::PLAIN };
    let variants = [
        ("ws-status-tls", certificate.protocol(Http::One), all),
        ("ws-status-h2", plain(many), all),
        ("ws-status-h2-tls", certificate.protocol(many), all),
        ("ws-status-h2-1", plain(one), COSTS),
        ("ws-status-h2-tls-1", certificate.protocol(one), COSTS),
    ];
    let peers = variants.into_iter().map(|(name, protocol, modes)| Peer {
        modes: Some(modes),
        ..own_server(paths, name, protocol, Some(&certificate), "off")
    });
    Ok(peers.collect())
}

/// Our server, with log and metrics enabled. Only the rate limits for one client are off, because the
/// load generator exceeds them. The example `publish` is the same server with another handler,
/// and publishes on its admin listener.
fn own_server(
    paths: &Paths,
    name: &'static str,
    protocol: Protocol,
    certificate: Option<&Certificate>,
    compression: &'static str,
) -> Peer {
    let [program, publish] = ["server", "publish"].map(|it| paths.target.join("release").join(it));
    let version = first_line_of(&program, &["--version"]).unwrap_or_default();
    let can_publish = publish.exists();
    let files = certificate.filter(|_| protocol.tls.is_some()).map(|certificate| {
        let [cert, key] = [&certificate.cert, &certificate.key].map(|file| file.display());
        [format!("--tls-cert-file={cert}"), format!("--tls-key-file={key}")]
    });
    let command_for = move |ports: Ports, ping_interval: u64| {
        let Ports { sessions: port, own, publisher } = ports;
        let mut command = clean_command(if publisher.is_some() { &publish } else { &program });
        let ping_interval = if ping_interval == 0 { 3600 } else { ping_interval };
        let tls = if files.is_some() { "tls:" } else { "" };
        command.args([
            format!("--listen={tls}127.0.0.1:{port}"),
            format!("--admin-listen=127.0.0.1:{}", publisher.unwrap_or(own)),
            format!("--ping-interval-secs={ping_interval}"),
        ]);
        command.args(files.iter().flatten());
        command.args([
            "--log-format=json",
            "--max-message-bytes=65536",
            "--messages-per-second=0",
            "--control-frames-per-second=0",
        ]);
        command.arg(format!("--compression={compression}"));
        command
    };
    let (compresses, command) = (compression != "off", Box::new(command_for));
    Peer { name, version, protocol, modes: None, can_publish, compresses, command }
}

fn candidates(paths: &Paths) -> Vec<Candidate> {
    let Paths { root, target } = paths;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let lock = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (locked, locked_apart) = (lock("bench/Cargo.lock"), lock("bench/peers/rust/Cargo.lock"));
    let package = |name: &str| {
        let path = target.join("node/node_modules").join(name).join("package.json");
        let package: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some(package.get("version")?.as_str()?.to_owned())
    };
    let built = |name: &'static str, version: Option<String>| {
        let file = target.join("release").join(format!("peer-{name}"));
        let command_line = vec![text(file.clone())];
        Candidate { name, command_line, file, version, compresses: false, modes: None }
    };
    let script = |name: &'static str, program: &[&str], script: &str, version: Option<String>| {
        let file = root.join("bench/peers").join(script);
        let command_line = program.iter().map(|word| (*word).to_owned());
        Candidate {
            name,
            command_line: command_line.chain([text(file.clone())]).collect(),
            file,
            version,
            compresses: false,
            modes: None,
        }
    };
    // The same program with one more argument.
    let compressed = |name: &'static str, it: Candidate| Candidate {
        name,
        compresses: true,
        modes: Some(&[COMPRESSION]),
        ..it
    };
    let bun = text(target.join("node/node_modules/.bin/bun"));
    let node = first_line_of("node", &["--version"]);
    let go = first_line_of("go", &["version"]);
    let debian = |package: &str| first_line_of("dpkg-query", &["-W", "-f", "${Version}", package]);
    let gorilla = version_on(debian("golang-github-gorilla-websocket-dev"), go);
    // Without -P, Python would import the script instead of the package of the same name.
    let python = |name: &'static str, file: &str| {
        let version = format!(
            "import platform, importlib.metadata as m; \
             print(m.version('{name}'), 'on Python', platform.python_version())"
        );
        script(name, &["python3", "-P"], file, first_line_of("python3", &["-c", &version]))
    };
    let ws = || script("ws", &["node"], "ws.mjs", version_on(package("ws"), node.clone()));
    let bun = || script("bun", &[&bun], "bun.ts", package("bun"));
    let gorilla = || built("gorilla", gorilla.clone());
    vec![
        built("floor", Some("peer-floor.rs".to_owned())),
        Candidate {
            modes: Some(&["ping-1", "ping-16", "absorb"]),
            ..built("tokio-floor", Some("peer-tokio-floor.rs".to_owned()))
        },
        built("axum", locked_version(&locked, "axum")),
        built("tokio-tungstenite", locked_version(&locked, "tokio-tungstenite")),
        built("fastwebsockets", locked_version(&locked, "fastwebsockets")),
        built("yawc", locked_version(&locked_apart, "yawc")),
        built("sockudo-ws", locked_version(&locked_apart, "sockudo-ws")),
        built("tokio-websockets", locked_version(&locked_apart, "tokio-websockets")),
        built("ntex", locked_version(&locked_apart, "ntex")),
        built("uwebsockets", locked_version(&locked_apart, "libuwebsockets-sys")),
        built("beast", debian("libboost-dev")),
        ws(),
        compressed("ws-deflate", ws()),
        bun(),
        compressed("bun-deflate", bun()),
        python("websockets", "websockets.py"),
        python("picows", "picows.py"),
        python("socketify", "socketify.py"),
        gorilla(),
        compressed("gorilla-deflate", gorilla()),
    ]
}

fn version_on(library: Option<String>, runtime: Option<String>) -> Option<String> {
    Some(format!("{} on {}", library?, runtime?))
}

/// Returns the version of a package in a `Cargo.lock`: the last entry, which is the newest version.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next().map(str::to_owned)
}

/// A command with only PATH and HOME of the environment, so that the environment does not affect
/// results.
fn clean_command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear();
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Returns the first line of a program's output, if it succeeds.
fn first_line_of(program: impl AsRef<Path>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program.as_ref()).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success())?;
    Some(line.trim().to_owned())
}
