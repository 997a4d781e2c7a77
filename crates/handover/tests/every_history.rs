//! Each machine alone: every sequence of events of a given length, in whatever order a faulty driver or a
//! faulty peer may bring them about.

#![allow(clippy::panic, reason = "in tests a panic is a failure of the test")]

use handover::{Predecessor, Successor, predecessor, successor};

const LENGTH: usize = 6;

#[test]
fn every_history_of_a_predecessor_commits_or_resumes_each_batch_once() {
    use predecessor::Event;
    let events = [
        Event::BatchSent,
        Event::Frozen,
        Event::Lost,
        Event::NotTaken,
        Event::Ready,
        Event::Revoked,
        Event::StopRequested,
        Event::Taken,
        Event::TimedOut,
        Event::WaitOver,
    ];
    let mut ends = 0;
    // Also from the middle of a handover, which a history of this length would have to reach first.
    let batch = [Event::Ready, Event::BatchSent, Event::Taken];
    for prefix in [&[][..], &batch[..1], &batch[..2], &batch] {
        let mut checked = CheckedPredecessor::new();
        prefix.iter().for_each(|event| checked.handle(*event));
        for_each_history(LENGTH, &checked, &events, CheckedPredecessor::handle, &mut |checked| {
            let mut checked = checked.clone();
            for event in [Event::TimedOut, Event::NotTaken, Event::Revoked, Event::WaitOver] {
                checked.handle(event);
            }
            assert!(checked.machine.outcome().is_some(), "no end: {checked:?}");
            ends += 1;
        });
    }
    assert_eq!(ends, 4 * 10_usize.pow(6));
}

#[test]
fn every_history_of_a_successor_owns_or_discards_each_batch_once() {
    use successor::Event;
    let events = [
        Event::BatchSealed,
        Event::Finished,
        Event::Lost,
        Event::NoVerdict,
        Event::PredecessorGone,
        Event::Prepared,
        Event::Revoked,
        Event::SendFailed,
        Event::TakenSent,
        Event::TimedOut,
    ];
    let mut ends = 0;
    let batch = [Event::Prepared, Event::BatchSealed, Event::TakenSent];
    for prefix in [&[][..], &batch[..1], &batch[..2], &batch] {
        let mut checked = CheckedSuccessor::new();
        prefix.iter().for_each(|event| checked.handle(*event));
        for_each_history(LENGTH, &checked, &events, CheckedSuccessor::handle, &mut |checked| {
            let mut checked = checked.clone();
            for event in [Event::Prepared, Event::TakenSent, Event::TimedOut, Event::NoVerdict] {
                checked.handle(event);
            }
            assert!(checked.machine.outcome().is_some(), "no end: {checked:?}");
            ends += 1;
        });
    }
    assert_eq!(ends, 4 * 10_usize.pow(6));
}

fn for_each_history<M: Clone, E: Copy>(
    length: usize,
    machine: &M,
    events: &[E],
    handle: fn(&mut M, E),
    at_end: &mut impl FnMut(&M),
) {
    if length == 0 {
        return at_end(machine);
    }
    for event in events {
        let mut machine = machine.clone();
        handle(&mut machine, *event);
        for_each_history(length - 1, &machine, events, handle, at_end);
    }
}

#[derive(Clone, Debug)]
struct CheckedPredecessor {
    machine: Predecessor,
    batch: Batch,
    has_frozen: bool,
    has_committed: bool,
    has_stopped: bool,
}

/// Where the batch of a predecessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    None,
    Open,
    Sealed,
    /// `Taken` can no longer be written.
    Checked,
    Revoked,
    Resumed,
}

impl CheckedPredecessor {
    fn new() -> Self {
        Self {
            machine: Predecessor::new(),
            batch: Batch::None,
            has_frozen: false,
            has_committed: false,
            has_stopped: false,
        }
    }

