//! Both machines with the kernel between them: every order of their steps, with a timeout or a death at any
//! point. A process that is stopped is one whose steps come late or never.

#![allow(missing_docs, unreachable_pub, reason = "the model is part of this test")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

mod model;

use std::collections::HashMap;
use std::fmt::Write as _;

use handover::{predecessor, successor};
use model::predecessor::{Batch, Held};
use model::{BUSY, EARLY, LATER, Life, Owner, SESSIONS, Step, World};

#[test]
fn every_session_has_one_owner_who_serves_it_in_the_end() {
    let search = Search::run();
    println!("{} states, {} steps", search.nodes.len(), search.edges);
    search.assert_acyclic();
    for (name, is_seen) in ENDS {
        let count = search.nodes.iter().filter(|node| is_seen(&node.world)).count();
        println!("{count:7} {name}");
        assert_ne!(count, 0, "no history ends thus: {name}");
    }
}

/// What is true in every state.
fn check(world: &World) -> Result<(), String> {
    let World { predecessor, successor, .. } = world;
    for session in 0..SESSIONS {
        let owner = world.owner(session);
        if predecessor.serves(session) && owner != Owner::Predecessor {
            return Err(format!("the predecessor serves {session}, whose owner is {owner:?}"));
        }
        if successor.serves(session) && owner != Owner::Successor {
            return Err(format!("the successor serves {session}, whose owner is {owner:?}"));
        }
    }
    let lives = predecessor.life != Life::Killed && successor.life != Life::Killed;
    if lives && predecessor.accepts && successor.accepts {
        return Err("both accept".into());
    }
    Ok(())
}

/// What is true in a state in which the handover is over for both processes.
fn check_end(world: &World) -> Result<(), String> {
    let World { predecessor, successor, .. } = world;
    for session in 0..SESSIONS {
        let (lives, serves) = match world.owner(session) {
            Owner::Predecessor => (true, predecessor.serves(session)),
            Owner::Successor => (successor.life == Life::Done, successor.serves(session)),
            Owner::Neither => continue,
        };
        if lives && !serves {
            return Err(format!("no process serves {session}, and its owner lives"));
        }
    }
    let has_committed = predecessor.machine.has_committed();
    let serves = successor.machine.outcome() == Some(successor::Outcome::Serve);
    if successor.life == Life::Done && successor.accepts != serves {
        return Err("a successor accepts if and only if it serves".into());
    }
    if predecessor.life == Life::Done
        && predecessor.accepts == (has_committed || predecessor.stop_requested)
    {
        return Err("the predecessor accepts if and only if it has not committed or stopped".into());
    }
    Ok(())
}

type Predicate = fn(&World) -> bool;

/// Ends that the search has to find, so that its checks mean something.
const ENDS: [(&str, Predicate); 12] = [
    ("two batches are committed, and the predecessor drains the rest", |world| {
        both(world, Life::Done, Life::Done)
            && world.predecessor.machine.has_committed()
            && world.committed == [true, true, false]
            && world.predecessor.serves(BUSY)
    }),
    ("a batch is revoked, and the predecessor continues", |world| {
        both(world, Life::Done, Life::Done)
            && world.predecessor.machine.outcome() == Some(predecessor::Outcome::Continue)
            && world.predecessor.batch == Batch::Sealed
            && world.predecessor.sessions == [Held::Served; SESSIONS]
    }),
    (
        "a later batch is revoked: its session is drained, and the first batch stays committed",
        |world| {
            both(world, Life::Done, Life::Done)
                && world.is_revoked
                && world.successor.serves(EARLY)
                && world.predecessor.batch == Batch::Sealed
                && world.predecessor.serves(LATER)
        },
    ),
    ("`Taken` is found after the predecessor gave up", |world| {
        both(world, Life::Done, Life::Done) && world.predecessor.has_found_taken
    }),
    ("`Taken` is found, and the successor is dead", |world| {
        both(world, Life::Done, Life::Killed) && world.predecessor.has_found_taken
    }),
    ("the successor dies, and the predecessor continues", |world| {
        both(world, Life::Done, Life::Killed)
            && world.predecessor.machine.outcome() == Some(predecessor::Outcome::Continue)
            && world.predecessor.batch == Batch::Sealed
    }),
    ("the predecessor dies before anything is sent, and the successor accepts", |world| {
        both(world, Life::Killed, Life::Done)
            && world.predecessor.batch == Batch::None
            && world.successor.accepts
            && world.committed == [false; SESSIONS]
    }),
    ("the predecessor dies before the seal, and what it has sent survives", |world| {
        both(world, Life::Killed, Life::Done)
            && world.predecessor.batch == Batch::Open
            && world.inherited[EARLY]
            && world.successor.serves(EARLY)
    }),
    ("the predecessor dies after the seal, and the batch survives", |world| {
        both(world, Life::Killed, Life::Done)
            && world.predecessor.batch == Batch::Sealed
            && world.inherited[EARLY]
            && world.successor.serves(EARLY)
    }),
    ("the predecessor dies after a commit with a later batch, which survives", |world| {
        both(world, Life::Killed, Life::Done)
            && world.committed[EARLY]
            && world.inherited[LATER]
            && world.successor.serves(LATER)
    }),
    ("the predecessor dies after it has revoked, and its sessions with it", |world| {
        both(world, Life::Killed, Life::Done)
            && world.is_revoked
            && world.owner(EARLY) == Owner::Neither
    }),
    ("the successor exits without a verdict, and the predecessor continues", |world| {
        both(world, Life::Done, Life::Done)
            && world.successor.has_no_verdict
            && world.predecessor.accepts
    }),
];

