//! Tags of states, and what a client that has a state is sent.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "../../transport/tests/support/mod.rs"]
mod support;
mod wake_count;

use std::collections::HashSet;
use std::task::{Context, Waker};

use broadcast::{Have, Publisher, Subscription, Tag, Topics};
use support::{BINARY, TEXT, open};
use transport::hyper::Request;
use transport::{Admit, Client, Drain, Handler, Handshake, Message, Next, Peer, PreparedMessage};
use wake_count::ready;

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Returns the payload of the next state as text.
fn next(handler: &mut impl Handler) -> Option<String> {
    let next = ready(|cx| handler.poll_next(cx))?;
    let Next::SendPrepared(message) = next else { panic!("{next:?}") };
    Some(String::from_utf8(message.payload().to_vec()).unwrap())
}

/// Returns the tag and the state of a tagged message.
fn split(message: &str) -> (Tag, &str) {
    let (line, state) = message.split_once('\n').unwrap();
    (tag(line.strip_prefix("have=").unwrap()), state)
}

#[test]
fn a_tag_has_1_to_64_letters_digits_dots_underlines_and_hyphens() {
    let longest = "x".repeat(64);
    for text in ["0", "a.B_c-9", "-", &longest] {
        let tag: Tag = text.parse().unwrap();
        assert_eq!((tag.as_str(), tag.to_string()), (text, text.to_owned()));
    }
    for text in ["", "a b", "a/b", "a%20", "a\n", "ä", "a=b", &"x".repeat(65)] {
        let error = text.parse::<Tag>().unwrap_err().to_string();
        assert!(error.starts_with("a tag has 1 to 64 characters "), "{text:?}: {error}");
    }
}

#[test]
fn a_query_says_what_its_first_parameter_have_says() {
    let long = format!("have={}", "x".repeat(100_000));
    for (query, expected) in [
        (None, Have::Absent),
        (Some(""), Have::Absent),
        (Some("haves=v1&x=have&HAVE=v1"), Have::Absent),
        (Some("have"), Have::Nothing),
        (Some("have="), Have::Nothing),
        (Some("have=v%31"), Have::Nothing),
        (Some("have=v1=2"), Have::Nothing),
        (Some(&long), Have::Nothing),
        (Some("have=&have=v1"), Have::Nothing),
        (Some("have=v1"), Have::State(tag("v1"))),
        (Some("team=blue&have=v1&have=v2"), Have::State(tag("v1"))),
    ] {
        assert_eq!(Have::from_query(query), expected, "{query:?}");
    }
}

#[test]
fn a_client_that_has_the_newest_state_is_sent_nothing_until_there_is_a_newer_one() {
    for has_tag in [false, true] {
        let publisher = Publisher::new();
        let publish = |state: &'static str| match has_tag {
            true => publisher.publish_tagged(tag(state), state),
            false => publisher.publish(state),
        };
        publish("one");
        let mut first = publisher.subscribe_having(&Have::Nothing);
        let message = next(&mut first).unwrap();
        let (tag, state) = split(&message);
        assert_eq!(state, "one");

        let mut again = publisher.subscribe_having(&Have::State(tag.clone()));
        assert_eq!((next(&mut again), next(&mut again)), (None, None));
        publish("two");
        let message = next(&mut again).unwrap();
        assert_eq!(split(&message).1, "two");
        assert_ne!(split(&message).0, tag);
        assert_eq!(next(&mut first), Some(message));

        let mut behind = publisher.subscribe_having(&Have::State(tag));
        assert_eq!(split(&next(&mut behind).unwrap()).1, "two");
    }
}

#[test]
fn any_other_tag_is_as_none() {
    let publisher = Publisher::new();
    publisher.publish("state");
    let mut first = publisher.subscribe_having(&Have::Nothing);
    let message = next(&mut first);
    for have in [Have::Nothing, Have::State(tag("of-another-publisher-7"))] {
        assert_eq!(next(&mut publisher.subscribe_having(&have)), message);
    }
}

