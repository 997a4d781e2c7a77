//! Which of two states is newer, and what clients are told of one.

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
fn the_first_state_of_a_bucket_that_was_made_anew_is_newer_than_the_last_of_the_old_one() {
    assert!(version(1, 30).is_newer_than(version(200, 20)));
}

#[test]
fn a_revision_that_a_broker_gives_twice_is_newer_the_second_time() {
    assert!(version(200, 30).is_newer_than(version(200, 20)));
}

#[test]
fn a_clock_that_is_set_back_makes_no_state_old() {
    assert!(version(201, 10).is_newer_than(version(200, 20)));
}

#[test]
fn a_value_that_is_json_is_told_byte_by_byte() {
    assert_eq!(message(Some(r#"{ "load": 0.10 }"#)), r#"{ "load": 0.10 }"#);
}

#[test]
fn a_value_that_is_not_json_is_told_as_a_string() {
    assert_eq!(message(Some(r#"all "well""#)), r#""all \"well\"""#);
    assert_eq!(message(Some("")), r#""""#);
}

#[test]
fn a_value_that_was_deleted_is_told_as_null() {
    assert_eq!(message(None), "null");
}

/// What is told of the state 7, without what is the same for each.
fn message(value: Option<&str>) -> String {
    let value = value.map(|value| value.as_bytes().to_vec());
    let message = State { version: version(7, 70), value }.message();
    let state = message.strip_prefix(r#"{"revision":7,"stored_us":70,"state":"#);
    state.and_then(|state| state.strip_suffix('}')).expect(&message).to_owned()
}
