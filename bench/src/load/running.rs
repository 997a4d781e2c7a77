//! A peer as a process, alone on the first core; the load generator has the second.

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
use super::way::Way;

/// The core of a peer, and that of whoever measures it.
pub const PEER_CORE: usize = 0;
pub const OUR_CORE: usize = 1;

/// How long a peer may take until it answers; Python and Node load a lot.
const START: Duration = Duration::from_secs(10);

/// A peer that answers. It is killed when this is dropped.
pub struct Running {
    pub address: SocketAddr,
    /// Where it takes what it sends to all its sessions, if it does.
    pub publisher: SocketAddr,
    pub way: Way,
    pub process: Pid,
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts a peer that pings each client every so many seconds, or never if it is 0.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not answer.
    pub fn start(peer: &Peer, ping_interval: u64) -> io::Result<Self> {
        let [sessions, own, publisher] = free_ports()?;
        let command = peer.command(Ports { sessions, own, publisher: None }, ping_interval);
        Self::launch(peer, command, [sessions, publisher])?.wait_for(&[sessions])
    }

    /// Starts a peer that takes states to send to all its sessions, and never pings.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not answer.
    pub fn start_publisher(peer: &Peer) -> io::Result<Self> {
        let [sessions, own, publisher] = free_ports()?;
        let command = peer.command(Ports { sessions, own, publisher: Some(publisher) }, 0);
        Self::launch(peer, command, [sessions, publisher])?.wait_for(&[sessions, publisher])
    }

    fn launch(peer: &Peer, mut command: Command, ports: [u16; 2]) -> io::Result<Self> {
        let output = std::env::temp_dir().join(format!("bench-peer-{}", ports[0]));
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A child has the core of the thread that starts it.
        pin(PEER_CORE)?;
        let child = command.spawn();
        pin(OUR_CORE)?;
        let child = child?;
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let [address, publisher] = ports.map(loopback);
        Ok(Self { address, publisher, way: peer.way.clone(), process, child, output })
    }

    fn wait_for(mut self, ports: &[u16]) -> io::Result<Self> {
        let began = Instant::now();
        while began.elapsed() < START {
            if ports.iter().all(|port| TcpStream::connect(loopback(*port)).is_ok()) {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{status}: {}", self.words())));
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other(format!("it does not listen: {}", self.words())))
    }

    /// The last that it has printed.
    fn words(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        output.trim().lines().last().unwrap_or("it says nothing").to_owned()
    }

    /// Tells it to stop.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill(self.process, Signal::SIGTERM)?)
    }

    /// Waits until it has ended by itself, which it has to do with 0.
    ///
    /// # Errors
    ///
    /// It has failed, or goes on.
    pub fn end_well(&mut self, time: Duration) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(status)),
                None => sleep(Duration::from_millis(5)),
            }
        }
        Err(io::Error::other("it goes on after SIGTERM"))
    }

    fn failure(&self, status: ExitStatus) -> io::Error {
        io::Error::other(format!("it ended with {status}: {}", self.words()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the mode does not end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}

fn free_ports() -> io::Result<[u16; 3]> {
    let free_port = || TcpListener::bind(loopback(0));
    // All are held until all are known, so that they differ.
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

/// Binds this thread, and whatever it starts, to one core.
///
/// # Errors
///
/// There is no such core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