fn both(world: &World, predecessor: Life, successor: Life) -> bool {
    world.predecessor.life == predecessor && world.successor.life == successor
}

/// All reachable states, each with the step that first led to it.
struct Search {
    nodes: Vec<Node>,
    edges: usize,
}

struct Node {
    world: World,
    origin: Option<(usize, Step)>,
    next: Vec<usize>,
}

impl Search {
    /// Searches breadth-first, and panics with the shortest history that breaks a rule.
    fn run() -> Self {
        let first = Node { world: World::new(), origin: None, next: Vec::new() };
        let mut numbers = HashMap::from([(first.world.clone(), 0)]);
        let mut search = Self { nodes: vec![first], edges: 0 };
        let mut number = 0;
        while let Some(node) = search.nodes.get(number) {
            let world = node.world.clone();
            search.expect(number, check(&world));
            if world.predecessor.life != Life::Running && world.successor.life != Life::Running {
                search.expect(number, check_end(&world));
            }
            let (mut can_predecessor, mut can_successor) = (false, false);
            for step in Step::all() {
                let Some(after) = world.after(step) else { continue };
                match step {
                    Step::Predecessor(step) => can_predecessor |= !step.is_external(),
                    Step::Successor(step) => can_successor |= !step.is_external(),
                    Step::KillPredecessor | Step::KillSuccessor => {}
                }
                let next = *numbers.entry(after).or_insert_with_key(|after| {
                    let origin = Some((number, step));
                    search.nodes.push(Node { world: after.clone(), origin, next: Vec::new() });
                    search.nodes.len() - 1
                });
                if next != number {
                    search.nodes[number].next.push(next);
                    search.edges += 1;
                }
            }
            let is_stuck = |life, can: bool| life == Life::Running && !can;
            if is_stuck(world.predecessor.life, can_predecessor) {
                search.expect(number, Err("the predecessor cannot go on alone".into()));
            }
            if is_stuck(world.successor.life, can_successor) {
                search.expect(number, Err("the successor cannot go on alone".into()));
            }
            number += 1;
        }
        search
    }

    fn expect(&self, number: usize, result: Result<(), String>) {
        if let Err(problem) = result {
            panic!("{problem}{}\n\n{:#?}", self.history(number), self.nodes[number].world);
        }
    }

    fn history(&self, mut number: usize) -> String {
        let mut steps = Vec::new();
        while let Some((before, step)) = self.nodes[number].origin {
            steps.push(step);
            number = before;
        }
        steps.iter().rev().fold(String::new(), |mut text, step| {
            write!(text, "\n  {step:?}").expect("a string can be written to");
            text
        })
    }

    /// Every step is progress. As each process can go on alone, it comes to its outcome in finitely many
    /// steps, whatever the other process does or does not do.
    fn assert_acyclic(&self) {
        let mut arrivals = vec![0_usize; self.nodes.len()];
        for next in self.nodes.iter().flat_map(|node| &node.next) {
            arrivals[*next] += 1;
        }
        let mut open = vec![0];
        let mut visited = 0;
        while let Some(number) = open.pop() {
            visited += 1;
            for next in &self.nodes[number].next {
                arrivals[*next] -= 1;
                if arrivals[*next] == 0 {
                    open.push(*next);
                }
            }
        }
        assert_eq!(visited, self.nodes.len(), "some states can be visited again and again");
    }
}
