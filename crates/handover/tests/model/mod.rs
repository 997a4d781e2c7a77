//! Both processes of a handover, what is between them, and who owns each session.

pub mod channel;
pub mod predecessor;
pub mod successor;

use channel::Channel;

/// A session, by its number.
pub type Session = usize;

/// The session that is at rest from the beginning.
pub const EARLY: Session = 0;
/// The session that comes to rest at some time.
pub const LATER: Session = 1;
/// The session that is never at rest.
pub const BUSY: Session = 2;
pub const SESSIONS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub predecessor: predecessor::Process,
    pub successor: successor::Process,
    pub wires: Wires,
    /// The sessions whose batch was committed: `Taken` was written while they were staged.
    pub committed: [bool; SESSIONS],
    /// The sessions that passed to the successor when the predecessor died.
    pub inherited: [bool; SESSIONS],
    /// Whether the byte was written while the successor could read it.
    pub is_revoked: bool,
}

/// The control socket and the pipe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wires {
    pub to_predecessor: Channel<ToPredecessor>,
    pub to_successor: Channel<ToSuccessor>,
    pub pipe: Channel<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToPredecessor {
    Ready,
    Taken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToSuccessor {
    Finished,
    Record(Session),
    Sealed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Running,
    /// The handover is over for this process.
    Done,
    Killed,
}

/// What a driver does before it looks for events again. Anything may happen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Todo<Action, Event> {
    Perform(Action),
    Report(Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It died with the predecessor.
    Neither,
    Predecessor,
    Successor,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    KillPredecessor,
    KillSuccessor,
    Predecessor(predecessor::Step),
    Successor(successor::Step),
}

impl Step {
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::KillPredecessor, Self::KillSuccessor]
            .into_iter()
            .chain(predecessor::Step::all().map(Self::Predecessor))
            .chain(successor::Step::all().map(Self::Successor))
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            predecessor: predecessor::Process::new(),
            successor: successor::Process::new(),
            wires: Wires {
                to_predecessor: Channel::new(),
                to_successor: Channel::new(),
                pipe: Channel::new(),
            },
            committed: [false; SESSIONS],
            inherited: [false; SESSIONS],
            is_revoked: false,
        }
    }

    /// Returns the world after a step, or `None` if it is not possible.
    pub fn after(&self, step: Step) -> Option<Self> {
        let mut world = self.clone();
        let Self { predecessor, successor, wires, committed, .. } = &mut world;
        let is_possible = match step {
            Step::KillPredecessor => world.kill_predecessor(),
            Step::KillSuccessor => {
                wires.close_successor();
                std::mem::replace(&mut successor.life, Life::Killed) != Life::Killed
            }
            Step::Predecessor(step) => predecessor.step(step, wires),
            Step::Successor(step) => successor.step(step, wires, |successor| {
                for (committed, held) in committed.iter_mut().zip(successor.sessions) {
                    *committed |= held == successor::Held::Staged;
                }
            }),
        };
        world.is_revoked |= world.wires.pipe.contains(&());
        is_possible.then_some(world)
    }

    /// Returns whose a session is: each has one owner at any time, who may serve it.
    ///
    /// The owner changes with the write of `Taken`, and with the death of a predecessor that has sent the
    /// session, and neither revoked nor resumed it.
    pub fn owner(&self, session: Session) -> Owner {
        if self.committed[session] || self.inherited[session] {
            Owner::Successor
        } else if self.predecessor.life == Life::Killed {
            Owner::Neither
        } else {
            Owner::Predecessor
        }
    }

    fn kill_predecessor(&mut self) -> bool {
        for session in 0..SESSIONS {
            let has_record = self.successor.sessions[session] == successor::Held::Staged
                || self.wires.to_successor.contains(&ToSuccessor::Record(session));
            // A session that was resumed is no longer what its record says.
            let is_frozen = self.predecessor.sessions[session] == predecessor::Held::Sent;
            self.inherited[session] = has_record
                && is_frozen
                && !self.committed[session]
                && !self.is_revoked
                && self.successor.life == Life::Running
                && !self.successor.has_no_verdict;
        }
        self.wires.close_predecessor();
        std::mem::replace(&mut self.predecessor.life, Life::Killed) != Life::Killed
    }
}

impl Wires {
    pub fn close_predecessor(&mut self) {
        self.to_predecessor.close_reader();
        self.to_successor.close_writer();
        self.pipe.close_writer();
    }

    pub fn close_successor(&mut self) {
        self.to_predecessor.close_writer();
        self.to_successor.close_reader();
        self.pipe.close_reader();
    }
}
