//! The server as a process, and what can be seen of it from outside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server on a port of its own. It is killed when this is dropped.
pub struct Server {
    child: Child,
    /// Where it listens in the clear.
    pub address: SocketAddr,
    pub log: Log,
}

impl Server {
    /// Starts `binary` with these flags, and waits until it listens.
    ///
    /// # Errors
    ///
    /// What the system says, or that it does not listen.
    pub fn start(binary: &Path, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("server.log");
        let (lines, file) = (File::create(&path)?, File::open(&path)?);
        let child = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(lines)
            .spawn()?;
        let log = Log { file, path, rest: Vec::new(), count: Count::default() };
        let mut server = Self { child, address: ([0; 4], 0).into(), log };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            if let Some(address) = server.log.look()?.address {
                server.address = address;
                return Ok(server);
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the server does not listen"))
    }

    /// Its open files.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn files(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// A line of its status in bytes, such as `VmRSS`.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn memory(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("it has no memory any more"))
    }

    /// Tells it to stop.
    ///
    /// # Errors
    ///
    /// There is no `kill`.
    pub fn terminate(&self) -> io::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().map(|_| ())
    }

    /// How it ended, if it has ended by then. If not, it is killed, so nobody waits for it in vain.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn end_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let began = Instant::now();
        while began.elapsed() < time {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        Ok(None)
    }

    /// Its number, for people.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's log, which is read as it grows.
pub struct Log {
    pub path: PathBuf,
    file: File,
    rest: Vec<u8>,
    count: Count,
}

/// What the lines of a log say.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Where it listens in the clear.
    pub address: Option<SocketAddr>,
    /// Where it listens within TLS.
    pub tls_address: Option<SocketAddr>,
    pub opened: usize,
    pub closed: usize,
    pub refused: usize,
    /// Lines that have no place in a good run.
    pub alarming: Vec<String>,
    pub stopped: Option<String>,
    /// Causes and how often they came, most often first.
    pub causes: Vec<(String, usize)>,
}

impl Log {
    /// Reads what is new, and counts.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn look(&mut self) -> io::Result<&Count> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(&self.count);
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            self.count.add(line);
        }
        self.count.causes.sort_by_key(|(_, count)| usize::MAX - count);
        Ok(&self.count)
    }
}

impl Count {
    fn add(&mut self, line: &str) {
        match field(line, "event") {
            Some("opened") => self.opened += 1,
            Some("closed") => {
                self.closed += 1;
                let cause = field(line, "cause").unwrap_or("none");
                match self.causes.iter_mut().find(|(known, _)| known == cause) {
                    Some((_, count)) => *count += 1,
                    None => self.causes.push((cause.to_owned(), 1)),
                }
            }
            Some("refused") => self.refused += 1,
            Some("refused_suppressed") => {
                let lines = field(line, "lines").and_then(|lines| lines.parse().ok());
                self.refused += lines.unwrap_or(0);
            }
            Some("listening") => {
                let address = field(line, "address").unwrap_or_default();
                match address.strip_prefix("tls:") {
                    Some(address) => self.tls_address = address.parse().ok(),
                    None => self.address = address.parse().ok().or(self.address),
                }
            }
            Some("starting" | "spread_recommended" | "stopping") => {}
            Some("stopped") => self.stopped = Some(line.to_owned()),
            // `panicked`, `accept_failed`, `stuck`, and what is no line of the server's at all.
            _ => self.alarming.push(line.to_owned()),
        }
    }
}

/// A field that is a text without quotes, or a number. What clients said is escaped and cannot look
/// like one.
#[must_use]
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = line.split_once(&format!("\"{name}\":"))?;
    match value.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => value.split([',', '}']).next(),
    }
}
