//! A peer as a process, pinned to the first core; the load generator runs on the second.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::peer::{Peer, Ports};
use super::protocol::Protocol;

/// The core of the peer, and the core of the load generator.
pub const PEER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// Limit for a peer to start listening; Python and Node start slowly.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that listens. Dropping this value kills it.
pub struct PeerProcess {
    pub address: SocketAddr,
    /// The address of its publisher, if it was started with one.
    pub publisher: SocketAddr,
    pub protocol: Protocol,
    pub process: Pid,
    child: Child,
    output: PathBuf,
}

impl PeerProcess {
    /// Starts a peer that pings each client every `ping_interval` seconds, or never if it is 0.
    ///
    /// # Errors
    ///
    /// The peer cannot be started, or does not listen in time.
    pub fn start(peer: &Peer, ping_interval: u64) -> io::Result<Self> {
        let [sessions, own, publisher] = free_ports()?;
        let command = peer.command(Ports { sessions, own, publisher: None }, ping_interval);
        Self::launch(peer, command, [sessions, publisher])?.wait_for(&[sessions])
    }

    /// Starts a peer with a publisher and without pings.
    ///
    /// # Errors
    ///
    /// The peer cannot be started, or does not listen in time.
    pub fn start_publisher(peer: &Peer) -> io::Result<Self> {
        let [sessions, own, publisher] = free_ports()?;
        let command = peer.command(Ports { sessions, own, publisher: Some(publisher) }, 0);
        Self::launch(peer, command, [sessions, publisher])?.wait_for(&[sessions, publisher])
    }

    fn launch(peer: &Peer, mut command: Command, ports: [u16; 2]) -> io::Result<Self> {
        let output = std::env::temp_dir().join(format!("bench-peer-{}", ports[0]));
        let log_file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        // A child process inherits the affinity of the thread that starts it.
        pin(PEER_CORE)?;
        let child = command.spawn();
        pin(LOAD_CORE)?;
        let child = child?;
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let [address, publisher] = ports.map(loopback);
        Ok(Self { address, publisher, protocol: peer.protocol.clone(), process, child, output })
    }

    fn wait_for(mut self, ports: &[u16]) -> io::Result<Self> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if ports.iter().all(|port| TcpStream::connect(loopback(*port)).is_ok()) {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{status}: {}", self.last_output())));
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other(format!("the peer does not listen: {}", self.last_output())))
    }

    /// The last line that the peer printed.
    fn last_output(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        output.trim().lines().last().unwrap_or("no output").to_owned()
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// The process does not exist.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill(self.process, Signal::SIGTERM)?)
    }

    /// Waits until the peer exits with code 0.
    ///
    /// # Errors
    ///
    /// The peer exited with another status, or did not exit in time.
    pub fn wait_for_exit(&mut self, time: Duration) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(status)),
                None => sleep(Duration::from_millis(5)),
            }
        }
        Err(io::Error::other("the peer did not exit after SIGTERM"))
    }

    fn failure(&self, status: ExitStatus) -> io::Error {
        io::Error::other(format!("the peer exited with {status}: {}", self.last_output()))
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It has exited already if the mode terminated it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}

fn free_ports() -> io::Result<[u16; 3]> {
    let free_port = || TcpListener::bind(loopback(0));
    // Keep all listeners until all ports are known, so that the ports differ.
    let listeners = [free_port()?, free_port()?, free_port()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Pins this thread, and the processes and threads that it starts, to one core.
///
/// # Errors
///
/// The core does not exist.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
