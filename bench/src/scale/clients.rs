//! A process with clients. It reads commands from its standard input, a line each, and answers each with a
//! line that says how far its clients have come. It ends with its input, or when a client sees what it must
//! not see: the load generator fails then.

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use nix::time::ClockId;

use super::{STATES, state};
use crate::load::clients::Clients;
use crate::load::protocol::Protocol;
use crate::load::session::{Event, Session};

/// Limit for all of it.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// Time after which a command is noticed while nothing arrives from the server.
const COMMAND_INTERVAL: Duration = Duration::from_millis(5);

/// What the clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens so many more sessions, and answers when they are open.
    Open(usize),
    /// Permits the server to close with 1001 from then on.
    ExpectClose,
    Report,
}

/// How far the clients of a process have come, or those of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sessions that have not ended.
    pub open: usize,
    /// Pings of the server, which were answered.
    pub pings: usize,
    /// States: each session was sent the ones before.
    pub states: usize,
    /// Close frames with the code 1001.
    pub closes: usize,
    /// When the latest state or Close frame arrived, on the clock of [`now`].
    pub latest: Duration,
}

/// Returns the time on a clock that all processes of the machine share.
///
/// # Errors
///
/// The system has no such clock.
pub fn now() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_MONOTONIC.now()?.into())
}

/// Performs the commands of the standard input.
///
/// # Errors
///
/// A client saw what it must not see.
pub fn run(server: SocketAddr) -> io::Result<()> {
    let commands = commands();
    let mut clients = Clients::new(server, &Protocol::PLAIN, TIME_LIMIT)?;
    clients.expects_messages = true;
    let mut received = Received::default();
    loop {
        match commands.try_recv() {
            Ok(command) => {
                match command?.parse()? {
                    Command::Open(count) => clients.open(count)?,
                    Command::ExpectClose => clients.expected_close = Some(1001),
                    Command::Report => {}
                }
                writeln!(io::stdout(), "{}", received.progress(&clients))?;
            }
            Err(TryRecvError::Empty) => {
                clients.poll(
                    COMMAND_INTERVAL,
                    &mut |session: &mut Session, event: Event<'_>| {
                        received.on_event(session.key, event)
                    },
                )?;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Reads lines in a thread of its own.
fn commands() -> Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the clients have received.
#[derive(Default)]
struct Received {
    /// The number of states that the session with this key has.
    states: Vec<usize>,
    all_states: usize,
    latest: Duration,
}

impl Received {
    fn on_event(&mut self, key: usize, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Message(payload) => {
                if self.states.len() <= key {
                    self.states.resize(key + 1, 0);
                }
                let number = &mut self.states[key];
                if *number == STATES || payload != state(*number).as_bytes() {
                    return Err(io::Error::other(format!(
                        "received something after {number} states"
                    )));
                }
                *number += 1;
                self.all_states += 1;
                self.latest = now()?;
            }
            Event::Close => self.latest = now()?,
            _ => {}
        }
        Ok(())
    }

    fn progress(&self, clients: &Clients) -> Progress {
        let counters = &clients.counters;
        Progress {
            open: counters.open,
            pings: counters.pings,
            states: self.all_states,
            closes: counters.closes,
            latest: self.latest,
        }
    }
}

impl Progress {
    /// Returns the progress of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            open: self.open + other.open,
            pings: self.pings + other.pings,
            states: self.states + other.states,
            closes: self.closes + other.closes,
            latest: self.latest.max(other.latest),
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(count) => write!(f, "open {count}"),
            Self::ExpectClose => f.write_str("expect-close"),
            Self::Report => f.write_str("report"),
        }
    }
}

impl FromStr for Command {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let count = line.strip_prefix("open ").and_then(|count| count.parse().ok());
        match (line, count) {
            (_, Some(count)) => Ok(Self::Open(count)),
            ("expect-close", _) => Ok(Self::ExpectClose),
            ("report", _) => Ok(Self::Report),
            _ => Err(io::Error::other(format!("unknown command {line:?}"))),
        }
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { open, pings, states, closes, latest } = self;
        write!(f, "{open} {pings} {states} {closes} {}", latest.as_nanos())
    }
}

impl FromStr for Progress {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        let invalid = || io::Error::other(format!("the clients have written {line:?}"));
        let Ok(&[open, pings, states, closes, latest]) = numbers.as_deref() else {
            return Err(invalid());
        };
        let count = |number: u64| usize::try_from(number).map_err(|_| invalid());
        Ok(Self {
            open: count(open)?,
            pings: count(pings)?,
            states: count(states)?,
            closes: count(closes)?,
            latest: Duration::from_nanos(latest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_and_a_report_are_read_as_they_were_written() {
        for command in [Command::Open(17), Command::ExpectClose, Command::Report] {
            assert_eq!(command.to_string().parse::<Command>().unwrap(), command);
        }
        let progress =
            Progress { open: 1, pings: 2, states: 3, closes: 4, latest: Duration::new(5, 6) };
        assert_eq!(progress.to_string().parse::<Progress>().unwrap(), progress);
    }

    #[test]
    fn a_session_must_be_sent_each_state_once_and_in_order() {
        let mut received = Received::default();
        let mut message =
            |key, number| received.on_event(key, Event::Message(state(number).as_bytes())).is_ok();
        assert!(message(1, 0) && message(0, 0) && message(1, 1));
        assert!(!message(0, 0), "the same again");
        assert!(!message(1, 3), "one is missing");
    }
}