#[test]
fn without_have_states_are_sent_as_they_were_published() {
    let publisher = Publisher::new();
    let (mut bare, mut tagged) =
        (publisher.subscribe(), publisher.subscribe_having(&Have::Nothing));
    publisher.publish_tagged(tag("v1"), "one");
    assert_eq!(
        (next(&mut bare).unwrap(), next(&mut tagged).unwrap()),
        ("one".into(), "have=v1\none".into())
    );
    publisher.publish("two");
    assert_eq!(next(&mut bare).unwrap(), "two");
    assert_eq!(next(&mut publisher.subscribe()).unwrap(), "two");
}

#[test]
fn a_state_that_is_published_again_keeps_its_tag_and_is_sent_once_more() {
    let publisher = Publisher::new();
    publisher.publish("state");
    publisher.republish();
    let mut session = publisher.subscribe_having(&Have::Nothing);
    let message = next(&mut session).unwrap();
    let mut resumed = publisher.subscribe_having(&Have::State(split(&message).0));
    assert_eq!(next(&mut resumed), None);
    publisher.republish();
    for session in [&mut session, &mut resumed] {
        assert_eq!(next(session).unwrap(), message);
    }
    assert_eq!(next(&mut publisher.subscribe_having(&Have::State(split(&message).0))), None);
}

#[test]
fn what_a_client_has_is_compared_with_the_first_state_after_it_subscribed() {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag("v1"), "one");
    let mut session = publisher.subscribe_having(&Have::State(tag("v2")));
    publisher.publish_tagged(tag("v2"), "two");
    assert_eq!(next(&mut session), None);

    // Before any state is published, as after a restart.
    let publisher = Publisher::new();
    let mut session = publisher.subscribe_having(&Have::State(tag("v2")));
    assert_eq!(next(&mut session), None);
    publisher.publish_tagged(tag("v2"), "two");
    assert_eq!(next(&mut session), None);
    publisher.publish_tagged(tag("v3"), "three");
    assert_eq!(next(&mut session).unwrap(), "have=v3\nthree");
    // It has v3 now, and what it had before does not matter any more.
    publisher.publish_tagged(tag("v2"), "two again");
    assert_eq!(next(&mut session).unwrap(), "have=v2\ntwo again");
}

#[test]
fn the_state_that_a_client_has_counts_as_returned() {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag("v1"), "one");
    let mut session = publisher.subscribe_having(&Have::State(tag("v1")));
    let update = |session: &mut Subscription| {
        ready(|cx| session.poll_update(cx)).map(|update| (update.revision, update.skipped))
    };
    assert_eq!(update(&mut session), None);
    publisher.publish("two");
    publisher.publish("three");
    assert_eq!(update(&mut session), Some((3, 1)));
}

#[test]
fn a_clone_starts_anew_and_sends_the_same_form() {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag("v1"), "one");
    let mut resumed = publisher.subscribe_having(&Have::State(tag("v1")));
    let (mut bare, mut clone) = (publisher.subscribe(), resumed.clone());
    assert_eq!((next(&mut clone).unwrap(), next(&mut resumed)), ("have=v1\none".into(), None));
    for _ in 0..2 {
        assert_eq!(next(&mut bare).unwrap(), "one");
        bare = bare.clone();
    }

    let topics: Topics<u8> = Topics::new();
    topics.publish_tagged(&1, tag("v1"), "one");
    let mut resumed = topics.subscribe_having(1, &Have::State(tag("v1")));
    let mut clone = resumed.clone();
    assert_eq!((next(&mut clone).unwrap(), next(&mut resumed)), ("have=v1\none".into(), None));
}

