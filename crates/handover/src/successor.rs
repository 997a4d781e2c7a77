//! The side of the process that takes the sessions over.

use crate::time_limit::TimeLimit;

/// The successor in one handover, from the Welcome that it has received to the outcome.
///
/// [`handle`](Self::handle) takes every event; the other methods are getters. The
/// [front page](crate#the-successor) has the diagram.
///
/// ```
/// use handover::successor::{Action, Event, Outcome, Successor};
///
/// let mut successor = Successor::new();
/// assert_eq!(successor.handle(Event::Prepared), Some(Action::SendReady));
///
/// // The predecessor is killed while it sends a batch, and its sessions survive.
/// assert_eq!(successor.handle(Event::Lost), Some(Action::ReadVerdict));
/// assert_eq!(successor.handle(Event::PredecessorGone), Some(Action::Own));
/// assert_eq!(successor.outcome(), Some(Outcome::Serve));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    state: State,
    has_owned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// The process composes itself.
    Preparing,
    /// Records arrive and are staged.
    Receiving,
    /// The batch is complete, and `Taken` is being written.
    Sealed,
    /// There will be no `Taken` for what is staged. Whose it is depends on the pipe.
    Undecided,
    Ended(Outcome),
}

/// An input of the successor.
///
/// An event that means nothing in a state is ignored there. While the process composes itself, only
/// [`Prepared`](Self::Prepared) has a meaning: the control socket is read afterwards, and its end is found
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The end of the batch was read: all its records are staged.
    BatchSealed,
    /// The predecessor said that nothing more comes. Before the first batch it counts as
    /// [`Lost`](Self::Lost).
    Finished,
    /// The control socket ended or failed, or a message was malformed. Whatever arrived before was read first.
    Lost,
    /// After [`Action::ReadVerdict`]: nothing could be read from the pipe within a time limit.
    NoVerdict,
    /// After [`Action::ReadVerdict`]: the pipe ended without a byte. The predecessor is dead or has nothing
    /// staged here, and what it froze was never resumed.
    PredecessorGone,
    /// The process is composed and could serve.
    Prepared,
    /// After [`Action::ReadVerdict`]: the byte was read. The sessions are the predecessor's again.
    Revoked,
    /// `Ready` or `Taken` could not be written.
    SendFailed,
    /// `Taken` was written: the batch is committed.
    TakenSent,
    /// The [time limit](Successor::time_limit) of the state has passed.
    TimedOut,
}

/// What the driver of the successor has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drop what is staged: close its descriptors, and neither read, write nor shut down any of them. An
    /// outcome follows.
    Discard,
    /// What is staged is this process's: serve it. The first time, accept on the listening sockets as well.
    Own,
    /// Shut down both directions of the control socket, so that the predecessor decides, and stage the records
    /// that were written before. Then read the pipe within a time limit, and report [`Event::Revoked`],
    /// [`Event::PredecessorGone`] or [`Event::NoVerdict`].
    ReadVerdict,
    /// Write `Ready`, then read the control socket. If the write fails, report [`Event::SendFailed`].
    SendReady,
    /// Write `Taken` in one call that does not wait, and report [`Event::TakenSent`] or
    /// [`Event::SendFailed`].
    SendTaken,
}

/// How the successor goes on. The driver first closes the control socket and the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The predecessor has the sessions and the listening sockets, now or when it runs again: end this
    /// process.
    Exit,
    /// Serve: the listening sockets and everything owned is this process's. Nothing more comes.
    Serve,
}

impl Successor {
    /// Creates the machine of a successor that has received the Welcome.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Preparing, has_owned: false }
    }

    /// Processes an event, and returns the action that follows from it.
    ///
    /// Returns `None` for every event after the [`outcome`](Self::outcome).
    pub fn handle(&mut self, event: Event) -> Option<Action> {
        match self.state {
            State::Preparing => self.handle_preparing(event),
            State::Receiving => self.handle_receiving(event),
            State::Sealed => self.handle_sealed(event),
            State::Undecided => self.handle_undecided(event),
            State::Ended(_) => None,
        }
    }

    /// Returns how the process goes on, when the handover is over and the last action is performed; `None`
    /// before.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Ended(outcome) => Some(outcome),
            State::Preparing | State::Receiving | State::Sealed | State::Undecided => None,
        }
    }

    /// Returns whether the listening sockets and at least one batch, which may be empty, are this process's.
    #[must_use]
    pub fn has_owned(&self) -> bool {
        self.has_owned
    }

    /// Returns the limit after which the driver reports [`Event::TimedOut`], if the state has one.
    #[must_use]
    pub fn time_limit(&self) -> Option<TimeLimit> {
        match self.state {
            State::Receiving if self.has_owned => Some(TimeLimit::NextBatch),
            State::Receiving => Some(TimeLimit::Progress),
            State::Preparing | State::Sealed | State::Undecided | State::Ended(_) => None,
        }
    }

    fn handle_preparing(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Prepared => self.enter(State::Receiving, Action::SendReady),
            Event::BatchSealed
            | Event::Finished
            | Event::Lost
            | Event::NoVerdict
            | Event::PredecessorGone
            | Event::Revoked
            | Event::SendFailed
            | Event::TakenSent
            | Event::TimedOut => None,
        }
    }

    fn handle_receiving(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::BatchSealed => self.enter(State::Sealed, Action::SendTaken),
            Event::Finished if self.has_owned => {
                self.state = State::Ended(Outcome::Serve);
                None
            }
            Event::Finished | Event::Lost | Event::SendFailed | Event::TimedOut => {
                self.enter(State::Undecided, Action::ReadVerdict)
            }
            Event::NoVerdict
            | Event::Prepared
            | Event::PredecessorGone
            | Event::Revoked
            | Event::TakenSent => None,
        }
    }

    /// Only the result of the write counts: a control socket that ends afterwards does not undo a `Taken`.
    fn handle_sealed(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::TakenSent => self.own(State::Receiving),
            Event::SendFailed => self.enter(State::Undecided, Action::ReadVerdict),
            Event::BatchSealed
            | Event::Finished
            | Event::Lost
            | Event::NoVerdict
            | Event::Prepared
            | Event::PredecessorGone
            | Event::Revoked
            | Event::TimedOut => None,
        }
    }

    fn handle_undecided(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::PredecessorGone => self.own(State::Ended(Outcome::Serve)),
            // A predecessor that says nothing may be stopped, and resumes its sessions when it runs again.
            Event::NoVerdict | Event::Revoked => {
                let outcome = if self.has_owned { Outcome::Serve } else { Outcome::Exit };
                self.enter(State::Ended(outcome), Action::Discard)
            }
            Event::BatchSealed
            | Event::Finished
            | Event::Lost
            | Event::Prepared
            | Event::SendFailed
            | Event::TakenSent
            | Event::TimedOut => None,
        }
    }

    fn own(&mut self, next: State) -> Option<Action> {
        self.has_owned = true;
        self.enter(next, Action::Own)
    }

    fn enter(&mut self, state: State, action: Action) -> Option<Action> {
        self.state = state;
        Some(action)
    }
}

impl Default for Successor {
    fn default() -> Self {
        Self::new()
    }
}
