//! The server as a process.

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

/// The binary, without a setting from around it.
pub(crate) fn server() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The server with a socket, or whatever else, that was passed to it by this name, as systemd does it.
pub(crate) fn with_passed(passed: impl Into<OwnedFd>, name: &str) -> Command {
    let environment = format!("LISTEN_FDS=1 LISTEN_FDNAMES={name} LISTEN_PID=$$");
    with_environment(passed, &environment)
}

/// The server with something as its descriptor 3 and variables that a shell sets, which then becomes the
/// server.
pub(crate) fn with_environment(passed: impl Into<OwnedFd>, environment: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("exec 3<&0 </dev/null; {environment} exec \"$0\" \"$@\"");
    command
        .env_clear()
        .args(["-c", &script, env!("CARGO_BIN_EXE_server")])
        .stdin(Stdio::from(passed.into()));
    command
}

/// A server that runs as a process and logs JSON.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) log: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a server, and waits until it listens.
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

    /// Starts this command as it is.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, log, address: ([0; 4], 0).into() }
    }

    /// The next line of the log.
    pub(crate) fn line(&self) -> String {
        self.log.recv_timeout(Duration::from_secs(10)).expect("the log goes on")
    }

    /// The next line of the log about `event`.
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
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the test of this name once more as a user for whom limits and permissions hold, if this is the
/// superuser, for whom they do not. Says whether it has. Where that user cannot run it, a line says so.
pub(crate) fn ran_as_ordinary_user(test: &str) -> bool {
    if !geteuid().is_root() {
        return false;
    }
    let program = env::current_exe().unwrap();
    match Command::new(&program).args(["--exact", test]).uid(65_534).output() {
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        }
        Err(error) => {
            // Not `println`, which nobody sees when a test passes.
            let _ = writeln!(io::stderr(), "{test} is skipped: {}: {error}", program.display());
        }
    }
    true
}

/// Runs a server that refuses to start, and gives its exit code and its one sentence.
pub(crate) fn refusal(command: Command) -> (i32, String) {
    let mut process = Process::run(command);
    let line = process.line();
    let sentence = line.strip_prefix("server: ").unwrap_or_else(|| panic!("it started: {line}"));
    let more = process.log.recv_timeout(Duration::from_secs(10));
    assert_eq!(more, Err(RecvTimeoutError::Disconnected), "behind {line}");
    (process.exit_code(), sentence.to_owned())
}

/// The fields that the manual promises for an event, sorted.
pub(crate) fn documented(event: &str) -> Vec<String> {
    let rows = table(&document("operations.md"), "## Read the log");
    let row = rows.iter().find(|row| word(&row[0]) == event).expect("the manual has the event");
    let mut names: Vec<String> = row[1].split(' ').map(word).collect();
    names.sort_unstable();
    names
}

/// The sorted names of a line's fields, without those that every line has.
pub(crate) fn fields(line: &Value) -> Vec<&str> {
    let names = line.as_object().unwrap().keys().map(String::as_str);
    let mut names: Vec<&str> =
        names.filter(|name| !["timestamp", "level", "event"].contains(name)).collect();
    names.sort_unstable();
    names
}
