//! The order of states, and the message for clients.

use nats_status::{State, Version};

fn version(revision: u64, stored_us: i64) -> Version {
    Version { revision, stored_us }
}

#[test]
fn a_higher_revision_is_newer() {
    assert!(version(2, 20).is_newer_than(version(1, 10)));
    assert!(!version(1, 10).is_newer_than(version(2, 20)));
}

#[test]
fn a_state_is_not_newer_than_itself() {
    assert!(!version(2, 20).is_newer_than(version(2, 20)));
}

#[test]
fn the_first_state_of_a_recreated_bucket_is_newer_than_the_last_of_the_old_one() {
    assert!(version(1, 30).is_newer_than(version(200, 20)));
}

#[test]
fn a_repeated_revision_is_newer_if_it_was_stored_later() {
    assert!(version(200, 30).is_newer_than(version(200, 20)));
}

#[test]
fn a_higher_revision_is_newer_after_the_clock_was_set_back() {
    assert!(version(201, 10).is_newer_than(version(200, 20)));
}

#[test]
fn the_tag_differs_from_that_of_every_other_version() {
    let versions = [version(200, 20), version(200, 30), version(1, 30), version(20, 20)];
    let tags = versions.map(|version| version.tag().to_string());
    assert_eq!(tags[0], "200-14");
    assert!((1..4).all(|index| !tags[..index].contains(&tags[index])), "{tags:?}");
    assert_eq!(version(u64::MAX, i64::MIN).tag().as_str().len(), 37);
}

#[test]
fn a_json_value_is_copied_byte_by_byte() {
    assert_eq!(message(Some(r#"{ "load": 0.10 }"#)), r#"{ "load": 0.10 }"#);
}

#[test]
fn a_value_that_is_not_json_becomes_a_string() {
    assert_eq!(message(Some(r#"all "well""#)), r#""all \"well\"""#);
    assert_eq!(message(Some("")), r#""""#);
}

#[test]
fn a_deleted_value_is_null() {
    assert_eq!(message(None), "null");
}

/// The field `state` of the message for revision 7.
fn message(value: Option<&str>) -> String {
    let value = value.map(|value| value.as_bytes().to_vec());
    let message = State { version: version(7, 70), value }.message();
    let state = message.strip_prefix(r#"{"revision":7,"stored_us":70,"state":"#);
    state.and_then(|state| state.strip_suffix('}')).expect(&message).to_owned()
}
