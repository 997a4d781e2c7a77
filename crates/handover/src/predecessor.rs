//! The side of the process that has the sessions and hands them over.

use crate::time_limit::TimeLimit;

/// The predecessor in one handover, from the Welcome that it has sent to the outcome.
///
/// [`handle`](Self::handle) takes every event; the other methods are getters. The
/// [front page](crate#the-predecessor) has the diagram.
///
/// ```
/// use handover::predecessor::{Action, Event, Outcome, Predecessor};
///
/// let mut predecessor = Predecessor::new();
/// assert_eq!(predecessor.handle(Event::Ready), Some(Action::Freeze));
/// assert_eq!(predecessor.handle(Event::BatchSent), Some(Action::Seal));
///
/// // No answer: nothing is resumed before it is certain that none can come.
/// assert_eq!(predecessor.handle(Event::TimedOut), Some(Action::StopReceiving));
/// assert_eq!(predecessor.handle(Event::NotTaken), Some(Action::Revoke));
/// assert_eq!(predecessor.handle(Event::Revoked), Some(Action::Resume));
/// assert_eq!(predecessor.outcome(), Some(Outcome::Continue));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Predecessor {
    state: State,
    has_committed: bool,
    /// Whether no further batch begins, because the wait is over or the process has to stop.
    is_last_batch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// The successor composes itself. Nothing is frozen.
    Preparing,
    /// Sessions freeze, and their records are written: the batch is open.
    Freezing,
    /// The end of the batch is written. The successor may commit it at any moment.
    Sealed,
    /// The successor can no longer commit the batch, and may have done so before.
    Checking,
    /// The batch is not committed and never will be. The successor does not know it yet.
    Revoking,
    /// All batches are committed. Sessions that were not at rest go on, and may freeze.
    Waiting,
    Ended(Outcome),
}

/// An input of the predecessor.
///
/// An event that means nothing in a state is ignored there. A message of the successor that is out of place
/// counts as [`Lost`](Self::Lost).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The records of all frozen sessions are written. The first batch has every session that is at rest.
    BatchSent,
    /// A session has come to rest and is frozen, and its record is to be written: the next batch begins.
    ///
    /// Only after a commit. Sessions that freeze while a batch is sealed are reported after its commit.
    Frozen,
    /// The control socket ended or failed, also while writing, or a message was malformed.
    Lost,
    /// After [`Action::StopReceiving`]: no `Taken` was left in the control socket.
    NotTaken,
    /// The successor is composed and wrote `Ready`.
    Ready,
    /// After [`Action::Revoke`]: the byte is in the pipe, or the pipe has no reader any more.
    Revoked,
    /// The process has to stop. The batch that is open or sealed is completed or revoked first.
    StopRequested,
    /// The successor wrote `Taken`, which was read as usual or after [`Action::StopReceiving`].
    Taken,
    /// The [time limit](Predecessor::time_limit) of the state has passed.
    TimedOut,
    /// The wait for sessions that were not at rest is over. It begins with the first commit.
    WaitOver,
}

/// What the driver of the predecessor has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The sealed batch is the successor's: end its sessions here without a word to their peers, that is,
    /// close the descriptors and shut nothing down. The first time, close the listening sockets likewise.
    /// Sessions that froze after the seal are not part of the batch.
    Commit,
    /// Stop accepting. From now on each session freezes when it is at rest, until this machine has an
    /// [`outcome`](Predecessor::outcome). Write the records of those that are at rest already, then report
    /// [`Event::BatchSent`].
    Freeze,
    /// Resume all frozen sessions, in a batch or not. An outcome follows.
    Resume,
    /// Write the byte that means "revoked" into the pipe, and report [`Event::Revoked`], also if that fails:
    /// then no successor is left.
    Revoke,
    /// Write the end of the batch. If that fails, report [`Event::Lost`].
    Seal,
    /// Shut down the receiving side of the control socket, so that no later `Taken` can be written. Then read
    /// what was written before, and report [`Event::Taken`] or [`Event::NotTaken`].
    StopReceiving,
}

/// How the predecessor goes on. The driver first closes the control socket and the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing was handed over: accept again, and serve as if nothing had been.
    Continue,
    /// No session freezes any more, and one that is frozen resumes. Tell the successor that nothing more
    /// comes, if the control socket still works; then drain what is left, and end.
    Drain,
}

