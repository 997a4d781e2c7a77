//! The servers that are compared: how each is started, and which version of it that is.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modes::Size;
use super::way::{Certificate, Http, Way};

/// The peer to which the others are compared.
pub const OURS: &str = "ws-status";

/// A server that can be started here.
pub struct Peer {
    pub name: &'static str,
    pub version: String,
    pub way: Way,
    /// The modes that it is measured in, if not in all.
    pub modes: Option<&'static [&'static str]>,
    /// Whether it can send what is published to all its sessions.
    pub can_publish: bool,
    command: Box<dyn Fn(Ports, u64) -> Command>,
}

/// Free ports for a peer.
#[derive(Clone, Copy)]
pub struct Ports {
    pub sessions: u16,
    /// It may use this for itself.
    pub own: u16,
    /// Where it is to take what it sends to all its sessions, if it is to.
    pub publisher: Option<u16>,
}

impl Peer {
    /// Whether it is ours, reached in another way than all peers are.
    #[must_use]
    pub fn is_another_way(&self) -> bool {
        self.modes.is_some()
    }

    /// What starts it.
    #[must_use]
    pub fn command(&self, ports: Ports, ping_interval: u64) -> Command {
        (self.command)(ports, ping_interval)
    }
}

/// Where things are.
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's target folder, in which the npm packages are as well.
    pub target: PathBuf,
}

/// The peers that have no publisher.
const MUTE: &[&str] = &["fastwebsockets", "websockets"];

/// A peer as it stands in the table.
struct Candidate {
    name: &'static str,
    /// The words that start it, up to the port.
    words: Vec<String>,
    /// The file without which there is nothing to start.
    file: PathBuf,
    version: Option<String>,
}

/// Every peer that is here, and a sentence about each that is not.
#[must_use]
pub fn all(places: &Places, size: Size) -> (Vec<Peer>, Vec<String>) {
    let mut peers = vec![ours(places, OURS, Way::PLAIN, None)];
    let mut missing = Vec::new();
    match ways(places, size) {
        Ok(ways) => peers.extend(ways),
        Err(error) => missing.push(format!("TLS and HTTP/2 are left out: {error}")),
    }
    for candidate in candidates(places) {
        let Candidate { name, words, file, version } = candidate;
        match version.filter(|_| file.exists()) {
            Some(version) => {
                let modules = places.target.join("node/node_modules");
                let start = move |ports: Ports, ping_interval: u64| {
                    let mut command = bare(&words[0]);
                    command.args(&words[1..]).args([ports.sessions.to_string()]);
                    command.arg(ping_interval.to_string()).env("NODE_PATH", &modules);
                    command.args(ports.publisher.map(|port| port.to_string()));
                    command
                };
                let (way, modes, command) = (Way::PLAIN, None, Box::new(start));
                let can_publish = !MUTE.contains(&name);
                peers.push(Peer { name, version, way, modes, can_publish, command });
            }
            None => missing.push(format!("{name} is left out: it is not built or installed")),
        }
    }
    (peers, missing)
}

/// Ours once more for each further way, in the modes in which that makes a difference: with one
/// session on each connection of HTTP/2 it is what a connection costs.
fn ways(places: &Places, size: Size) -> Result<Vec<Peer>, Box<dyn Error>> {
    const FULL: &[&str] =
        &["memory", "connect", "ping-1", "ping-16", "absorb", "drain", "keep-alive"];
    const COSTS: &[&str] = &["memory", "connect"];
    // The last takes as long as all others together.
    let all = size.pick(&FULL[..FULL.len() - 1], FULL);
    let certificate = Certificate::make(&places.target.join("bench-certificate"))?;
    let [many, one] = [64, 1].map(|sessions| Http::Two { sessions });
    let plain = |http| Way { http, tls: None };
    let ways = [
        ("ws-status-tls", certificate.way(Http::One), all),
        ("ws-status-h2", plain(many), all),
        ("ws-status-h2-tls", certificate.way(many), all),
        ("ws-status-h2-1", plain(one), COSTS),
        ("ws-status-h2-tls-1", certificate.way(one), COSTS),
    ];
    let peers = ways.into_iter().map(|(name, way, modes)| Peer {
        modes: Some(modes),
        ..ours(places, name, way, Some(&certificate))
    });
    Ok(peers.collect())
}