#[test]
fn tags_differ_between_publishers_and_when_a_topic_is_created_again() {
    let mut tags = HashSet::new();
    let topics: Topics<u8> = Topics::new();
    for _ in 0..10 {
        let publisher = Publisher::new();
        publisher.publish("state");
        topics.publish(&1, "state");
        let message = next(&mut publisher.subscribe_having(&Have::Nothing)).unwrap();
        assert!(tags.insert(split(&message).0));
        let message = next(&mut topics.subscribe_having(1, &Have::Nothing)).unwrap();
        assert!(tags.insert(split(&message).0));
        topics.clear(&1);
        assert!(topics.is_empty());
    }
}

#[test]
fn a_client_resumes_a_topic() {
    let topics = Topics::with_values();
    topics.publish_tagged_with(&1, tag("v1"), "one", "value");
    let mut session = topics.subscribe_having(1, &Have::State(tag("v1")));
    assert_eq!(next(&mut session), None);
    topics.publish_with(&1, "two", "another value");
    let update = ready(|cx| session.poll_update(cx)).unwrap();
    assert_eq!(update.value, "another value");
    let message = String::from_utf8(update.message.payload().to_vec()).unwrap();
    assert_eq!(split(&message).1, "two");
}

#[tokio::test(start_paused = true)]
async fn a_tagged_message_is_of_the_kind_that_was_published() {
    let publisher = Publisher::new();
    let mut session = open(publisher.subscribe_having(&Have::Nothing), 1024);
    publisher.publish_tagged(tag("v1"), "text");
    assert_eq!(session.peer.frame().await, (TEXT, b"have=v1\ntext".to_vec()));
    publisher.publish_tagged(tag("v2"), vec![0xff]);
    assert_eq!(session.peer.frame().await, (BINARY, b"have=v2\n\xff".to_vec()));
}

#[tokio::test]
async fn a_publisher_admits_every_client_with_what_it_has() {
    let publisher = Publisher::new();
    publisher.publish_tagged(tag("v1"), "one");
    let (drain, _timers) = Drain::new();
    let client = Client {
        peer: Peer::Local,
        is_encrypted: false,
        certificate_name: None,
        token: drain.token(),
    };
    for (target, expected) in [
        ("/ws/status", Some("one")),
        ("/ws/status?have", Some("have=v1\none")),
        ("/ws/status?have=v0", Some("have=v1\none")),
        ("/ws/status?have=v1", None),
    ] {
        let request = Request::builder().uri(target).body(()).unwrap();
        let handshake = Handshake::new(&request, &client);
        let admission = publisher.clone().admit(&handshake).await.unwrap();
        let mut handler = admission.into_parts().handler;
        assert_eq!(next(&mut handler).as_deref(), expected, "{target}");
    }
}

#[test]
fn all_sessions_send_the_same_tagged_bytes() {
    // As many as have copies for threads, in both forms.
    let publisher = Publisher::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut bare: Vec<_> = (0..200).map(|_| publisher.subscribe()).collect();
    assert!(bare.iter_mut().all(|session| session.poll_next(&mut cx).is_pending()));
    publisher.publish_tagged(tag("v1"), "one");
    let messages = |sessions: &mut [Subscription]| {
        let next =
            |session: &mut Subscription| ready(|cx| session.poll_update(cx)).unwrap().message;
        sessions.iter_mut().map(next).collect::<Vec<PreparedMessage>>()
    };
    messages(&mut bare);
    // The first tagged session comes when threads have copies of the state already.
    let mut tagged: Vec<_> = (0..200).map(|_| publisher.subscribe_having(&Have::Nothing)).collect();
    let expected = PreparedMessage::from(Message::from("have=v1\none"));
    let sent = messages(&mut tagged);
    assert!(sent.iter().all(|message| *message == expected));
    assert_eq!(sent.iter().map(|it| it.payload().as_ptr()).collect::<HashSet<_>>().len(), 1);
    publisher.publish_tagged(tag("v2"), "two");
    assert_eq!(messages(&mut bare)[199].payload(), b"two");
    assert_eq!(messages(&mut tagged)[199].payload(), b"have=v2\ntwo");
}