    fn handle(&mut self, event: predecessor::Event) {
        use predecessor::{Action, Event, Outcome};
        let before = self.machine.outcome();
        let action = self.machine.handle(event);
        if before.is_some() {
            assert_eq!((action, self.machine.outcome()), (None, before), "something after the end");
            return;
        }
        self.has_stopped |= event == Event::StopRequested;
        self.batch = match (action, event, self.batch) {
            (Some(Action::Freeze), Event::Ready, Batch::None) if !self.has_frozen => {
                self.has_frozen = true;
                Batch::Open
            }
            (Some(Action::Seal), Event::BatchSent, Batch::Open) => Batch::Sealed,
            (Some(Action::Commit), Event::Taken, Batch::Sealed | Batch::Checked) => {
                self.has_committed = true;
                Batch::None
            }
            (Some(Action::StopReceiving), _, Batch::Sealed) => Batch::Checked,
            (Some(Action::Revoke), Event::NotTaken, Batch::Checked)
            | (Some(Action::Revoke), _, Batch::Open) => Batch::Revoked,
            (Some(Action::Revoke), _, Batch::None) if !self.has_frozen => Batch::Revoked,
            (Some(Action::Resume), Event::Revoked, Batch::Revoked) => Batch::Resumed,
            (Some(action), event, batch) => panic!("{action:?} after {event:?} in {batch:?}"),
            (None, Event::Frozen, Batch::None) if self.has_committed => Batch::Open,
            (None, _, batch) => batch,
        };
        let is_over = match self.machine.outcome() {
            None => false,
            Some(Outcome::Continue) => {
                assert!(!self.has_committed && !self.has_stopped, "continues: {self:?}");
                true
            }
            Some(Outcome::Drain) => {
                assert!(self.has_committed || self.has_stopped, "drains: {self:?}");
                true
            }
        };
        let is_settled = matches!(self.batch, Batch::None | Batch::Resumed);
        assert!(!is_over || is_settled, "the end leaves a batch frozen: {self:?}");
        assert_eq!(self.machine.has_committed(), self.has_committed);
    }
}

#[derive(Clone, Debug)]
struct CheckedSuccessor {
    machine: Successor,
    stage: Stage,
    has_owned: bool,
}

/// What a successor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preparation,
    Records,
    Write,
    Verdict,
    Nothing,
}

impl CheckedSuccessor {
    fn new() -> Self {
        Self { machine: Successor::new(), stage: Stage::Preparation, has_owned: false }
    }

    fn handle(&mut self, event: successor::Event) {
        use successor::{Action, Event, Outcome};
        let before = self.machine.outcome();
        let action = self.machine.handle(event);
        if before.is_some() {
            assert_eq!((action, self.machine.outcome()), (None, before), "something after the end");
            return;
        }
        self.stage = match (action, event, self.stage) {
            (Some(Action::SendReady), Event::Prepared, Stage::Preparation) => Stage::Records,
            (Some(Action::SendTaken), Event::BatchSealed, Stage::Records) => Stage::Write,
            (Some(Action::Own), Event::TakenSent, Stage::Write) => {
                self.has_owned = true;
                Stage::Records
            }
            (Some(Action::ReadVerdict), Event::SendFailed, Stage::Write)
            | (Some(Action::ReadVerdict), _, Stage::Records) => Stage::Verdict,
            (Some(Action::Own), Event::PredecessorGone, Stage::Verdict) => {
                self.has_owned = true;
                Stage::Nothing
            }
            (Some(Action::Discard), Event::NoVerdict | Event::Revoked, Stage::Verdict) => {
                Stage::Nothing
            }
            (Some(action), event, stage) => panic!("{action:?} after {event:?} in {stage:?}"),
            (None, Event::Finished, Stage::Records) if self.has_owned => Stage::Nothing,
            (None, _, stage) => stage,
        };
        let outcome = if self.has_owned { Outcome::Serve } else { Outcome::Exit };
        let expected = (self.stage == Stage::Nothing).then_some(outcome);
        assert_eq!(self.machine.outcome(), expected, "{self:?}");
        assert_eq!(self.machine.has_owned(), self.has_owned);
    }
}