/// With everything on that it has: the log and the metrics. Only limits of what one client may do
/// are off, since the load generator does it. The example `publish` is the same server with another
/// handler.
fn ours(places: &Places, name: &'static str, way: Way, certificate: Option<&Certificate>) -> Peer {
    let [program, publish] = ["server", "publish"].map(|it| places.target.join("release").join(it));
    let version = printed(&program, &["--version"]).unwrap_or_default();
    let can_publish = publish.exists();
    let files = certificate.filter(|_| way.tls.is_some()).map(|certificate| {
        let [cert, key] = [&certificate.cert, &certificate.key].map(|file| file.display());
        [format!("--tls-cert-file={cert}"), format!("--tls-key-file={key}")]
    });
    let start = move |ports: Ports, ping_interval: u64| {
        let Ports { sessions: port, own: admin, publisher } = ports;
        let mut command = bare(if publisher.is_some() { &publish } else { &program });
        if let Some(publisher) = publisher {
            command.args(["--admin".to_owned(), format!("127.0.0.1:{publisher}")]);
        }
        let ping_interval = if ping_interval == 0 { 3600 } else { ping_interval };
        let tls = if files.is_some() { "tls:" } else { "" };
        command.args([
            format!("--listen={tls}127.0.0.1:{port}"),
            format!("--admin-listen=127.0.0.1:{admin}"),
            format!("--ping-interval-secs={ping_interval}"),
        ]);
        command.args(files.iter().flatten());
        command.args([
            "--log-format=json",
            "--max-message-bytes=65536",
            "--messages-per-second=0",
            "--control-frames-per-second=0",
        ]);
        command
    };
    Peer { name, version, way, modes: None, can_publish, command: Box::new(start) }
}

fn candidates(places: &Places) -> Vec<Candidate> {
    let Places { root, target } = places;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let locked = fs::read_to_string(root.join("bench/Cargo.lock")).unwrap_or_default();
    let package = |name: &str| {
        let path = target.join("node/node_modules").join(name).join("package.json");
        let package: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some(package.get("version")?.as_str()?.to_owned())
    };
    let built = |name: &'static str, version: Option<String>| {
        let file = target.join("release").join(format!("peer-{name}"));
        Candidate { name, words: vec![text(file.clone())], file, version }
    };
    let script = |name: &'static str, program: &[&str], script: &str, version: Option<String>| {
        let file = root.join("bench/peers").join(script);
        let words = program.iter().map(|word| (*word).to_owned());
        Candidate { name, words: words.chain([text(file.clone())]).collect(), file, version }
    };
    let bun = text(target.join("node/node_modules/.bin/bun"));
    let python = "import platform, websockets as w; print(w.__version__, 'on Python', \
        platform.python_version())";
    let node = printed("node", &["--version"]);
    let go = printed("go", &["version"]);
    let gorilla = ["-W", "-f", "${Version}", "golang-github-gorilla-websocket-dev"];
    let gorilla = printed("dpkg-query", &gorilla);
    vec![
        built("floor", Some("peer-floor.rs".to_owned())),
        built("axum", locked_version(&locked, "axum")),
        built("tokio-tungstenite", locked_version(&locked, "tokio-tungstenite")),
        built("fastwebsockets", locked_version(&locked, "fastwebsockets")),
        script("ws", &["node"], "ws.mjs", on(package("ws"), node)),
        script("bun", &[&bun], "bun.ts", package("bun")),
        // Without -P Python takes the script, which has that name, for the package.
        script(
            "websockets",
            &["python3", "-P"],
            "websockets.py",
            printed("python3", &["-c", python]),
        ),
        built("gorilla", on(gorilla, go)),
    ]
}

fn on(library: Option<String>, runtime: Option<String>) -> Option<String> {
    Some(format!("{} on {}", library?, runtime?))
}

/// The version of a package in a lock file of cargo: the last, which is the newest, as ours is.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let (_, behind) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
    behind.split('"').next().map(str::to_owned)
}

/// A command without the environment of this process, which must not change what is measured.
fn bare(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear();
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// The first line that a program prints, if it can be started and succeeds.
fn printed(program: impl AsRef<Path>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program.as_ref()).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success())?;
    Some(line.trim().to_owned())
}
