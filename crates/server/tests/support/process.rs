//! The server as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{document, table, word};

/// The binary, without a setting from around it.
pub(crate) fn server() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.env_clear().stdin(Stdio::null());
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
