//! The steps: sessions open by quarters, are kept alive, are sent states, and are closed by a drain. Each
//! step fails or fails a check if what it measures did not happen.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::checks::Checks;
use super::client_processes::ClientProcesses;
use super::clients::now;
use super::kernel::{self, Kernel, Share};
use super::servers::{Servers, Sharing};
use super::{STATES, state};

/// Parts in which the sessions are opened.
pub const PARTS: usize = 4;
/// Time before memory is read, so that what the processes free has been returned to the system.
const SETTLE: Duration = Duration::from_secs(2);
/// Limit for a state to reach all clients, and for a drain.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The server's default interval between pings, and the number of intervals that are measured.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);
const INTERVALS: u32 = 2;
/// Settings that are not the defaults, because the clients share the processors with the servers: a drain
/// takes seconds.
pub const FLAGS: [&str; 4] = ["--close-timeout-secs", "30", "--shutdown-grace-secs", "50"];

/// How much is run.
pub struct Plan {
    pub sessions: usize,
    /// Server processes, and as many processes with clients.
    pub processes: usize,
    pub sharing: Sharing,
}

/// What was measured.
pub struct Measured {
    /// The kernel's objects for the server's end of a connection.
    pub kernel_objects: Vec<Share>,
    /// Memory without sessions, and after each part.
    pub points: Vec<Point>,
    /// Sessions of each process.
    pub spread: Vec<usize>,
    pub opening: Opening,
    pub keep_alive: KeepAlive,
    /// The private memory of all servers after the keep-alive.
    pub memory_after_pings: u64,
    /// Without the first state.
    pub states: Vec<Delivery>,
    pub drain: Drain,
    pub checks: Checks,
}

/// Memory with so many sessions.
pub struct Point {
    pub sessions: usize,
    /// Private memory of each server process.
    pub servers: Vec<u64>,
    /// Private memory of all client processes.
    pub clients: u64,
    pub kernel: Kernel,
}

/// The opening of all sessions.
pub struct Opening {
    pub cpu: Duration,
    pub time: Duration,
}

/// The pings of some intervals.
pub struct KeepAlive {
    pub pings: usize,
    pub cpu: Duration,
    pub time: Duration,
}

/// One state for all.
pub struct Delivery {
    /// Processor time of the servers, without the keep-alive of that time.
    pub cpu: Duration,
    /// From before the first request until the last client has it.
    pub last: Duration,
}

/// A drain of all processes.
pub struct Drain {
    pub cpu: Duration,
    /// From the first SIGTERM until the last client has its Close frame.
    pub last: Duration,
    /// From the first SIGTERM until the last process has ended.
    pub ended: Duration,
    /// Sockets in TIME_WAIT after it.
    pub time_wait: u64,
}

/// Performs all steps.
///
/// # Errors
///
/// A session was refused or lost, something did not happen in time, or the system does not permit it.
pub fn run(plan: &Plan, binary: &Path, folder: &Path) -> io::Result<Measured> {
    let Plan { sessions, processes, sharing } = *plan;
    let kernel_objects = kernel::accepting_end()?;
    let servers = Servers::start(binary, folder, processes, sharing, &FLAGS)?;
    let clients = ClientProcesses::start(processes, servers.address)?;
    let mut run = Run { sessions, servers, clients, checks: Checks::default() };
    let (points, opening) = run.open()?;
    let spread = run.check_spread(&points)?;
    let keep_alive = run.keep_alive()?;
    let memory_after_pings = run.servers.memory()?.iter().sum();
    let states = run.publish(&keep_alive)?;
    let (drain, checks) = run.drain()?;
    Ok(Measured {
        kernel_objects,
        points,
        spread,
        opening,
        keep_alive,
        memory_after_pings,
        states,
        drain,
        checks,
    })
}

struct Run {
    sessions: usize,
    servers: Servers,
    clients: ClientProcesses,
    checks: Checks,
}

impl Run {
    fn open(&mut self) -> io::Result<(Vec<Point>, Opening)> {
        let mut points = vec![self.point(0)?];
        let mut opening = Opening { cpu: Duration::ZERO, time: Duration::ZERO };
        for part in 1..=PARTS {
            let (cpu, started) = (self.servers.cpu()?, Instant::now());
            let (before, count) =
                ((part - 1) * self.sessions / PARTS, part * self.sessions / PARTS);
            let progress = self.clients.open(count - before)?;
            opening.cpu += self.servers.cpu()? - cpu;
            opening.time += started.elapsed();
            eprintln!("{} sessions are open", progress.open);
            sleep(SETTLE);
            points.push(self.point(count)?);
        }
        let open = self.clients.progress()?.open;
        self.checks.count("sessions, counted at the clients", open, self.sessions);
        Ok((points, opening))
    }

