//! The server binary as a process.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use super::{document, table, word};

/// The server with an empty environment.
pub(crate) fn server() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The server with an inherited descriptor of this name, passed as systemd does.
pub(crate) fn with_inherited(descriptor: impl Into<OwnedFd>, name: &str) -> Command {
    let environment = format!("LISTEN_FDS=1 LISTEN_FDNAMES={name} LISTEN_PID=$$");
    with_descriptor(descriptor, &environment)
}

/// The server with a descriptor as number 3, and variables that a shell sets before it executes the
/// server.
pub(crate) fn with_descriptor(descriptor: impl Into<OwnedFd>, environment: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("exec 3<&0 </dev/null; {environment} exec \"$0\" \"$@\"");
    command
        .env_clear()
        .args(["-c", &script, env!("CARGO_BIN_EXE_server")])
        .stdin(Stdio::from(descriptor.into()));
    command
}

/// A server process with a JSON log.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) log: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_as(server(), flags)
    }

    pub(crate) fn start_as(command: Command, flags: &[&str]) -> Self {
        let mut process = Self::spawn_as(command, &[&["--log-format", "json"], flags].concat());
        let listening = process.event("listening");
        process.address = listening["address"].as_str().unwrap().parse().unwrap();
        process
    }

    pub(crate) fn spawn(flags: &[&str]) -> Self {
        Self::spawn_as(server(), flags)
    }

    pub(crate) fn spawn_as(mut command: Command, flags: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        Self::run(command)
    }

    /// Starts a command unchanged.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, log, address: ([0; 4], 0).into() }
    }

    /// Reads a line of the log.
    pub(crate) fn line(&self) -> String {
        self.log.recv_timeout(Duration::from_secs(10)).expect("another log line")
    }

    /// Reads the log up to a line of this event.
    pub(crate) fn event(&self, event: &str) -> Value {
        loop {
            let line = self.line();
            let line: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            if line["event"] == event {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn exit_code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process still runs only if the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As root, to whom limits and permissions do not apply, runs the named test again as an ordinary user
/// and returns whether it did. If that user cannot run it, prints a line.
pub(crate) fn ran_as_ordinary_user(test: &str) -> bool {
    if !geteuid().is_root() {
        return false;
    }
    let program = env::current_exe().unwrap();
    match Command::new(&program).args(["--exact", test]).uid(65_534).output() {
        Ok(ran) => {
            let output = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success() && output.contains("1 passed"), "{output}");
        }
        Err(error) => {
            // Not `println`, whose output libtest captures when a test passes.
            let _ = writeln!(io::stderr(), "{test} is skipped: {}: {error}", program.display());
        }
    }
    true
}

/// Runs a server that fails to start. Returns its exit code and its message.
pub(crate) fn startup_error(command: Command) -> (i32, String) {
    let mut process = Process::run(command);
    let line = process.line();
    let message =
        line.strip_prefix("server: ").unwrap_or_else(|| panic!("the server started: {line}"));
    let more = process.log.recv_timeout(Duration::from_secs(10));
    assert_eq!(more, Err(RecvTimeoutError::Disconnected), "after {line}");
    (process.exit_code(), message.to_owned())
}

/// The documented fields of an event, sorted.
pub(crate) fn documented(event: &str) -> Vec<String> {
    let manual = document("operations.md");
    let rows =
        [table(&manual, "### Log events"), table(&manual, "### Warnings and errors")].concat();
    let row = rows.iter().find(|row| word(&row[0]) == event).expect("the event is documented");
    let mut names: Vec<String> = row[1].split(' ').map(word).collect();
    names.sort_unstable();
    names
}

/// The field names of a log line, sorted, without those that every line has.
pub(crate) fn fields(line: &Value) -> Vec<&str> {
    let names = line.as_object().unwrap().keys().map(String::as_str);
    let mut names: Vec<&str> =
        names.filter(|name| !["timestamp", "level", "event"].contains(name)).collect();
    names.sort_unstable();
    names
}
