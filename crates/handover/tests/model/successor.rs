//! The successor's process: its driver, its sessions, and the machine under test.

use handover::successor::{Action, Event, Outcome, Successor};

use super::channel::Read;
use super::{Life, SESSIONS, Session, ToPredecessor, ToSuccessor, Todo, Wires};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub life: Life,
    pub machine: Successor,
    pub sessions: [Held; SESSIONS],
    pub accepts: bool,
    /// Whether it read nothing from the pipe within the time limit.
    pub has_no_verdict: bool,
    is_prepared: bool,
    todo: Option<Todo<Action, Event>>,
}

/// What the successor has of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    Nothing,
    Served,
    Staged,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Another error of the control socket, or a malformed message.
    Fail,
    /// The read of the pipe times out.
    GiveUpReading,
    IsPrepared,
    /// Performs the next part of an action, reports its result, or enters the outcome.
    Proceed,
    Read,
    TimeOut,
}

impl Step {
    /// Returns whether this happens to the process, so that it cannot rely on it.
    pub fn is_external(self) -> bool {
        matches!(self, Self::Fail)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        let steps = [Self::IsPrepared, Self::Proceed, Self::Read];
        steps.into_iter().chain([Self::Fail, Self::GiveUpReading, Self::TimeOut])
    }
}

impl Process {
    pub fn new() -> Self {
        Self {
            life: Life::Running,
            machine: Successor::new(),
            sessions: [Held::Nothing; SESSIONS],
            accepts: false,
            has_no_verdict: false,
            is_prepared: false,
            todo: None,
        }
    }

    pub fn serves(&self, session: Session) -> bool {
        self.life != Life::Killed && self.sessions[session] == Held::Served
    }

    /// Takes a step and returns whether it was possible. `on_commit` is called when `Taken` is written.
    pub fn step(&mut self, step: Step, wires: &mut Wires, on_commit: impl FnOnce(&Self)) -> bool {
        if self.life != Life::Running {
            return false;
        }
        let is_free = self.todo.is_none() && self.machine.outcome().is_none();
        match step {
            Step::Proceed => return self.proceed(wires, on_commit),
            Step::GiveUpReading => {
                let reads_pipe = self.todo == Some(Todo::Perform(Action::ReadVerdict));
                if !reads_pipe
                    || !wires.to_successor.is_shut()
                    || wires.pipe.read() != Read::Nothing
                {
                    return false;
                }
                self.has_no_verdict = true;
                self.todo = Some(Todo::Report(Event::NoVerdict));
            }
            _ if !is_free => return false,
            Step::IsPrepared => {
                if self.is_prepared {
                    return false;
                }
                self.is_prepared = true;
                self.handle(Event::Prepared);
            }
            Step::Fail => self.handle(Event::Lost),
            Step::Read => {
                if !self.is_prepared {
                    return false;
                }
                match wires.to_successor.read() {
                    Read::Message(ToSuccessor::Record(n)) => self.sessions[n] = Held::Staged,
                    Read::Message(ToSuccessor::Sealed) => self.handle(Event::BatchSealed),
                    Read::Message(ToSuccessor::Finished) => self.handle(Event::Finished),
                    Read::End => self.handle(Event::Lost),
                    Read::Nothing => return false,
                }
            }
            Step::TimeOut => {
                if self.machine.time_limit().is_none() {
                    return false;
                }
                self.handle(Event::TimedOut);
            }
        }
        true
    }

    fn handle(&mut self, event: Event) {
        self.todo = self.machine.handle(event).map(Todo::Perform);
    }

    fn proceed(&mut self, wires: &mut Wires, on_commit: impl FnOnce(&Self)) -> bool {
        match self.todo.take() {
            Some(Todo::Perform(Action::ReadVerdict)) => return self.read_verdict(wires),
            Some(Todo::Perform(Action::SendReady)) => {
                if !wires.to_predecessor.write(ToPredecessor::Ready) {
                    self.todo = Some(Todo::Report(Event::SendFailed));
                }
            }
            Some(Todo::Perform(Action::SendTaken)) => {
                let is_sent = wires.to_predecessor.write(ToPredecessor::Taken);
                if is_sent {
                    on_commit(self);
                }
                let event = if is_sent { Event::TakenSent } else { Event::SendFailed };
                self.todo = Some(Todo::Report(event));
            }
            Some(Todo::Perform(Action::Own)) => {
                self.accepts = true;
                self.replace_staged(Held::Served);
            }
            Some(Todo::Perform(Action::Discard)) => self.replace_staged(Held::Nothing),
            Some(Todo::Report(event)) => self.handle(event),
            None => match self.machine.outcome() {
                Some(Outcome::Exit | Outcome::Serve) => {
                    self.life = Life::Done;
                    wires.close_successor();
                }
                None => return false,
            },
        }
        true
    }

    /// First shuts down the control socket, then stages what is left in it, then reads the pipe.
    fn read_verdict(&mut self, wires: &mut Wires) -> bool {
        self.todo = Some(Todo::Perform(Action::ReadVerdict));
        if !wires.to_successor.is_shut() {
            wires.to_successor.shut_reader();
            wires.to_predecessor.close_writer();
        } else if let Read::Message(message) = wires.to_successor.read() {
            if let ToSuccessor::Record(session) = message {
                self.sessions[session] = Held::Staged;
            }
        } else {
            let event = match wires.pipe.read() {
                Read::Message(()) => Event::Revoked,
                Read::End => Event::PredecessorGone,
                Read::Nothing => return false,
            };
            self.todo = Some(Todo::Report(event));
        }
        true
    }

    fn replace_staged(&mut self, held: Held) {
        for session in self.sessions.iter_mut().filter(|held| **held == Held::Staged) {
            *session = held;
        }
    }
}
