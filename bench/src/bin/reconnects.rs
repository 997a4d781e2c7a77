//! How many clients come back in each second after a restart, with and without a time in the Close that
//! tells them when: `reconnects PUBLISH FEEDS FOLDER [COUNT]`.
//!
//! PUBLISH is the example `publish`, and FEEDS the script that runs feeds of `examples/browser` in Node.
//! The server is stopped by SIGTERM, and its successor listens on the same port at once. `cargo xtask
//! reconnects` runs it.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::load::chart::{Axis, Lines, Style};
use bench::process::Server;
use serde_json::Value;

/// Seconds over which clients are told to come back.
const SPREAD: u64 = 30;

/// Seconds after the restart that are measured.
const MEASURED: usize = 40;

/// A state of 40 KB.
const STATE_BYTES: usize = 40_000;

/// One restart.
struct Restart {
    name: &'static str,
    colour: &'static str,
    spread: u64,
    resume: bool,
}

const RESTARTS: [Restart; 2] = [
    Restart { name: "each by itself", colour: "#9ca3af", spread: 0, resume: false },
    Restart { name: "told when", colour: "#c2410c", spread: SPREAD, resume: true },
];

/// What the feeds did in each second after the restart.
struct Outcome {
    opens: Vec<f64>,
    bytes: f64,
    open: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [publish, feeds, folder, count @ ..] = arguments.as_slice() else {
        return Err("usage: reconnects PUBLISH FEEDS FOLDER [COUNT]".into());
    };
    let count: u64 = count.first().map_or(Ok(2000), |count| count.parse())?;
    let folder = Path::new(folder);
    let mut lines = Vec::new();
    println!("{count} feeds, a state of {STATE_BYTES} bytes, one restart each:\n");
    println!("| clients come back | most in a second | all are back after | bytes of states |");
    println!("|---|---|---|---|");
    for restart in &RESTARTS {
        let outcome = measure(restart, Path::new(publish), feeds, folder, count)?;
        if outcome.open != count {
            return Err(format!("{} of {count} feeds are open at the end", outcome.open).into());
        }
        let most = outcome.opens.iter().copied().fold(0.0, f64::max);
        let back = outcome.opens.iter().rposition(|opens| *opens > 0.0).map_or(0, |last| last + 1);
        println!("| {} | {most} | {back} s | {} |", restart.name, outcome.bytes);
        let points = outcome.opens.iter().enumerate();
        let points = points.map(|(second, opens)| (second as f64 + 1.0, *opens)).collect();
        lines.push((Style { name: restart.name, colour: restart.colour }, points));
    }
    let most = lines.iter().flat_map(|(_, points): &(_, Vec<(f64, f64)>)| points);
    let to = most.map(|(_, opens)| *opens).fold(1.0, f64::max);
    let x = Axis {
        title: "seconds since SIGTERM",
        is_logarithmic: false,
        from: 1.0,
        to: MEASURED as f64,
    };
    let y =
        Axis { title: "clients that come back in a second", is_logarithmic: false, from: 0.0, to };
    let svg = Lines { title: "Reconnects after a restart", x, y, lines }.draw();
    let path = folder.join("reconnects.svg");
    fs::write(&path, svg)?;
    println!("\nplot written to {}", path.display());
    Ok(())
}

fn measure(
    restart: &Restart,
    publish: &Path,
    feeds: &str,
    folder: &Path,
    count: u64,
) -> Result<Outcome, Box<dyn Error>> {
    let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let start = |listen: &str| -> Result<Server, Box<dyn Error>> {
        let spread = restart.spread.to_string();
        let (admin, capacity) = (admin.to_string(), (2 * count).to_string());
        let server = Server::start(
            publish,
            folder,
            &[
                "--listen",
                listen,
                "--admin-listen",
                &admin,
                "--max-connections",
                &capacity,
                "--reconnect-spread-secs",
                &spread,
            ],
        )?;
        publish_state(admin.parse()?)?;
        Ok(server)
    };
    let mut old = start("127.0.0.1:0")?;
    let address = old.address.to_string();
    let mut feeds = Feeds::run(feeds, &address, count, restart.resume)?;
    while feeds.next_second()?["open"] != count {}
    old.terminate()?;
    let status = old.wait_for_exit(Duration::from_secs(20))?;
    if !status.is_some_and(|status| status.success()) {
        return Err("the server does not stop".into());
    }
    let _new = start(&address)?;
    let mut outcome = Outcome { opens: Vec::new(), bytes: 0.0, open: 0 };
    while outcome.opens.len() < MEASURED {
        let second = feeds.next_second()?;
        outcome.opens.push(second["opens"].as_f64().unwrap_or_default());
        outcome.bytes += second["bytes"].as_f64().unwrap_or_default();
        outcome.open = second["open"].as_u64().unwrap_or_default();
    }
    Ok(outcome)
}

/// Publishes the state, with the same tag in every process.
fn publish_state(admin: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(admin)?;
    let head = "POST /publish?tag=v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {STATE_BYTES}\r\n\r\n")?;
    stream.write_all(&vec![b'x'; STATE_BYTES])?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    if response.starts_with("HTTP/1.1 204 ") { Ok(()) } else { Err(io::Error::other(response)) }
}

/// The process with the feeds. Dropping this ends it.
struct Feeds {
    process: Child,
    seconds: Box<dyn Iterator<Item = io::Result<String>>>,
}

impl Feeds {
    fn run(script: &str, address: &str, count: u64, resume: bool) -> Result<Self, Box<dyn Error>> {
        let url = format!("ws://{address}/ws/status");
        let (count, options) = (count.to_string(), format!(r#"{{"resume":{resume}}}"#));
        let mut process = Command::new("node")
            // Node 20 has the browser's WebSocket behind a flag.
            .args(["--experimental-websocket", script, &url, &count, "600", &options])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the feeds have no output")?;
        Ok(Self { process, seconds: Box::new(BufReader::new(output).lines()) })
    }

    fn next_second(&mut self) -> Result<Value, Box<dyn Error>> {
        let line = self.seconds.next().ok_or("the feeds have ended")??;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
