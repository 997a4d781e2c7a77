//! The processes with the clients, from the side of the program that starts them.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::clients::{Command, Progress};
use super::pid_of;
use crate::load::process_stats::private_memory;

/// The argument that makes this program a process with clients. The address of the servers follows.
pub const ARGUMENT: &str = "--clients-of";

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(50);

/// The processes. Dropping this value ends them.
pub struct ClientProcesses(Vec<ClientProcess>);

struct ClientProcess {
    child: Child,
    commands: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl ClientProcesses {
    /// Starts processes without sessions.
    ///
    /// # Errors
    ///
    /// A process cannot be started.
    pub fn start(count: usize, server: SocketAddr) -> io::Result<Self> {
        let processes = (0..count).map(|_| ClientProcess::start(server));
        processes.collect::<io::Result<_>>().map(Self)
    }

    /// Opens so many more sessions, in all processes at the same time.
    ///
    /// # Errors
    ///
    /// A session was refused or lost.
    pub fn open(&mut self, count: usize) -> io::Result<Progress> {
        let processes = self.0.len();
        self.tell(|index| Command::Open(count / processes + usize::from(index < count % processes)))
    }

    /// Permits the servers to close the sessions.
    ///
    /// # Errors
    ///
    /// A process has ended, because a session was lost.
    pub fn expect_close(&mut self) -> io::Result<Progress> {
        self.tell(|_| Command::ExpectClose)
    }

    /// Returns how far the clients have come.
    ///
    /// # Errors
    ///
    /// As for [`expect_close`](Self::expect_close).
    pub fn progress(&mut self) -> io::Result<Progress> {
        self.tell(|_| Command::Report)
    }

    /// Waits until the clients have come so far, and returns how far.
    ///
    /// # Errors
    ///
    /// They have not in time, or as for [`expect_close`](Self::expect_close).
    pub fn wait_until(
        &mut self,
        time: Duration,
        is_reached: impl Fn(&Progress) -> bool,
    ) -> io::Result<Progress> {
        let started = Instant::now();
        loop {
            let progress = self.progress()?;
            if is_reached(&progress) {
                return Ok(progress);
            }
            if started.elapsed() > time {
                return Err(io::Error::other(format!("after {time:?} clients have {progress:?}")));
            }
            sleep(INTERVAL);
        }
    }

    /// Returns the private memory of all processes in bytes.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn memory(&self) -> io::Result<u64> {
        self.0.iter().map(|process| private_memory(pid_of(process.child.id())?)).sum()
    }

    /// Sends each process a command, and then reads what all answer.
    fn tell(&mut self, command: impl Fn(usize) -> Command) -> io::Result<Progress> {
        for (index, process) in self.0.iter_mut().enumerate() {
            writeln!(process.commands, "{}", command(index)).map_err(|_| ended())?;
        }
        let mut answers = self.0.iter_mut().map(ClientProcess::answer);
        answers.try_fold(Progress::default(), |all, answer| Ok(all.and(answer?)))
    }
}

impl ClientProcess {
    fn start(server: SocketAddr) -> io::Result<Self> {
        let mut child = std::process::Command::new(env::current_exe()?)
            .args([ARGUMENT, &server.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, reports) = pipes.ok_or_else(|| io::Error::other("there are no pipes"))?;
        Ok(Self { child, commands, reports: BufReader::new(reports) })
    }

    fn answer(&mut self) -> io::Result<Progress> {
        let mut line = String::new();
        match self.reports.read_line(&mut line)? {
            0 => Err(ended()),
            _ => line.parse(),
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("a process with clients has ended; if it failed, it has written why")
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