    fn point(&self, sessions: usize) -> io::Result<Point> {
        let (servers, clients) = (self.servers.memory()?, self.clients.memory()?);
        Ok(Point { sessions, servers, clients, kernel: Kernel::now()? })
    }

    fn check_spread(&mut self, points: &[Point]) -> io::Result<Vec<usize>> {
        let spread = self.servers.sessions()?;
        self.checks.count(
            "sessions, counted as files of the servers",
            spread.iter().sum(),
            self.sessions,
        );
        let sockets = |point: Option<&Point>| point.map_or(0, |point| point.kernel.sockets);
        let sockets = sockets(points.last()).saturating_sub(sockets(points.first()));
        let required = 2 * self.sessions as u64;
        // Other programs have sockets as well.
        let holds = sockets.abs_diff(required) * 50 < required;
        self.checks.add(
            "sockets, counted by the kernel",
            sockets,
            format!("{required} ± 2 %"),
            holds,
        );
        Ok(spread)
    }

    fn keep_alive(&mut self) -> io::Result<KeepAlive> {
        eprintln!("keep-alive");
        let (before, cpu, started) =
            (self.clients.progress()?, self.servers.cpu()?, Instant::now());
        sleep(PING_INTERVAL * INTERVALS);
        let after = self.clients.progress()?;
        let (cpu, time) = (self.servers.cpu()? - cpu, started.elapsed());
        let (pings, required) = (after.pings - before.pings, self.sessions * INTERVALS as usize);
        let holds = pings.abs_diff(required) * 100 < required;
        self.checks.add("pings, counted at the clients", pings, format!("{required} ± 1 %"), holds);
        Ok(KeepAlive { pings, cpu, time })
    }

    fn publish(&mut self, keep_alive: &KeepAlive) -> io::Result<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        for number in 0..STATES {
            let (cpu, started) = (self.servers.cpu()?, now()?);
            self.servers.publish(&state(number))?;
            let all = (number + 1) * self.sessions;
            let progress = self.clients.wait_until(TIMEOUT, |progress| progress.states >= all)?;
            // The publisher pings one session in 64 to measure how long the state took: their pongs belong to it.
            sleep(SETTLE);
            let (cpu, time) = (self.servers.cpu()? - cpu, now()? - started);
            let pings = keep_alive.cpu.mul_f64(time.as_secs_f64() / keep_alive.time.as_secs_f64());
            let last = progress.latest.saturating_sub(started);
            eprintln!("a state was sent to all in {last:?}");
            if number > 0 {
                deliveries.push(Delivery { cpu: cpu.saturating_sub(pings), last });
            }
        }
        let states = self.clients.progress()?.states;
        self.checks.count("states, counted at the clients", states, STATES * self.sessions);
        Ok(deliveries)
    }

    fn drain(mut self) -> io::Result<(Drain, Checks)> {
        let open = self.clients.expect_close()?.open;
        self.checks.count("sessions before the drain", open, self.sessions);
        let (cpu, started) = (self.servers.cpu()?, now()?);
        self.servers.terminate()?;
        let progress = self.clients.wait_until(TIMEOUT, |progress| progress.open == 0)?;
        let Self { servers, sessions, mut checks, .. } = self;
        let stopped = servers.finish(TIMEOUT)?;
        let ended = now()? - started;
        eprintln!("drained in {ended:?}");
        let drain = Drain {
            cpu: stopped.cpu.saturating_sub(cpu),
            last: progress.latest.saturating_sub(started),
            ended,
            time_wait: Kernel::now()?.time_wait,
        };
        checks.count("Close frames with 1001, counted at the clients", progress.closes, sessions);
        checks.count("`opened` in the logs", stopped.opened, sessions);
        checks.count("`closed` in the logs", stopped.closed, sessions);
        checks.count("`closed` because of the drain", stopped.drained, sessions);
        checks.count("refused connections in the logs", stopped.refused, 0);
        checks.none("unexpected lines in the logs", &stopped.unexpected);
        checks.none("exit codes other than 0", &stopped.failed);
        Ok((drain, checks))
    }
}
