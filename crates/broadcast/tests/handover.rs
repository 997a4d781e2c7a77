//! Sessions and states that another process continues: no client is sent a state twice or an older one after
//! a newer one, and each ends with the newest.
//!
//! A process is a publisher here. It knows of the process before it only what is in the bytes.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod wake_count;

use std::mem;

use broadcast::{Have, Publisher, Subscription, Tag};
use transport::{Handler, Next};
use wake_count::ready;

const HAVE: [Have; 2] = [Have::Absent, Have::Nothing];

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Returns the payload of the next state as text.
fn next(handler: &mut impl Handler) -> Option<String> {
    let next = ready(|cx| handler.poll_next(cx))?;
    let Next::SendPrepared(message) = next else { panic!("{next:?}") };
    Some(String::from_utf8(message.payload().to_vec()).unwrap())
}

/// Returns the state of a message, without its tag.
fn untagged(message: &str) -> &str {
    message.split_once('\n').map_or(message, |(_, state)| state)
}

/// Returns the tag of a message.
fn tag_of(message: &str) -> Tag {
    tag(message.strip_prefix("have=").unwrap().split_once('\n').unwrap().0)
}

/// Returns a publisher with this state, and a session that has sent it.
fn with_sent_state(have: &Have, state: &str) -> (Publisher, Subscription) {
    let publisher = Publisher::new();
    publisher.publish(state);
    let mut session = publisher.subscribe_having(have);
    assert_eq!(next(&mut session).as_deref().map(untagged), Some(state));
    (publisher, session)
}

/// Returns the publisher of the process after that of `publisher`.
fn restored(publisher: &Publisher) -> Publisher {
    let successor = Publisher::new();
    assert!(successor.restore(&publisher.freeze()));
    successor
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    Deliver,
    /// The session is frozen, and goes on.
    Revoke,
    HandOver,
    /// A state is published after the session was frozen, and before the publisher is.
    HandOverWithNewer,
    /// The publisher is restored after the session is continued.
    HandOverStateLast,
    /// The process before this one publishes on.
    PublishBefore,
}

const STEPS: [Step; 7] = [
    Step::Publish,
    Step::Deliver,
    Step::Revoke,
    Step::HandOver,
    Step::HandOverWithNewer,
    Step::HandOverStateLast,
    Step::PublishBefore,
];

/// One client, and the process that it is connected to.
struct History {
    publisher: Publisher,
    predecessor: Option<Publisher>,
    session: Subscription,
    published: usize,
    newest: Option<usize>,
    received: Vec<usize>,
}

impl History {
    fn new(have: &Have) -> Self {
        let publisher = Publisher::new();
        let session = publisher.subscribe_having(have);
        Self {
            publisher,
            predecessor: None,
            session,
            published: 0,
            newest: None,
            received: Vec::new(),
        }
    }

    fn publish(&mut self) {
        self.published += 1;
        self.newest = Some(self.published);
        self.publisher.publish(self.published.to_string());
    }

    fn deliver(&mut self) {
        while let Some(message) = next(&mut self.session) {
            self.received.push(untagged(&message).parse().unwrap());
        }
    }

    fn hand_over(&mut self, between: impl FnOnce(&mut Self), state_first: bool) {
        let frozen = self.session.freeze();
        between(self);
        let frozen_state = self.publisher.freeze();
        let successor = Publisher::new();
        if state_first {
            successor.restore(&frozen_state);
        }
        self.session = successor.thaw(&frozen).unwrap();
        if !state_first {
            successor.restore(&frozen_state);
        }
        self.predecessor = Some(mem::replace(&mut self.publisher, successor));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish => self.publish(),
            Step::Deliver => self.deliver(),
            Step::Revoke => drop((self.session.freeze(), self.publisher.freeze())),
            Step::HandOver => self.hand_over(|_| (), true),
            Step::HandOverWithNewer => self.hand_over(Self::publish, true),
            Step::HandOverStateLast => self.hand_over(|_| (), false),
            Step::PublishBefore => {
                if let Some(predecessor) = &self.predecessor {
                    predecessor.publish("of the process before");
                }
            }
        }
    }
}

#[test]
fn in_every_short_history_a_client_is_sent_each_state_at_most_once_and_the_newest_at_last() {
    const LENGTH: u32 = 5;
    let histories = STEPS.len().pow(LENGTH);
    for have in HAVE {
        for number in 0..histories {
            let digit = |place: u32| number / STEPS.len().pow(place) % STEPS.len();
            let steps: Vec<Step> = (0..LENGTH).map(|place| STEPS[digit(place)]).collect();
            let mut history = History::new(&have);
            steps.iter().for_each(|step| history.step(*step));
            history.deliver();
            let History { received, newest, .. } = &history;
            assert!(received.is_sorted_by(|a, b| a < b), "{have:?} {steps:?}: {received:?}");
            assert_eq!(received.last().copied(), *newest, "{have:?} {steps:?}");
            let count = received.len();
            history.step(Step::HandOver);
            history.deliver();
            assert_eq!(history.received.len(), count, "{have:?} {steps:?}");
        }
    }
}

