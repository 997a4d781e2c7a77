//! The server as a process, its log, and its resources.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files: thousands of connections need one descriptor each. A child process
/// inherits the limit.
///
/// # Errors
///
/// The system does not permit it.
pub fn allow_many_files() -> io::Result<()> {
    let (_, maximum) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, maximum, maximum)?)
}

/// A server on a free port. Dropping this value kills it.
pub struct Server {
    child: Child,
    /// The address without TLS.
    pub address: SocketAddr,
    pub log: Log,
}

impl Server {
    /// Starts `binary` with these flags, and waits until it listens.
    ///
    /// # Errors
    ///
    /// The server cannot be started, or does not listen in time.
    pub fn start(binary: &Path, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        let mut server =
            Self::spawn(binary, folder, &[&["--listen", "127.0.0.1:0"], flags].concat())?;
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Starts `binary` with these flags, and does not wait. Its log is a file in `folder`.
    ///
    /// # Errors
    ///
    /// The server cannot be started.
    pub fn spawn(binary: &Path, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        Self::launch(Command::new(binary).stdin(Stdio::null()), folder, flags)
    }

    /// Starts `binary` with these flags and a listening socket, passed as systemd does, and does not wait.
    /// Its log is a file in `folder`.
    ///
    /// # Errors
    ///
    /// The server cannot be started.
    pub fn spawn_with_socket(
        binary: &Path,
        folder: &Path,
        flags: &[&str],
        socket: OwnedFd,
    ) -> io::Result<Self> {
        const SCRIPT: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).arg(binary).stdin(socket);
        Self::launch(&mut shell, folder, flags)
    }

    fn launch(command: &mut Command, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("server.log");
        let (lines, file) = (File::create(&path)?, File::open(&path)?);
        let child = command
            .args(["--log-format", "json"])
            .args(flags)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(lines)
            .spawn()?;
        let log = Log { file, path, partial: Vec::new(), summary: LogSummary::default() };
        Ok(Self { child, address: ([0; 4], 0).into(), log })
    }

    /// Waits until the log has an address.
    ///
    /// # Errors
    ///
    /// The server does not listen in time.
    pub fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if let Some(address) = self.log.read_new()?.address {
                self.address = address;
                return Ok(());
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the server does not listen"))
    }

    /// Returns the number of its open files.
    ///
    /// # Errors
    ///
    /// The process does not exist.
    pub fn open_files(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Returns a memory figure of `/proc/PID/status` in bytes, such as `VmRSS`.
    ///
    /// # Errors
    ///
    /// The process does not exist.
    pub fn memory(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the server has exited"))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// The program `kill` cannot be run.
    pub fn terminate(&self) -> io::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().map(|_| ())
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    ///
    /// The process cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Returns the status if the server has exited.
    ///
    /// # Errors
    ///
    /// The process cannot be waited for.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the exit, and returns the status. Kills the server if it does not exit in time.
    ///
    /// # Errors
    ///
    /// The process cannot be waited for or killed.
    pub fn wait_for_exit(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        while started.elapsed() < time {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        Ok(None)
    }

    /// Returns its process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has exited already, unless a check failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's log, which is read incrementally.
pub struct Log {
    pub path: PathBuf,
    file: File,
    partial: Vec<u8>,
    summary: LogSummary,
}

/// Totals over the lines of a log.
#[derive(Clone, Debug, Default)]
pub struct LogSummary {
    /// The address without TLS.
    pub address: Option<SocketAddr>,
    /// The address with TLS.
    pub tls_address: Option<SocketAddr>,
    pub opened: usize,
    pub closed: usize,
    pub refused: usize,
    /// Lines that are not expected in a successful run.
    pub unexpected: Vec<String>,
    pub stopped: Option<String>,
    /// The line about sessions that the server has handed over to its successor.
    pub handed_over: Option<String>,
    /// The line about sessions that the server has taken over from its predecessor.
    pub taken_over: Option<String>,
    /// Causes of closes with their counts, the most frequent first.
    pub causes: Vec<(String, usize)>,
}

impl Log {
    /// Reads new lines, and adds them to the summary.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read_new(&mut self) -> io::Result<&LogSummary> {
        self.file.read_to_end(&mut self.partial)?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(&self.summary);
        };
        let lines: Vec<u8> = self.partial.drain(..=end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            self.summary.add(line);
        }
        self.summary.causes.sort_by_key(|(_, summary)| usize::MAX - summary);
        Ok(&self.summary)
    }
}

impl LogSummary {
    fn add(&mut self, line: &str) {
        match field(line, "event") {
            Some("opened") => self.opened += 1,
            Some("closed") => {
                self.closed += 1;
                let cause = field(line, "cause").unwrap_or("none");
                match self.causes.iter_mut().find(|(known, _)| known == cause) {
                    Some((_, summary)) => *summary += 1,
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
            Some(
                "starting"
                | "endpoint"
                | "no_allowed_origins"
                | "no_delay_for_handover"
                | "spread_recommended"
                | "stopping",
            ) => {}
            Some("stopped") => self.stopped = Some(line.to_owned()),
            Some("handed_over") => self.handed_over = Some(line.to_owned()),
            Some("taken_over") => self.taken_over = Some(line.to_owned()),
            // `panicked`, `accept_failed`, `stuck`, and lines that are not log events.
            _ => self.unexpected.push(line.to_owned()),
        }
    }
}

/// Returns a field of a JSON line: a string without escapes, or a number. Text from clients is escaped,
/// so it cannot be mistaken for a field.
#[must_use]
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = line.split_once(&format!("\"{name}\":"))?;
    match value.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => value.split([',', '}']).next(),
    }
}
