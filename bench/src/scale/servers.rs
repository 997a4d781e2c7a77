//! The server processes. They inherit listening sockets, as from systemd, so that they share an address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::pid_of;
use crate::handover::{admin, free_addresses};
use crate::load::process_stats::{cpu_time, private_memory};
use crate::process::{LogSummary, Server};

/// The backlog that the server gives to its own sockets.
const BACKLOG: i32 = 4096;

/// How the processes share their address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All have the same socket, and each accepts what it can.
    OneSocket,
    /// Each has a socket of its own with `SO_REUSEPORT`, and the system chooses one for each connection.
    ReusePort,
}

/// The processes. Dropping this value kills them.
pub struct Servers {
    /// The address that they share.
    pub address: SocketAddr,
    processes: Vec<Process>,
    /// The processor time of processes that this program had waited for before.
    others: Duration,
}

struct Process {
    server: Server,
    pid: Pid,
    admin: SocketAddr,
    /// Open files without clients.
    idle_files: usize,
}

/// What is left of the processes.
pub struct Stopped {
    /// The logs of all, added up.
    pub opened: usize,
    pub closed: usize,
    pub refused: usize,
    /// Sessions that were closed because of a drain.
    pub drained: usize,
    /// Lines that are not expected.
    pub unexpected: Vec<String>,
    /// Exit codes other than 0.
    pub failed: Vec<String>,
    /// The processor time of their whole lives.
    pub cpu: Duration,
}

impl Servers {
    /// Starts processes, and waits until all listen.
    ///
    /// # Errors
    ///
    /// A process cannot be started, or does not listen in time.
    pub fn start(
        binary: &Path,
        folder: &Path,
        count: usize,
        sharing: Sharing,
        flags: &[&str],
    ) -> io::Result<Self> {
        let first = listen((Ipv4Addr::LOCALHOST, 0).into(), sharing)?;
        let address = first.local_addr()?.as_socket();
        let address = address.ok_or_else(|| io::Error::other("the socket has no address"))?;
        let mut processes = Vec::new();
        for number in 1..=count {
            let socket = match sharing {
                Sharing::ReusePort if number > 1 => listen(address, sharing)?,
                Sharing::OneSocket | Sharing::ReusePort => first.try_clone()?,
            };
            let [admin] = free_addresses()?;
            let listen = admin.to_string();
            let flags = [&["--admin-listen", &listen], flags].concat();
            let folder = folder.join(format!("process-{number}"));
            let mut server = Server::spawn_with_socket(binary, &folder, &flags, socket.into())?;
            server.wait_until_it_listens()?;
            let pid = pid_of(server.id())?;
            let idle_files = server.open_files()?;
            processes.push(Process { server, pid, admin, idle_files });
        }
        Ok(Self { address, processes, others: cpu_of_ended()? })
    }

    /// Returns the private memory of each process in bytes.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn memory(&self) -> io::Result<Vec<u64>> {
        self.processes.iter().map(|process| private_memory(process.pid)).collect()
    }

    /// Returns the number of sessions of each process, by its open files.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn sessions(&self) -> io::Result<Vec<usize>> {
        let sessions = self.processes.iter().map(|Process { server, idle_files, .. }| {
            Ok(server.open_files()?.saturating_sub(*idle_files))
        });
        sessions.collect()
    }

    /// Returns the processor time of all processes.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        self.processes.iter().map(|process| cpu_time(process.pid)).sum()
    }

    /// Publishes a state in all processes at the same time.
    ///
    /// # Errors
    ///
    /// A process does not accept it.
    pub fn publish(&self, state: &str) -> io::Result<()> {
        let publish = |admin| match admin::request(admin, "POST /publish", state)? {
            (204, _) => Ok(()),
            (status, body) => {
                Err(io::Error::other(format!("a state was refused: {status} {body}")))
            }
        };
        thread::scope(|scope| {
            let admins = self.processes.iter().map(|process| process.admin);
            let requests: Vec<_> =
                admins.map(|admin| scope.spawn(move || publish(admin))).collect();
            requests.into_iter().try_for_each(|request| {
                request.join().map_err(|_| io::Error::other("a request panicked"))?
            })
        })
    }

    /// Sends SIGTERM to all.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(self.processes.iter().try_for_each(|process| kill(process.pid, Signal::SIGTERM))?)
    }

    /// Waits until all have ended. This program must not wait for other processes meanwhile.
    ///
    /// # Errors
    ///
    /// A process cannot be waited for, or its log cannot be read.
    pub fn finish(self, time: Duration) -> io::Result<Stopped> {
        let mut stopped = Stopped {
            opened: 0,
            closed: 0,
            refused: 0,
            drained: 0,
            unexpected: Vec::new(),
            failed: Vec::new(),
            cpu: Duration::ZERO,
        };
        for Process { mut server, .. } in self.processes {
            let status = server.wait_for_exit(time)?;
            if status.is_none_or(|status| !status.success()) {
                stopped.failed.push(format!("{}: {status:?}", server.log.path.display()));
            }
            stopped.add(server.log.read_new()?);
        }
        stopped.cpu = cpu_of_ended()? - self.others;
        Ok(stopped)
    }
}

impl Stopped {
    fn add(&mut self, log: &LogSummary) {
        self.opened += log.opened;
        self.closed += log.closed;
        self.refused += log.refused;
        let drained = log.causes.iter().filter(|(cause, _)| cause == "drained");
        self.drained += drained.map(|(_, count)| count).sum::<usize>();
        self.unexpected.extend(log.unexpected.iter().cloned());
    }
}

/// Returns the processor time of all processes that this program has waited for.
fn cpu_of_ended() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time() + usage.system_time();
    let micros = u64::try_from(time.num_microseconds()).map_err(io::Error::other)?;
    Ok(Duration::from_micros(micros))
}

fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(sharing == Sharing::ReusePort)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
