//! Processes that hand their sessions over to each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{Process, server};
use super::{CLOSE, Client, PING, PONG, UPGRADE, close, close_payload, frame};

/// What processes have in common that follow one another: their flags, and the folder of their sockets.
///
/// Each listens on a TCP port that the first one chooses, and on the Unix sockets `public`, `admin` and
/// `takeover`.
pub(crate) struct Generations {
    folder: PathBuf,
    flags: Vec<String>,
}

impl Generations {
    pub(crate) fn new(name: &str, flags: &[&str]) -> Self {
        // The path of a folder of the target may be too long for a socket address.
        let name = format!("ws-status-handover-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let socket = |name: &str| format!("unix:{}", folder.join(name).display());
        let mut all = vec![
            "--log-format=json".to_owned(),
            format!("--listen=127.0.0.1:0,{}", socket("public")),
            format!("--admin-listen={}", socket("admin")),
            format!("--takeover-listen={}", socket("takeover")),
        ];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        Self { folder, flags: all }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The flags of the first process.
    pub(crate) fn flags(&self) -> &[String] {
        &self.flags
    }

    /// The flags of a process that takes over. Those in `more` replace earlier ones.
    pub(crate) fn successor(&self, more: &[&str]) -> Command {
        let mut command = server();
        command.args(&self.flags).args(more);
        command.arg(format!("--take-over=unix:{}", self.path("takeover").display()));
        command
    }

    /// Starts the first process, and waits until it listens.
    pub(crate) fn start(&self) -> Generation {
        let mut command = server();
        command.args(&self.flags);
        Generation::start(command)
    }

    /// Starts the next process, and waits until it listens.
    pub(crate) fn take_over(&self) -> Generation {
        Generation::start(self.successor(&[]))
    }

    /// Sends a request to the admin listener. Returns the status and the body.
    pub(crate) fn admin(&self, request: &str) -> (u16, String) {
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nX-Disconnect: 1\r\n\r\n");
        let (status, _, body) = open_unix(&self.path("admin")).request(&request);
        (status, body)
    }

    pub(crate) fn get_json(&self, target: &str) -> Value {
        let (status, body) = self.admin(&format!("GET {target}"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Reads all metrics: names with labels, and values.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.admin("GET /metrics");
        assert_eq!(status, 200);
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
        samples
            .map(|(name, value)| {
                (name.trim_start_matches("ws_status_").to_owned(), value.parse().unwrap())
            })
            .collect()
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A process, and the lines of its log so far.
pub(crate) struct Generation {
    pub(crate) process: Process,
    lines: RefCell<Vec<Value>>,
    /// Where to look for the next line of an event.
    next: RefCell<BTreeMap<String, usize>>,
}

impl Generation {
    /// Starts a process, and waits until it listens.
    pub(crate) fn start(command: Command) -> Self {
        let mut generation = Self::run(command);
        generation.wait_until_it_listens();
        generation
    }

    /// Starts a process.
    pub(crate) fn run(command: Command) -> Self {
        Self { process: Process::run(command), lines: RefCell::default(), next: RefCell::default() }
    }

    /// Reads the log up to the line of the port.
    pub(crate) fn wait_until_it_listens(&mut self) {
        self.process.address = loop {
            let listening = self.event("listening");
            // A Unix socket is no address of this type.
            if let Ok(address) = listening["address"].as_str().unwrap().parse() {
                break address;
            }
        };
    }

    /// Waits for the next line of this event, whatever other events are before it.
    pub(crate) fn event(&self, event: &str) -> Value {
        let (mut lines, mut next) = (self.lines.borrow_mut(), self.next.borrow_mut());
        let next = next.entry(event.to_owned()).or_default();
        loop {
            if *next == lines.len() {
                let line = self.process.log.recv_timeout(Duration::from_secs(10));
                let line = line.unwrap_or_else(|error| panic!("{event}: {error} {lines:#?}"));
                lines.push(parse(&line));
            }
            *next += 1;
            if lines[*next - 1]["event"] == event {
                return lines[*next - 1].clone();
            }
        }
    }

    /// Opens a session over TCP.
    pub(crate) fn open(&self) -> Client {
        Client::open(self.process.address)
    }

    /// Sends SIGTERM, and returns all lines of the log after an exit with code 0.
    pub(crate) fn stop(self) -> Vec<Value> {
        self.process.signal(Signal::TERM);
        self.end()
    }

    /// Waits for an exit with code 0, and returns all lines of the log.
    pub(crate) fn end(mut self) -> Vec<Value> {
        assert_eq!(self.process.exit_code(), 0, "{:#?}", self.rest());
        self.rest()
    }

    /// Returns all lines of the log of a process that has ended.
    pub(crate) fn rest(&self) -> Vec<Value> {
        let mut lines = self.lines.take();
        lines.extend(self.process.log.iter().map(|line| parse(&line)));
        lines
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Connects to a Unix socket.
pub(crate) fn open_unix(path: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Client(stream)
}

/// Opens a session over a Unix socket.
pub(crate) fn open_session(path: &Path) -> Client<UnixStream> {
    let mut client = open_unix(path);
    assert_eq!(client.request(UPGRADE).0, 101);
    client
}

impl<S: Read + Write> Client<S> {
    /// Expects that the session answers a ping, once.
    pub(crate) fn exchange_ping(&mut self) {
        self.send(&frame(PING, b"a payload"));
        assert_eq!(self.frame(), (PONG, b"a payload".to_vec()));
    }

    /// Closes the session, which answers nothing else before.
    pub(crate) fn close(mut self) {
        self.send(&close(1000, ""));
        assert_eq!(self.frame(), (CLOSE, close_payload(1000, "")));
        self.expect_end();
    }
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It answers.
    Open,
    /// It was closed with this code.
    Closed(u16),
    /// Its connection ended without a Close frame.
    Lost,
}

impl Fate {
    /// Sends a ping, and waits for the answer or the end.
    pub(crate) fn of(client: &mut Client) -> Self {
        // It may have ended.
        let _ = client.0.write_all(&frame(PING, b"?"));
        let mut first = [0];
        match client.0.read(&mut first) {
            Ok(0) => Self::Lost,
            Ok(_) => {
                let mut length = [0];
                client.0.read_exact(&mut length).unwrap();
                let mut payload = vec![0; length[0].into()];
                client.0.read_exact(&mut payload).unwrap();
                match (first[0], &payload[..]) {
                    (PONG, b"?") => Self::Open,
                    (CLOSE, [first, second, ..]) => {
                        Self::Closed(u16::from_be_bytes([*first, *second]))
                    }
                    other => panic!("{other:?}"),
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Self::Lost,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Checks that the logs of all processes together have each session's opening and end once, and returns the
/// lines of the ends by id.
pub(crate) fn ends(logs: &[Vec<Value>]) -> BTreeMap<u64, Value> {
    let of = |event: &str| {
        let mut found = BTreeMap::new();
        for line in logs.iter().flatten().filter(|line| line["event"] == event) {
            let id = line["id"].as_u64().unwrap();
            assert!(found.insert(id, line.clone()).is_none(), "{event} twice: {line}");
        }
        found
    };
    let (opened, closed) = (of("opened"), of("closed"));
    assert!(opened.keys().eq(closed.keys()), "{opened:#?} {closed:#?}");
    closed
}
