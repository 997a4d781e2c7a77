//! The predecessor's process: its driver, its sessions, and the machine under test.

use handover::predecessor::{Action, Event, Outcome, Predecessor};

use super::channel::Read;
use super::{LATER, Life, SESSIONS, Session, ToPredecessor, ToSuccessor, Todo, Wires};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub life: Life,
    pub machine: Predecessor,
    pub sessions: [Held; SESSIONS],
    pub accepts: bool,
    pub batch: Batch,
    pub stop_requested: bool,
    /// Whether `Taken` was found after `SHUT_RD`.
    pub has_found_taken: bool,
    todo: Option<Todo<Action, Event>>,
    at_rest: [bool; SESSIONS],
    /// Whether sessions freeze when they are at rest.
    freezes: bool,
    wait_is_over: bool,
}

/// What the predecessor does with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    Closed,
    /// Frozen, and its record is not written.
    Frozen,
    /// Frozen, and in the open or sealed batch.
    Sent,
    Served,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Batch {
    None,
    Open,
    Sealed,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    BatchIsSent,
    ComesToRest,
    /// Another error of the control socket, or a malformed message.
    Fail,
    Freeze(Session),
    /// Performs the next part of an action, reports its result, or enters the outcome.
    Proceed,
    Read,
    ReportFrozen,
    Stop,
    TimeOut,
    WaitIsOver,
    WriteRecord(Session),
}

impl Step {
    /// Returns whether this happens to the process, so that it cannot rely on it.
    pub fn is_external(self) -> bool {
        matches!(self, Self::ComesToRest | Self::Fail | Self::Freeze(_) | Self::Stop)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        let of_sessions = (0..SESSIONS).flat_map(|n| [Self::Freeze(n), Self::WriteRecord(n)]);
        of_sessions.chain([
            Self::BatchIsSent,
            Self::ComesToRest,
            Self::Fail,
            Self::Proceed,
            Self::Read,
            Self::ReportFrozen,
            Self::Stop,
            Self::TimeOut,
            Self::WaitIsOver,
        ])
    }
}

impl Process {
    pub fn new() -> Self {
        Self {
            life: Life::Running,
            machine: Predecessor::new(),
            sessions: [Held::Served; SESSIONS],
            accepts: true,
            batch: Batch::None,
            stop_requested: false,
            has_found_taken: false,
            todo: None,
            at_rest: [true, false, false],
            freezes: false,
            wait_is_over: false,
        }
    }

    pub fn serves(&self, session: Session) -> bool {
        self.life != Life::Killed && self.sessions[session] == Held::Served
    }

    /// Takes a step and returns whether it was possible.
    pub fn step(&mut self, step: Step, wires: &mut Wires) -> bool {
        if self.life != Life::Running {
            return false;
        }
        let is_free = self.todo.is_none() && self.machine.outcome().is_none();
        match step {
            Step::ComesToRest => return !std::mem::replace(&mut self.at_rest[LATER], true),
            Step::Freeze(session) => {
                let freezes = self.freezes && self.at_rest[session] && self.serves(session);
                if freezes {
                    self.sessions[session] = Held::Frozen;
                }
                return freezes;
            }
            Step::Proceed => return self.proceed(wires),
            _ if !is_free => return false,
            Step::ReportFrozen => {
                let begins = self.batch == Batch::None && self.sessions.contains(&Held::Frozen);
                if begins {
                    self.batch = Batch::Open;
                    self.handle(Event::Frozen);
                }
                return begins;
            }
            Step::WriteRecord(session) => {
                if self.batch != Batch::Open || self.sessions[session] != Held::Frozen {
                    return false;
                }
                if wires.to_successor.write(ToSuccessor::Record(session)) {
                    self.sessions[session] = Held::Sent;
                } else {
                    self.handle(Event::Lost);
                }
            }
            Step::BatchIsSent => {
                if self.batch != Batch::Open || self.sessions.contains(&Held::Frozen) {
                    return false;
                }
                self.handle(Event::BatchSent);
            }
            Step::Fail => self.handle(Event::Lost),
            Step::Read => match wires.to_predecessor.read() {
                Read::Message(ToPredecessor::Ready) => self.handle(Event::Ready),
                Read::Message(ToPredecessor::Taken) => self.handle(Event::Taken),
                Read::End => self.handle(Event::Lost),
                Read::Nothing => return false,
            },
            Step::TimeOut => {
                if self.machine.time_limit().is_none() {
                    return false;
                }
                self.handle(Event::TimedOut);
            }
            Step::WaitIsOver => {
                if !self.machine.has_committed() || self.wait_is_over {
                    return false;
                }
                self.wait_is_over = true;
                self.handle(Event::WaitOver);
            }
            Step::Stop => {
                if self.stop_requested {
                    return false;
                }
                self.stop_requested = true;
                self.handle(Event::StopRequested);
            }
        }
        true
    }

    fn handle(&mut self, event: Event) {
        self.todo = self.machine.handle(event).map(Todo::Perform);
    }

    fn proceed(&mut self, wires: &mut Wires) -> bool {
        match self.todo.take() {
            Some(Todo::Perform(action)) => self.perform(action, wires),
            Some(Todo::Report(event)) => self.handle(event),
            None => match self.machine.outcome() {
                Some(outcome) => self.end(outcome, wires),
                None => return false,
            },
        }
        true
    }

    fn perform(&mut self, action: Action, wires: &mut Wires) {
        match action {
            Action::Freeze => {
                self.accepts = false;
                self.freezes = true;
                self.batch = Batch::Open;
            }
            Action::Seal => {
                self.batch = Batch::Sealed;
                if !wires.to_successor.write(ToSuccessor::Sealed) {
                    self.todo = Some(Todo::Report(Event::Lost));
                }
            }
            Action::Commit => {
                self.batch = Batch::None;
                for session in self.sessions.iter_mut().filter(|held| **held == Held::Sent) {
                    *session = Held::Closed;
                }
            }
            Action::StopReceiving => {
                self.todo = if wires.to_predecessor.is_shut() {
                    let message = wires.to_predecessor.read();
                    self.has_found_taken = message == Read::Message(ToPredecessor::Taken);
                    Some(Todo::Report(if self.has_found_taken {
                        Event::Taken
                    } else {
                        Event::NotTaken
                    }))
                } else {
                    wires.to_predecessor.shut_reader();
                    Some(Todo::Perform(action))
                };
            }
            Action::Revoke => {
                wires.pipe.write(());
                self.todo = Some(Todo::Report(Event::Revoked));
            }
            Action::Resume => self.resume(),
        }
    }

    fn end(&mut self, outcome: Outcome, wires: &mut Wires) {
        self.life = Life::Done;
        match outcome {
            Outcome::Continue => self.accepts = true,
            Outcome::Drain => {
                self.resume();
                self.accepts = false;
                wires.to_successor.write(ToSuccessor::Finished);
            }
        }
        wires.close_predecessor();
    }

    fn resume(&mut self) {
        self.freezes = false;
        for session in &mut self.sessions {
            if matches!(session, Held::Frozen | Held::Sent) {
                *session = Held::Served;
            }
        }
    }
}