#[test]
fn the_newest_state_needs_no_message_for_those_who_have_it_and_is_sent_to_new_clients() {
    for have in HAVE {
        let (old, sessions) = with_sent_state(&have, "one");
        let new = restored(&old);
        let mut session = new.thaw(&sessions.freeze()).unwrap();
        assert_eq!(next(&mut session), None);
        assert_eq!(next(&mut new.subscribe()).as_deref(), Some("one"));
        let resumed = next(&mut old.subscribe_having(&Have::Nothing)).unwrap();
        let mut resumed = new.subscribe_having(&Have::State(tag_of(&resumed)));
        assert_eq!(next(&mut resumed), None, "it has the same tag in both processes");

        new.publish("two");
        for session in [&mut session, &mut resumed] {
            let message = next(session).unwrap();
            assert_eq!(untagged(&message), "two");
        }
    }
}

#[test]
fn many_sessions_that_have_the_state_are_sent_nothing() {
    // More than share one copy of a state.
    let (old, _) = with_sent_state(&Have::Absent, "one");
    let mut sessions: Vec<_> = (0..200).map(|_| old.subscribe()).collect();
    assert!(sessions.iter_mut().all(|session| next(session).is_some()));
    let new = restored(&old);
    let thaw = |session: &Subscription| new.thaw(&session.freeze()).unwrap();
    let mut sessions: Vec<_> = sessions.iter().map(thaw).collect();
    assert!(sessions.iter_mut().all(|session| next(session).is_none()));
    assert_eq!(new.statistics().behind, 0);
    new.publish("two");
    assert_eq!(new.statistics().behind, 200);
    assert!(sessions.iter_mut().all(|session| next(session).as_deref() == Some("two")));
}

#[test]
fn a_state_that_both_processes_publish_with_its_tag_is_not_sent_again() {
    for have in HAVE {
        let (old, new) = (Publisher::new(), Publisher::new());
        old.publish_tagged(tag("v1"), "one");
        let mut session = old.subscribe_having(&have);
        assert!(next(&mut session).is_some());
        let mut session = new.thaw(&session.freeze()).unwrap();
        new.publish_tagged(tag("v1"), "one");
        assert!(!new.restore(&old.freeze()), "it has a state of its own");
        assert_eq!(next(&mut session), None);
        new.publish_tagged(tag("v2"), "two");
        assert!(next(&mut session).is_some());
    }
}

#[test]
fn a_client_that_said_what_it_has_is_not_sent_that_if_it_is_the_newest() {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag("v1"), "one");
    let frozen = |text| publisher.subscribe_having(&Have::State(tag(text))).freeze();
    assert_eq!(*frozen("v1"), *b"\x01\x01v1");
    assert_eq!(*frozen("v0"), *b"\x01\x01", "another tag is known by its fingerprint only");
    publisher.publish_tagged(tag("v2"), "two");
    assert_eq!(*frozen("v1"), *b"\x01\x01");
}

#[test]
fn freezing_changes_nothing_that_a_client_can_see() {
    for have in HAVE {
        let (publisher, mut session) = with_sent_state(&have, "one");
        assert_eq!(session.freeze(), session.freeze());
        assert_eq!(publisher.freeze(), publisher.freeze());
        assert_eq!(next(&mut session), None);
        publisher.publish("two");
        let newer = session.freeze();
        assert_eq!(newer.len(), 2, "it has not sent the newest state");
        let message = next(&mut session).unwrap();
        assert_eq!((untagged(&message), message == "two"), ("two", have == Have::Absent));
    }
}

#[test]
fn both_processes_never_give_different_states_the_same_tag() {
    let (old, _) = with_sent_state(&Have::Nothing, "one");
    let new = restored(&old);
    old.publish("old");
    new.publish("new");
    let tags =
        [&old, &new].map(|it| tag_of(&next(&mut it.subscribe_having(&Have::Nothing)).unwrap()));
    assert_ne!(tags[0], tags[1]);
}

#[test]
fn a_later_state_is_restored_until_the_process_publishes_or_removes_one() {
    let (old, session) = with_sent_state(&Have::Absent, "one");
    let new = restored(&old);
    assert!(!new.restore(&old.freeze()), "it is the newest already");
    let mut first = new.thaw(&session.freeze()).unwrap();
    assert_eq!(next(&mut first), None);
    // Sessions that are handed over later may have this one.
    old.publish("two");
    assert!(new.restore(&old.freeze()));
    assert_eq!(next(&mut first).as_deref(), Some("two"));

    // A state that is published again keeps its tag, and is not another one.
    new.republish();
    assert_eq!(next(&mut first).as_deref(), Some("two"));
    old.publish("three");
    assert!(new.restore(&old.freeze()));
    assert_eq!(next(&mut first).as_deref(), Some("three"));

    let later = old.freeze();
    new.clear();
    assert!(!new.restore(&later));
    new.publish("four");
    assert!(!new.restore(&later));
    assert_eq!(next(&mut first).as_deref(), Some("four"));
}

#[test]
fn revisions_continue_and_values_are_made_of_the_state() {
    let old = Publisher::with_values();
    old.publish_with("one", 1);
    old.publish_with("two", 2);
    let new = Publisher::with_values();
    assert!(new.restore_with(&old.freeze(), |message| message.payload_len()));
    let mut session = new.subscribe();
    let update = ready(|cx| session.poll_update(cx)).unwrap();
    assert_eq!((update.revision, update.skipped, update.value), (2, 0, 3));
    let mut session = new.thaw(&session.freeze()).unwrap();
    new.publish_with("four", 4);
    new.publish_with("five", 5);
    let update = ready(|cx| session.poll_update(cx)).unwrap();
    assert_eq!((update.revision, update.skipped, update.value), (4, 0, 5), "it knows no revision");
}
