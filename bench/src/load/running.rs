//! A peer as a process, alone on the first core; the load generator has the second.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::peer::Peer;
use super::way::Way;

const PEER_CORE: usize = 0;
const OUR_CORE: usize = 1;

/// How long a peer may take until it answers; Python and Node load a lot.
const START: Duration = Duration::from_secs(10);

/// A peer that answers. It is killed when this is dropped.
pub struct Running {
    pub address: SocketAddr,
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
        // Both are held until both are known, so that they differ.
        let listeners = [free_port()?, free_port()?];
        let ports = [listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()];
        drop(listeners);
        let output = std::env::temp_dir().join(format!("bench-peer-{}", ports[0]));
        let file = File::create(&output)?;
        let mut command = peer.command(ports, ping_interval);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A child has the core of the thread that starts it.
        pin(PEER_CORE)?;
        let child = command.spawn();
        pin(OUR_CORE)?;
        let child = child?;
        let process = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let mut running = Self { address, way: peer.way.clone(), process, child, output };
        running.wait_until_it_listens()?;
        Ok(running)
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < START {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
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

fn free_port() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Binds this thread, and whatever it starts, to one core.
fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
