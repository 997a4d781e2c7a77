//! The program under test: a process, and its successors, each of which the one before starts on SIGUSR2.
//! All write to the same log.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::certificates::Certificates;
use super::life::MAX_PER_ADDRESS;
use super::world::{Addresses, ORIGIN};
use crate::handover::servers::ProcessLog;
use crate::process::field;

/// Limit for a line of the log to appear.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Limit for a process to end: longer than its grace.
const EXIT_TIMEOUT: Duration = Duration::from_secs(40);
/// The time for which a successor is stopped before it is killed: by then the log has what it has written.
const STOPPED: Duration = Duration::from_millis(700);

/// The program. Dropping it kills all of its processes.
pub struct Program {
    /// The process that serves.
    pub pid: Pid,
    /// All processes that have not ended.
    running: Vec<Pid>,
    folder: PathBuf,
    addresses: Addresses,
    certificates: Certificates,
    log: EventLog,
    /// The variant of the settings that is in force.
    settings: usize,
}

/// The end of a handover.
#[derive(Clone, Copy, PartialEq)]
pub enum Handover {
    /// The successor serves.
    Completed,
    /// The successor was killed, and the predecessor goes on.
    Revoked,
}

impl Program {
    /// Starts the first process, and waits until it listens. Its files are in `folder`.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not listen in time.
    pub fn start(
        binary: &Path,
        folder: &Path,
        addresses: Addresses,
        mut certificates: Certificates,
    ) -> io::Result<Self> {
        // Successors whose predecessor has ended are waited for by this process.
        set_child_subreaper(true)?;
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let log = folder.join("server.log");
        let lines = File::create(&log)?;
        let log = EventLog::open(log)?;
        certificates.renew(&folder)?;
        let config = folder.join("settings.toml");
        fs::write(&config, settings(0, addresses, &folder))?;
        let child = Command::new(binary)
            .arg("--config")
            .arg(&config)
            .env_clear()
            // The allocator returns what is free to the system at once: what it keeps is many times as much
            // as a leak that has to be found.
            .env("MIMALLOC_PURGE_DELAY", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(lines)
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let running = vec![pid];
        let mut program = Self { pid, running, folder, addresses, certificates, log, settings: 0 };
        // The listeners, of which the admin listener is not one.
        program.log.wait_for("listening", 2)?;
        Ok(program)
    }

    /// Returns the log of all processes.
    #[must_use]
    pub fn log(&self) -> ProcessLog {
        ProcessLog { path: self.log.path.clone(), generation: 0 }
    }

    /// Hands over to a successor.
    ///
    /// # Errors
    ///
    /// A process does not do its part in time.
    pub fn hand_over(&mut self) -> io::Result<()> {
        let taken_over = self.log.count("taken_over")? + 1;
        let successor = self.start_successor()?;
        self.complete(successor, taken_over)
    }

    /// Begins a handover, and kills the successor after this time, unless it has read its settings before: then
    /// it may have taken over, and what a kill loses is a crash.
    ///
    /// # Errors
    ///
    /// A process does not do its part in time.
    pub fn kill_successor(&mut self, after: Duration) -> io::Result<Handover> {
        let taken_over = self.log.count("taken_over")? + 1;
        let starting = self.log.count("starting")?;
        let failed = self.log.count("successor_failed")? + 1;
        let successor = self.start_successor()?;
        sleep(after);
        kill(successor, Signal::SIGSTOP)?;
        sleep(STOPPED);
        if self.log.count("starting")? > starting {
            kill(successor, Signal::SIGCONT)?;
            self.complete(successor, taken_over)?;
            return Ok(Handover::Completed);
        }
        kill(successor, Signal::SIGKILL)?;
        // Its predecessor waits for it.
        self.running.retain(|running| *running != successor);
        self.log.wait_for("successor_failed", failed)?;
        Ok(Handover::Revoked)
    }

    /// Changes the settings and the certificate, and lets the process read them.
    ///
    /// # Errors
    ///
    /// The process does not read them.
    pub fn reload(&mut self) -> io::Result<()> {
        self.settings += 1;
        self.certificates.renew(&self.folder)?;
        fs::write(self.config(), settings(self.settings, self.addresses, &self.folder))?;
        self.read_settings("reloaded")
    }

    /// Lets the process read settings that are wrong, which it must refuse.
    ///
    /// # Errors
    ///
    /// The process does not refuse them.
    pub fn reload_wrong(&mut self) -> io::Result<()> {
        fs::write(self.config(), "ping_interval_secs = \"never\"\n")?;
        let outcome = self.read_settings("reload_refused");
        fs::write(self.config(), settings(self.settings, self.addresses, &self.folder))?;
        outcome
    }

    /// Replaces the certificate, and waits until the process notices it by itself.
    ///
    /// # Errors
    ///
    /// The process does not read it in time.
    pub fn renew_certificate(&mut self) -> io::Result<()> {
        let renewed = self.log.count("certificate_renewed")? + 1;
        self.certificates.renew(&self.folder)?;
        self.log.wait_for("certificate_renewed", renewed)?;
        Ok(())
    }

    /// Sends SIGTERM to the process, and waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end with exit code 0 in time.
    pub fn stop(&mut self) -> io::Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        self.wait_for_exit(self.pid)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    fn read_settings(&mut self, event: &str) -> io::Result<()> {
        let count = self.log.count(event)? + 1;
        kill(self.pid, Signal::SIGHUP)?;
        self.log.wait_for(event, count)?;
        Ok(())
    }

    fn start_successor(&mut self) -> io::Result<Pid> {
        let started = self.log.count("successor_started")? + 1;
        kill(self.pid, Signal::SIGUSR2)?;
        let line = self.log.wait_for("successor_started", started)?;
        let pid = field(&line, "successor").and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
        self.running.extend(pid);
        pid.ok_or_else(|| io::Error::other(format!("no process in {line}")))
    }

    fn complete(&mut self, successor: Pid, taken_over: usize) -> io::Result<()> {
        self.log.wait_for("taken_over", taken_over)?;
        let predecessor = std::mem::replace(&mut self.pid, successor);
        self.wait_for_exit(predecessor)
    }

    /// Waits until a process has ended with exit code 0.
    fn wait_for_exit(&mut self, pid: Pid) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < EXIT_TIMEOUT {
            let status = waitpid(pid, Some(WaitPidFlag::WNOHANG))?;
            if status == WaitStatus::StillAlive {
                sleep(Duration::from_millis(10));
                continue;
            }
            self.running.retain(|running| *running != pid);
            return match status {
                WaitStatus::Exited(_, 0) => Ok(()),
                _ => Err(io::Error::other(format!("a process ended with {status:?}"))),
            };
        }
        Err(io::Error::other(format!("the process {pid} does not end")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // None, unless a check failed.
        for pid in &self.running {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

/// The events of the log, which is read incrementally.
struct EventLog {
    path: PathBuf,
    file: File,
    partial: Vec<u8>,
    /// How often each event occurred, and its latest line.
    events: HashMap<String, (usize, String)>,
}

impl EventLog {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        Ok(Self { path, file, partial: Vec::new(), events: HashMap::new() })
    }

    /// Returns how often an event has occurred.
    fn count(&mut self, event: &str) -> io::Result<usize> {
        self.read_new()?;
        Ok(self.events.get(event).map_or(0, |(count, _)| *count))
    }

    /// Waits until an event has occurred this often, and returns its latest line.
    fn wait_for(&mut self, event: &str, count: usize) -> io::Result<String> {
        let started = Instant::now();
        while started.elapsed() < EVENT_TIMEOUT {
            if self.count(event)? >= count
                && let Some((_, line)) = self.events.get(event)
            {
                return Ok(line.clone());
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other(format!("the log has no {event}, see {}", self.path.display())))
    }

    fn read_new(&mut self) -> io::Result<()> {
        self.file.read_to_end(&mut self.partial)?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.partial.drain(..=end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            // A line that is no event is found at the end, when all of the log is checked.
            if let Some(event) = field(line, "event") {
                let (count, latest) = self.events.entry(event.to_owned()).or_default();
                *count += 1;
                line.clone_into(latest);
            }
        }
        Ok(())
    }
}

/// Returns a variant of the settings. The timeouts are short, so that each occurs many times.
fn settings(variant: usize, addresses: Addresses, folder: &Path) -> String {
    let Addresses { plain, tls, admin } = addresses;
    let folder = folder.display();
    let ping_interval = 2 + variant % 2;
    let compression = ["shared", "fresh"][variant / 2 % 2];
    format!(
        "listen = [\"{plain}\", \"tls:{tls}\"]\n\
         admin_listen = \"{admin}\"\n\
         takeover_listen = \"unix:{folder}/takeover.sock\"\n\
         tls_cert_file = \"{folder}/certificate.pem\"\n\
         tls_key_file = \"{folder}/certificate.pem\"\n\
         allowed_origins = [\"{ORIGIN}\"]\n\
         compression = \"{compression}\"\n\
         ping_interval_secs = {ping_interval}\n\
         pong_timeout_secs = 3\n\
         close_timeout_secs = 3\n\
         handshake_timeout_secs = 5\n\
         write_timeout_secs = 3\n\
         message_timeout_secs = 2\n\
         max_connections_per_address = {MAX_PER_ADDRESS}\n\
         log_format = \"json\"\n"
    )
}
