//! One upgrade: a successor is started, and perhaps one of the two processes is killed.

use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::faults::Clock;
use super::probes::{self, is_served};
use super::servers::Servers;
use crate::process::{Server, field};

/// Limit of an upgrade, with the drain of what was not handed over.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Limit for the system to end a process that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at the processes.
const INTERVAL: Duration = Duration::from_millis(2);

/// A kill with SIGKILL.
#[derive(Clone, Copy)]
pub struct Kill {
    /// The process to kill.
    pub side: Side,
    /// The time from the successor's start.
    pub after: Duration,
}

/// A process of an upgrade.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that served before.
    Predecessor,
    /// The process that is to serve.
    Successor,
}

/// How an upgrade ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The successor serves, and the predecessor has ended.
    Completed,
    /// The predecessor was killed, and the successor serves.
    Inherited,
    /// The predecessor was killed before the successor could serve, and a process was started anew.
    NothingLeft,
    /// The successor was killed before the commit, and the predecessor serves.
    Revoked,
    /// The successor was killed after the commit, and a process was started anew.
    TooLate,
    /// The successor ended by itself, and the predecessor serves.
    Failed,
}

impl Outcome {
    /// Returns the name for the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Inherited => "predecessor killed, successor serves",
            Self::NothingLeft => "predecessor killed too early",
            Self::Revoked => "successor killed, predecessor serves",
            Self::TooLate => "successor killed after its commit",
            Self::Failed => "FAILED: the successor ended",
        }
    }
}

/// What a process logged about the sessions of a handover.
#[derive(Clone, Copy)]
pub struct Transfer {
    /// Sessions that went from one process to the other.
    pub sessions: u64,
    /// Time from the Hello to the end of the transfer.
    pub duration: Duration,
    /// The longest time for which a session was frozen.
    pub pause: Duration,
}

/// What happened in one upgrade. Times without further words are from the successor's start.
pub struct Upgrade {
    /// The kill, if it came before the end.
    pub kill: Option<Kill>,
    /// The times of the beginning and the end on the common clock.
    pub time: RangeInclusive<Duration>,
    /// When the successor said that it has taken over.
    pub ready: Option<Duration>,
    /// When the predecessor ended.
    pub predecessor_ended: Option<Duration>,
    /// What the predecessor said.
    pub handed_over: Option<Transfer>,
    /// What the successor said.
    pub taken_over: Option<Transfer>,
    /// How it ended.
    pub outcome: Outcome,
    /// Other failures of the processes.
    pub failures: Vec<String>,
}

impl Upgrade {
    /// Performs an upgrade of `current`, which is then the process that serves.
    ///
    /// # Errors
    ///
    /// A process cannot be started, or no process serves in time.
    pub fn perform(
        servers: &mut Servers,
        current: &mut Server,
        kill: Option<Kill>,
        clock: Clock,
    ) -> io::Result<Self> {
        let (began, started) = (clock.now(), Instant::now());
        let mut successor = servers.start_successor()?;
        let mut upgrade = Self {
            kill: None,
            time: began..=began,
            ready: None,
            predecessor_ended: None,
            handed_over: None,
            taken_over: None,
            outcome: Outcome::Completed,
            failures: Vec::new(),
        };
        let mut kill = kill;
        while started.elapsed() < TIMEOUT {
            let predecessor_runs = current.exit_status()?.is_none();
            let successor_runs = successor.exit_status()?.is_none();
            if let Some(due) = kill.take_if(|kill| started.elapsed() >= kill.after) {
                let (victim, runs) = match due.side {
                    Side::Predecessor => (&mut *current, predecessor_runs),
                    Side::Successor => (&mut successor, successor_runs),
                };
                if runs {
                    victim.kill()?;
                    victim.wait_for_exit(KILL_TIMEOUT)?;
                    upgrade.kill = Some(due);
                    continue;
                }
            }
            upgrade.observe(current, &mut successor, started, predecessor_runs)?;
            let killed = upgrade.kill.map(|kill| kill.side);
            let outcome = match (predecessor_runs, successor_runs) {
                (true, true) => None,
                (false, true) => upgrade.ready.map(|_| match killed {
                    Some(Side::Predecessor) => Outcome::Inherited,
                    Some(Side::Successor) | None => Outcome::Completed,
                }),
                // After a commit it does not accept any more, and ends.
                (true, false) => is_served(servers.routes.direct).then_some(match killed {
                    Some(Side::Successor) => Outcome::Revoked,
                    Some(Side::Predecessor) | None => Outcome::Failed,
                }),
                (false, false) => Some(match killed {
                    Some(Side::Predecessor) => Outcome::NothingLeft,
                    Some(Side::Successor) => Outcome::TooLate,
                    None => return Err(io::Error::other("both processes ended by themselves")),
                }),
            };
            if let Some(outcome) = outcome {
                upgrade.observe(current, &mut successor, started, predecessor_runs)?;
                upgrade.outcome = outcome;
                upgrade.settle(servers, current, successor)?;
                upgrade.time = began..=clock.now();
                return Ok(upgrade);
            }
            sleep(INTERVAL);
        }
        Err(io::Error::other("no process serves"))
    }

    /// Returns how many sessions may have been lost, of those that were open before and of probes.
    #[must_use]
    pub fn allowed_losses(&self, open: usize) -> usize {
        let all = open + probes::THREADS;
        match self.outcome {
            Outcome::Completed | Outcome::Revoked | Outcome::Failed => 0,
            Outcome::Inherited => {
                let taken = self.taken_over.map_or(0, |transfer| transfer.sessions);
                all.saturating_sub(usize::try_from(taken).unwrap_or(0))
            }
            Outcome::NothingLeft | Outcome::TooLate => all,
        }
    }

    fn observe(
        &mut self,
        predecessor: &mut Server,
        successor: &mut Server,
        started: Instant,
        predecessor_runs: bool,
    ) -> io::Result<()> {
        if !predecessor_runs {
            self.predecessor_ended.get_or_insert_with(|| started.elapsed());
        }
        self.handed_over = predecessor.log.read_new()?.handed_over.as_deref().and_then(transfer);
        self.taken_over = successor.log.read_new()?.taken_over.as_deref().and_then(transfer);
        if self.taken_over.is_some() {
            self.ready.get_or_insert_with(|| started.elapsed());
        }
        Ok(())
    }

    /// Makes `current` the process that serves, and starts one if there is none.
    fn settle(
        &mut self,
        servers: &mut Servers,
        current: &mut Server,
        mut successor: Server,
    ) -> io::Result<()> {
        match self.outcome {
            Outcome::Completed | Outcome::Inherited => mem::swap(current, &mut successor),
            Outcome::Revoked => return Ok(()),
            Outcome::Failed => {
                let path = successor.log.path.display();
                self.failures.push(format!("a successor ended by itself, see {path}"));
                return Ok(());
            }
            Outcome::NothingLeft | Outcome::TooLate => {
                *current = servers.start_alone()?;
            }
        }
        // After the swap, this is the predecessor.
        if let (Outcome::Completed, Some(status)) = (self.outcome, successor.exit_status()?)
            && !status.success()
        {
            self.failures.push(format!("a predecessor ended with {status}"));
        }
        Ok(())
    }
}

fn transfer(line: &str) -> Option<Transfer> {
    let time =
        |name| Some(Duration::from_secs_f64(field(line, name)?.parse::<f64>().ok()? / 1000.0));
    Some(Transfer {
        sessions: field(line, "sessions")?.parse().ok()?,
        duration: time("duration_ms")?,
        pause: time("pause_ms")?,
    })
}
