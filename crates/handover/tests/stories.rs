//! Stories: a handover as it is meant to be, and what may go wrong.

use handover::TimeLimit;
use handover::predecessor::{self as old, Predecessor};
use handover::successor::{self as new, Successor};

#[test]
fn the_sessions_at_rest_go_first_and_others_follow_when_they_come_to_rest() {
    let (mut predecessor, mut successor) = (Predecessor::new(), Successor::new());
    assert_eq!(predecessor.time_limit(), Some(TimeLimit::Preparation));
    assert_eq!(successor.handle(new::Event::Prepared), Some(new::Action::SendReady));
    assert_eq!(predecessor.handle(old::Event::Ready), Some(old::Action::Freeze));
    assert_eq!(successor.time_limit(), Some(TimeLimit::Progress));

    hand_over_batch(&mut predecessor, &mut successor);
    assert!(predecessor.has_committed() && successor.has_owned());
    assert_eq!(successor.time_limit(), Some(TimeLimit::NextBatch));

    assert_eq!(predecessor.handle(old::Event::Frozen), None);
    hand_over_batch(&mut predecessor, &mut successor);
    assert_eq!((predecessor.outcome(), successor.outcome()), (None, None));

    assert_eq!(predecessor.handle(old::Event::WaitOver), None);
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Drain));
    assert_eq!(successor.handle(new::Event::Finished), None);
    assert_eq!(successor.outcome(), Some(new::Outcome::Serve));
}

#[test]
fn a_successor_that_cannot_be_composed_changes_nothing() {
    let mut predecessor = Predecessor::new();
    assert_eq!(predecessor.handle(old::Event::Lost), Some(old::Action::Revoke));
    assert_eq!(predecessor.handle(old::Event::Revoked), Some(old::Action::Resume));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Continue));
    assert!(!predecessor.has_committed());
}

#[test]
fn a_successor_that_does_not_answer_in_time_cannot_answer_later() {
    let (mut predecessor, mut successor) = sealed();
    assert_eq!(predecessor.time_limit(), Some(TimeLimit::Progress));
    assert_eq!(predecessor.handle(old::Event::TimedOut), Some(old::Action::StopReceiving));
    assert_eq!(predecessor.handle(old::Event::NotTaken), Some(old::Action::Revoke));

    // The successor runs again before the byte is written, and has to wait for it.
    assert_eq!(successor.handle(new::Event::BatchSealed), Some(new::Action::SendTaken));
    assert_eq!(successor.handle(new::Event::SendFailed), Some(new::Action::ReadVerdict));

    assert_eq!(predecessor.handle(old::Event::Revoked), Some(old::Action::Resume));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Continue));
    assert_eq!(successor.handle(new::Event::Revoked), Some(new::Action::Discard));
    assert_eq!(successor.outcome(), Some(new::Outcome::Exit));
}

#[test]
fn an_answer_that_crosses_the_timeout_counts() {
    let (mut predecessor, mut successor) = sealed();
    assert_eq!(successor.handle(new::Event::BatchSealed), Some(new::Action::SendTaken));
    assert_eq!(predecessor.handle(old::Event::TimedOut), Some(old::Action::StopReceiving));
    assert_eq!(successor.handle(new::Event::TakenSent), Some(new::Action::Own));
    assert_eq!(predecessor.handle(old::Event::Taken), Some(old::Action::Commit));
    // The predecessor receives nothing any more, so this was the last batch.
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Drain));
}

#[test]
fn a_later_batch_that_is_not_taken_is_drained_and_the_first_one_stays_taken() {
    let (mut predecessor, mut successor) = sealed();
    assert_eq!(predecessor.handle(old::Event::Taken), Some(old::Action::Commit));
    successor.handle(new::Event::BatchSealed);
    assert_eq!(successor.handle(new::Event::TakenSent), Some(new::Action::Own));

    assert_eq!(predecessor.handle(old::Event::Frozen), None);
    assert_eq!(predecessor.handle(old::Event::BatchSent), Some(old::Action::Seal));
    assert_eq!(predecessor.handle(old::Event::TimedOut), Some(old::Action::StopReceiving));
    assert_eq!(predecessor.handle(old::Event::NotTaken), Some(old::Action::Revoke));
    assert_eq!(predecessor.handle(old::Event::Revoked), Some(old::Action::Resume));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Drain));

    assert_eq!(successor.handle(new::Event::Lost), Some(new::Action::ReadVerdict));
    assert_eq!(successor.handle(new::Event::Revoked), Some(new::Action::Discard));
    assert_eq!(successor.outcome(), Some(new::Outcome::Serve));
}