impl Predecessor {
    /// Creates the machine of a predecessor that has sent its Welcome.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Preparing, has_committed: false, is_last_batch: false }
    }

    /// Processes an event, and returns the action that follows from it.
    ///
    /// Returns `None` for every event after the [`outcome`](Self::outcome).
    pub fn handle(&mut self, event: Event) -> Option<Action> {
        let is_wait_over = self.has_committed && event == Event::WaitOver;
        self.is_last_batch |= is_wait_over || event == Event::StopRequested;
        match self.state {
            State::Preparing => self.handle_preparing(event),
            State::Freezing => self.handle_freezing(event),
            State::Sealed => self.handle_sealed(event),
            State::Checking => self.handle_checking(event),
            State::Revoking => self.handle_revoking(event),
            State::Waiting => self.handle_waiting(event),
            State::Ended(_) => None,
        }
    }

    /// Returns how the process goes on, when the handover is over and the last action is performed; `None`
    /// before.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Ended(outcome) => Some(outcome),
            State::Preparing
            | State::Freezing
            | State::Sealed
            | State::Checking
            | State::Revoking
            | State::Waiting => None,
        }
    }

    /// Returns whether a batch was committed: the listening sockets are the successor's.
    #[must_use]
    pub fn has_committed(&self) -> bool {
        self.has_committed
    }

    /// Returns the limit after which the driver reports [`Event::TimedOut`], if the state has one.
    #[must_use]
    pub fn time_limit(&self) -> Option<TimeLimit> {
        match self.state {
            State::Preparing => Some(TimeLimit::Preparation),
            State::Freezing | State::Sealed => Some(TimeLimit::Progress),
            State::Checking | State::Revoking | State::Waiting | State::Ended(_) => None,
        }
    }

    fn handle_preparing(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Ready => self.enter(State::Freezing, Action::Freeze),
            // The successor has the listening sockets: it has to know that they are not its own.
            Event::Lost | Event::StopRequested | Event::Taken | Event::TimedOut => {
                self.enter(State::Revoking, Action::Revoke)
            }
            Event::BatchSent
            | Event::Frozen
            | Event::NotTaken
            | Event::Revoked
            | Event::WaitOver => None,
        }
    }

    fn handle_freezing(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::BatchSent => self.enter(State::Sealed, Action::Seal),
            // The successor takes no batch that is not sealed, so there is nothing to check.
            Event::Lost | Event::Ready | Event::Taken | Event::TimedOut => {
                self.enter(State::Revoking, Action::Revoke)
            }
            Event::Frozen
            | Event::NotTaken
            | Event::Revoked
            | Event::StopRequested
            | Event::WaitOver => None,
        }
    }

    fn handle_sealed(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Taken => self.commit(),
            // A lost control socket may still have a `Taken` to read.
            Event::Lost | Event::Ready | Event::TimedOut => {
                self.enter(State::Checking, Action::StopReceiving)
            }
            Event::BatchSent
            | Event::Frozen
            | Event::NotTaken
            | Event::Revoked
            | Event::StopRequested
            | Event::WaitOver => None,
        }
    }

    fn handle_checking(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Taken => {
                // The control socket is given up: there is no further batch.
                self.is_last_batch = true;
                self.commit()
            }
            Event::NotTaken => self.enter(State::Revoking, Action::Revoke),
            Event::BatchSent
            | Event::Frozen
            | Event::Lost
            | Event::Ready
            | Event::Revoked
            | Event::StopRequested
            | Event::TimedOut
            | Event::WaitOver => None,
        }
    }

    fn handle_revoking(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Revoked => {
                let drains = self.has_committed || self.is_last_batch;
                let outcome = if drains { Outcome::Drain } else { Outcome::Continue };
                self.enter(State::Ended(outcome), Action::Resume)
            }
            Event::BatchSent
            | Event::Frozen
            | Event::Lost
            | Event::NotTaken
            | Event::Ready
            | Event::StopRequested
            | Event::Taken
            | Event::TimedOut
            | Event::WaitOver => None,
        }
    }

    fn handle_waiting(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Frozen => self.state = State::Freezing,
            // No record of an uncommitted batch was written, so there is nothing to revoke.
            Event::Lost | Event::Ready | Event::StopRequested | Event::Taken | Event::WaitOver => {
                self.state = State::Ended(Outcome::Drain);
            }
            Event::BatchSent | Event::NotTaken | Event::Revoked | Event::TimedOut => {}
        }
        None
    }

    fn commit(&mut self) -> Option<Action> {
        self.has_committed = true;
        let next = if self.is_last_batch { State::Ended(Outcome::Drain) } else { State::Waiting };
        self.enter(next, Action::Commit)
    }

    fn enter(&mut self, state: State, action: Action) -> Option<Action> {
        self.state = state;
        Some(action)
    }
}

impl Default for Predecessor {
    fn default() -> Self {
        Self::new()
    }
}