#[test]
fn sessions_survive_a_predecessor_that_is_killed_while_they_are_frozen() {
    let (_, mut successor) = sealed();
    assert_eq!(successor.handle(new::Event::BatchSealed), Some(new::Action::SendTaken));
    assert_eq!(successor.handle(new::Event::SendFailed), Some(new::Action::ReadVerdict));
    assert_eq!(successor.handle(new::Event::PredecessorGone), Some(new::Action::Own));
    assert_eq!(successor.outcome(), Some(new::Outcome::Serve));
}

#[test]
fn a_successor_leaves_everything_to_a_predecessor_that_is_stopped() {
    let (mut predecessor, mut successor) = (Predecessor::new(), ready());
    predecessor.handle(old::Event::Ready);
    assert_eq!(successor.handle(new::Event::TimedOut), Some(new::Action::ReadVerdict));
    assert_eq!(successor.handle(new::Event::NoVerdict), Some(new::Action::Discard));
    assert_eq!(successor.outcome(), Some(new::Outcome::Exit));

    // The predecessor runs again, and finds that the control socket has ended.
    assert_eq!(predecessor.handle(old::Event::Lost), Some(old::Action::Revoke));
    assert_eq!(predecessor.handle(old::Event::Revoked), Some(old::Action::Resume));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Continue));
}

#[test]
fn a_request_to_stop_completes_the_batch_and_waits_for_no_further_one() {
    let (mut predecessor, _) = sealed();
    assert_eq!(predecessor.handle(old::Event::StopRequested), None);
    assert_eq!(predecessor.handle(old::Event::Taken), Some(old::Action::Commit));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Drain));

    let mut predecessor = Predecessor::new();
    assert_eq!(predecessor.handle(old::Event::StopRequested), Some(old::Action::Revoke));
    assert_eq!(predecessor.handle(old::Event::Revoked), Some(old::Action::Resume));
    assert_eq!(predecessor.outcome(), Some(old::Outcome::Drain));
}

#[test]
fn a_message_out_of_place_ends_the_handover() {
    let mut predecessor = Predecessor::new();
    predecessor.handle(old::Event::Ready);
    assert_eq!(predecessor.handle(old::Event::Taken), Some(old::Action::Revoke), "not sealed");

    let mut successor = ready();
    assert_eq!(successor.handle(new::Event::Finished), Some(new::Action::ReadVerdict));
}

/// Returns a successor that waits for records.
fn ready() -> Successor {
    let mut successor = Successor::new();
    assert_eq!(successor.handle(new::Event::Prepared), Some(new::Action::SendReady));
    successor
}

/// Returns a predecessor that has sealed the first batch, and a successor that has not read it.
fn sealed() -> (Predecessor, Successor) {
    let mut predecessor = Predecessor::new();
    assert_eq!(predecessor.handle(old::Event::Ready), Some(old::Action::Freeze));
    assert_eq!(predecessor.handle(old::Event::BatchSent), Some(old::Action::Seal));
    (predecessor, ready())
}

fn hand_over_batch(predecessor: &mut Predecessor, successor: &mut Successor) {
    assert_eq!(predecessor.handle(old::Event::BatchSent), Some(old::Action::Seal));
    assert_eq!(successor.handle(new::Event::BatchSealed), Some(new::Action::SendTaken));
    assert_eq!(successor.handle(new::Event::TakenSent), Some(new::Action::Own));
    assert_eq!(predecessor.handle(old::Event::Taken), Some(old::Action::Commit));
}
